//! Recursive scan for image files, other files, and names suggesting labels; first step in `voxflow
//! new` and `voxflow predict`.

mod foreign;
mod words;

pub use foreign::foreign_files;
pub use words::{says_label, tokens};

use crate::error::Result;
use std::path::Path;
use voxflow_stages::dataset::name::{data_of, split_suffix};
use voxflow_stages::dataset::tree::Tree;

/// An image file by its path relative to the scanned folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ImageFile {
    /// "sub-01/anat/T1w.nii.gz"
    pub path: String,
    /// ["sub-01", "anat"]
    pub folders: Vec<String>,
    /// "T1w"
    pub stem: String,
    /// ".nii.gz", as written.
    pub ending: String,
}

#[derive(Debug, Default)]
pub struct Survey {
    /// Image files sorted by folder and name.
    pub images: Vec<ImageFile>,
    /// Other files except hidden ones.
    pub others: Vec<String>,
}

impl ImageFile {
    /// Splits a path if its extension is an image's.
    pub fn of(path: &str) -> Option<ImageFile> {
        let mut folders: Vec<String> = path.split('/').map(str::to_string).collect();
        let file = folders.pop()?;
        let (stem, ending) = split_suffix(&file)?;
        (!stem.is_empty()).then(|| ImageFile {
            path: path.into(),
            stem: stem.into(),
            ending: ending.into(),
            folders,
        })
    }

    /// Folders and stem, as "sub-01/anat/T1w".
    pub fn name(&self) -> String {
        let parts: Vec<&str> =
            self.folders.iter().chain([&self.stem]).map(String::as_str).collect();
        parts.join("/")
    }
}

/// Lists all files below `folder`. A header file with separate voxels counts as one image.
pub fn survey(folder: &Path) -> Result<Survey> {
    let tree = Tree::of(folder)?;
    let mut survey = Survey {
        images: tree
            .images()
            .filter(|path| tree_has_data(folder, path))
            .filter_map(ImageFile::of)
            .collect(),
        others: tree.others().map(str::to_string).collect(),
    };
    let alone = tree.images().filter(|path| !tree_has_data(folder, path));
    survey.others.extend(alone.map(str::to_string));
    survey.images.sort_by(|a, b| (&a.folders, &a.path).cmp(&(&b.folders, &b.path)));
    Ok(survey)
}

/// False for a header file without its voxel file.
fn tree_has_data(folder: &Path, path: &str) -> bool {
    data_of(path).is_none_or(|data| folder.join(data).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_folder_is_seen_with_its_capitals_and_pairs_and_without_hidden_files() {
        let base = tempfile::tempdir().expect("a folder");
        for file in
            ["p1/SCAN.NII.GZ", "p1/a.hdr", "p1/a.img", "x.hdr", "b.nii", ".b.nii", "notes.txt"]
        {
            let path = base.path().join(file);
            fs::create_dir_all(path.parent().expect("a parent")).expect("makes");
            fs::write(path, "").expect("writes");
        }
        let survey = survey(base.path()).expect("a survey");
        let paths: Vec<&str> = survey.images.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, ["b.nii", "p1/SCAN.NII.GZ", "p1/a.hdr"]);
        assert_eq!(survey.others, ["notes.txt", "x.hdr"], "a header without voxels");
        assert_eq!(survey.images[1].name(), "p1/SCAN");
        assert_eq!(survey.images[1].ending, ".NII.GZ");
    }
}
