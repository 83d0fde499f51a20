//! Image formats that are known by name and not read.

use crate::words;
use std::path::Path;

/// (ending, format, the program that makes NIfTI of it)
const FORMATS: [(&str, &str, &str); 12] = [
    (".nrrd", "NRRD", SITK),
    (".nhdr", "NRRD", SITK),
    (".seg.nrrd", "NRRD", SITK),
    (".mha", "MetaImage", SITK),
    (".mhd", "MetaImage", SITK),
    (".dcm", "DICOM", "dcm2niix"),
    (".ima", "DICOM", "dcm2niix"),
    (".mgz", "FreeSurfer MGH", "'mri_convert IN OUT.nii.gz' or nibabel"),
    (".mgh", "FreeSurfer MGH", "'mri_convert IN OUT.nii.gz' or nibabel"),
    (".mnc", "MINC", "mnc2nii"),
    (".npy", "NumPy", "nibabel, with the voxel size and position that the array lacks"),
    (".npz", "NumPy", "nibabel, with the voxel size and position that the array lacks"),
];
const SITK: &str = "SimpleITK: sitk.WriteImage(sitk.ReadImage(IN), OUT) with OUT.nii.gz";

/// "NRRD is not supported; convert with …", for a file of a known format that cannot be read.
pub fn foreign(path: &str) -> Option<String> {
    let lower = path.to_ascii_lowercase();
    let of_ending = FORMATS.iter().find(|(ending, ..)| lower.ends_with(ending));
    let (_, format, program) = of_ending?;
    Some(format!("{format} is not supported; convert it to NIfTI with {program}"))
}

/// The same of the files of a folder, a line for each format; `base` is where they lie.
pub fn foreign_files(base: &Path, files: &[String]) -> Vec<String> {
    let mut lines: Vec<(String, usize, &str)> = vec![];
    for file in files {
        let words = foreign(file).or_else(|| dicom(&base.join(file)));
        let Some(words) = words else { continue };
        match lines.iter_mut().find(|(known, ..)| *known == words) {
            Some((_, count, _)) => *count += 1,
            None => lines.push((words, 1, file)),
        }
    }
    let line = |(words, count, file): (String, usize, &str)| {
        format!("{} ('{file}'): {words}", words::count(count as u64, "file"))
    };
    lines.into_iter().map(line).collect()
}

/// A DICOM file without an ending is known by the mark after its preamble.
fn dicom(file: &Path) -> Option<String> {
    use std::io::Read;
    if file.extension().is_some_and(|ending| ending.to_string_lossy().parse::<u64>().is_err()) {
        return None;
    }
    let mut start = [0u8; 132];
    std::fs::File::open(file).ok()?.read_exact(&mut start).ok()?;
    (&start[128..] == b"DICM").then(|| foreign(".dcm"))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_that_are_not_read_are_told_by_name() {
        for (file, format) in [
            ("a.nrrd", "NRRD is not supported"),
            ("p/A.SEG.NRRD", "NRRD"),
            ("x.mha", "MetaImage"),
            ("IM001.DCM", "DICOM is not supported; convert it to NIfTI with dcm2niix"),
        ] {
            assert!(foreign(file).is_some_and(|words| words.contains(format)), "{file}");
        }
        assert!(foreign("a.nii.gz").is_none() && foreign("readme.txt").is_none());
    }

    #[test]
    fn dicom_files_without_an_ending_are_seen_by_their_mark() {
        let base = tempfile::tempdir().expect("a folder");
        let mut bytes = vec![0u8; 128];
        bytes.extend(b"DICMxxxx");
        std::fs::write(base.path().join("IM0001"), &bytes).expect("writes");
        std::fs::write(base.path().join("IM0002"), &bytes).expect("writes");
        std::fs::write(base.path().join("notes"), "words").expect("writes");
        let files = ["IM0001", "IM0002", "notes"].map(String::from);
        let lines = foreign_files(base.path(), &files);
        assert_eq!(lines.len(), 1);
        assert!(lines[0].starts_with("2 files ('IM0001'): DICOM is not supported"), "{lines:?}");
    }
}
