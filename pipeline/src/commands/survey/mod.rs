//! A survey of a folder: the image files in it and below, what else lies there, and which of the
//! images seem to be labels by their names.
//!
//! `voxflow new` and `voxflow predict` both begin with it.

mod foreign;
mod words;

pub use foreign::foreign_files;
pub use words::{says_label, tokens};

use crate::exit::{Error, Result};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use voxflow_stages::dataset::name::is_hidden;

/// Endings of the image files that can be read, longest first, compared without case.
const ENDINGS: [&str; 3] = [".nii.gz", ".nii", ".hdr"];
/// Folders deeper than this are not looked into.
const DEPTH: usize = 9;

/// An image file, by its path from the folder on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ImageFile {
    /// "sub-01/anat/T1w.nii.gz"
    pub path: String,
    /// ["sub-01", "anat"]
    pub folders: Vec<String>,
    /// "T1w"
    pub stem: String,
    /// ".nii.gz", as it is written.
    pub ending: String,
}

/// What a folder holds.
#[derive(Debug, Default)]
pub struct Survey {
    /// Its image files, sorted by folder and name.
    pub images: Vec<ImageFile>,
    /// Its other files, hidden ones left out.
    pub others: Vec<String>,
}

impl ImageFile {
    /// The file of that path, if its ending is that of an image.
    pub fn of(path: &str) -> Option<ImageFile> {
        let mut folders: Vec<String> = path.split('/').map(str::to_string).collect();
        let file = folders.pop()?;
        let lower = file.to_ascii_lowercase();
        let ending = ENDINGS.into_iter().find(|ending| lower.ends_with(ending))?;
        let (stem, ending) = file.split_at(file.len() - ending.len());
        (!stem.is_empty()).then(|| ImageFile {
            path: path.into(),
            stem: stem.into(),
            ending: ending.into(),
            folders,
        })
    }

    /// The folders and the stem, as "sub-01/anat/T1w".
    pub fn name(&self) -> String {
        let parts: Vec<&str> =
            self.folders.iter().chain([&self.stem]).map(String::as_str).collect();
        parts.join("/")
    }
}

/// Looks at all files in and below `folder`. A header and its voxels in two files are one image,
/// that of the header.
pub fn survey(folder: &Path) -> Result<Survey> {
    let mut survey = Survey::default();
    let mut paths = BTreeSet::new();
    list(folder, "", &mut vec![], &mut paths)?;
    for path in &paths {
        match ImageFile::of(path).filter(|file| is_whole(file, &paths)) {
            Some(file) => survey.images.push(file),
            None if is_voxels(path, &paths) => {}
            None => survey.others.push(path.clone()),
        }
    }
    survey.images.sort_by(|a, b| (&a.folders, &a.path).cmp(&(&b.folders, &b.path)));
    Ok(survey)
}

/// Whether the file is more than a header without its voxels.
fn is_whole(file: &ImageFile, paths: &BTreeSet<String>) -> bool {
    !file.ending.eq_ignore_ascii_case(".hdr") || other_half(&file.path, [".img", ".IMG"], paths)
}

/// Whether the file holds the voxels of a header that is there.
fn is_voxels(path: &str, paths: &BTreeSet<String>) -> bool {
    path.to_ascii_lowercase().ends_with(".img") && other_half(path, [".hdr", ".HDR"], paths)
}

fn other_half(path: &str, endings: [&str; 2], paths: &BTreeSet<String>) -> bool {
    let stem = &path[..path.len() - 4];
    endings.iter().any(|ending| paths.contains(&format!("{stem}{ending}")))
}

/// A link to a folder `above` is not followed: all in it is there already, and again without end.
fn list(
    folder: &Path,
    prefix: &str,
    above: &mut Vec<PathBuf>,
    paths: &mut BTreeSet<String>,
) -> Result<()> {
    let place = folder.canonicalize().map_err(Error::io("list", folder))?;
    if above.contains(&place) || above.len() > DEPTH {
        return Ok(());
    }
    above.push(place);
    for entry in fs::read_dir(folder).map_err(Error::io("list", folder))? {
        let entry = entry.map_err(Error::io("list", folder))?;
        let Some(file) = entry.file_name().to_str().map(str::to_string) else { continue };
        let name = format!("{prefix}{file}");
        match entry.path().is_dir() {
            _ if is_hidden(&file) => {}
            true => list(&entry.path(), &format!("{name}/"), above, paths)?,
            false => drop(paths.insert(name)),
        }
    }
    above.pop();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_seen_with_its_capitals_and_pairs_and_without_hidden_files() {
        let base = tempfile::tempdir().expect("a folder");
        for file in
            ["p1/SCAN.NII.GZ", "p1/a.hdr", "p1/a.img", "x.img", "b.nii", ".b.nii", "notes.txt"]
        {
            let path = base.path().join(file);
            fs::create_dir_all(path.parent().expect("a parent")).expect("makes");
            fs::write(path, "").expect("writes");
        }
        let survey = survey(base.path()).expect("a survey");
        let paths: Vec<&str> = survey.images.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, ["b.nii", "p1/SCAN.NII.GZ", "p1/a.hdr"]);
        assert_eq!(survey.others, ["notes.txt", "x.img"], "voxels without a header");
        assert_eq!(survey.images[1].name(), "p1/SCAN");
        assert_eq!(survey.images[1].ending, ".NII.GZ");
    }
}
