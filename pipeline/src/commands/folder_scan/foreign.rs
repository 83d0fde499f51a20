//! Images in unsupported formats inside a folder.

use crate::humanize;
use std::path::Path;
use voxflow_stages::dataset::foreign::foreign;

/// A message per format; `base` is the files' folder.
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
    lines
        .into_iter()
        .map(|(words, count, file)| {
            format!("{} ('{file}'): {words}", humanize::count(count as u64, "file"))
        })
        .collect()
}

/// Recognises DICOM without extension by the mark after its preamble.
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
