//! Unsupported spellings: image formats known by name, and `~`.

use std::path::Path;

/// (ending, format, program converting it to NIfTI)
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

/// A remark on a path that begins with `~`, which only a shell expands; empty for others.
pub fn tilde(path: &Path) -> &'static str {
    match path.to_str() {
        Some(text) if text.starts_with('~') => "; only shells expand '~': write ${HOME} instead",
        _ => "",
    }
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
    fn a_tilde_is_told_and_its_way_out() {
        assert!(tilde(Path::new("~/data")).contains("write ${HOME}"));
        assert_eq!((tilde(Path::new("data/~")), tilde(Path::new("a~"))), ("", ""));
    }
}
