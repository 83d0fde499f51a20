//! Places on disk: fanned folders, listings, and the place of what is bad.

use crate::artifact::FileStat;
use crate::disk;
use crate::error::{Error, Result};
use crate::hash::Digest;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The folder of blobs in a store.
pub(crate) const BLOBS: &str = "blobs";

/// `folder/ab/abcd…`: at most 256 folders, each of a size that every file system likes.
pub(crate) fn fan(folder: &Path, hex: &str) -> PathBuf {
    folder.join(&hex[..2]).join(hex)
}

/// The files two levels below `folder`, sorted. None if the folder is missing.
pub(crate) fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = vec![];
    for fan in list(folder)? {
        if fan.is_dir() {
            found.extend(list(&fan)?);
        }
    }
    Ok(found)
}

/// Entries of `folder`, sorted; empty if it is missing.
pub(crate) fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    let read = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(vec![]),
        read => read.map_err(Error::io("list", folder))?,
    };
    let paths: std::io::Result<Vec<PathBuf>> =
        read.map(|entry| entry.map(|entry| entry.path())).collect();
    let mut paths = paths.map_err(Error::io("list", folder))?;
    paths.sort();
    Ok(paths)
}

/// Makes the folder that `file` will lie in, and syncs the one above if it is new.
pub(crate) fn make_parent(file: &Path) -> Result<PathBuf> {
    let folder = file.parent().unwrap_or(file).to_path_buf();
    if disk::create_folder(&folder).map_err(Error::in_store)? {
        disk::sync_folder(folder.parent().unwrap_or(&folder))?;
    }
    Ok(folder)
}

/// Makes the folders of [`fan`] that are missing, so that none of their names is ever looked up
/// before it is there.
pub(crate) fn make_fans(folder: &Path) -> Result<()> {
    let there = list(folder)?;
    let fans = (0..=u8::MAX).map(|first| folder.join(format!("{first:02x}")));
    let missing: Vec<PathBuf> = fans.filter(|fan| there.binary_search(fan).is_err()).collect();
    for fan in &missing {
        disk::create_folder(fan).map_err(Error::in_store)?;
    }
    if missing.is_empty() { Ok(()) } else { disk::sync_folder(folder) }
}

/// Path in a store of the content with this digest.
pub fn blob_path(store: &Path, digest: &Digest) -> PathBuf {
    fan(&store.join(BLOBS), &digest.to_hex())
}

/// Moves a bad file into the folder `bad`, where nobody looks things up but a person can. Not if it
/// has been replaced since its stat was taken.
pub(crate) fn set_aside(path: &Path, stat: &FileStat, bad: &Path) -> Result<()> {
    let same = |now: FileStat| (now.device, now.inode) == (stat.device, stat.inode);
    if !FileStat::of(path)?.is_some_and(same) {
        return Ok(());
    }
    disk::create_folders(bad).map_err(Error::in_store)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    for copy in 0.. {
        match disk::rename_new(path, &bad.join(format!("{name}.{copy}"))) {
            Ok(true) => break,
            Ok(false) => continue,
            Err(error) if error.io_kind() == Some(ErrorKind::NotFound) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
