//! An image on disk: one file, or a pair of a header (.hdr) and its voxels (.img).

use super::suffix;
use crate::error::Result;
use crate::task::Input;
use std::path::{Path, PathBuf};

/// The files of one image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageFile {
    /// The file beginning with the header.
    pub header: PathBuf,
    /// The voxels' file, if separate.
    pub voxels: Option<PathBuf>,
}

impl ImageFile {
    /// The image at `path`. Either file of a pair names both.
    pub fn at(path: &Path) -> ImageFile {
        let alone = ImageFile { header: path.to_path_buf(), voxels: None };
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return alone };
        let Some(other) = suffix::second(name).and_then(|other| beside(path, &other)) else {
            return alone;
        };
        if suffix::is_voxels(name) {
            return ImageFile { header: other, voxels: Some(alone.header) };
        }
        ImageFile { voxels: Some(other), ..alone }
    }

    /// An artifact's image `name`; its files may lie under names without meaning.
    pub fn of(input: &Input, name: &str) -> Result<ImageFile> {
        let path = input.path(name)?.to_path_buf();
        let other = suffix::second(name).filter(|other| input.has(other));
        let other = other.map(|other| input.path(&other).map(Path::to_path_buf)).transpose()?;
        Ok(match other {
            Some(header) if suffix::is_voxels(name) => ImageFile { header, voxels: Some(path) },
            voxels => ImageFile { header: path, voxels },
        })
    }
}

/// The file `name` beside `path`; a pair's files may differ in compression.
fn beside(path: &Path, name: &str) -> Option<PathBuf> {
    let packed = name.len() > 3 && name.is_char_boundary(name.len() - 3);
    let packed = packed && name[name.len() - 3..].eq_ignore_ascii_case(".gz");
    let again = if packed { name[..name.len() - 3].to_string() } else { format!("{name}.gz") };
    [name, &again].iter().map(|name| path.with_file_name(name)).find(|path| path.is_file())
}

impl From<&Path> for ImageFile {
    fn from(path: &Path) -> ImageFile {
        ImageFile::at(path)
    }
}

impl From<&PathBuf> for ImageFile {
    fn from(path: &PathBuf) -> ImageFile {
        ImageFile::at(path)
    }
}

impl From<&ImageFile> for ImageFile {
    fn from(file: &ImageFile) -> ImageFile {
        file.clone()
    }
}
