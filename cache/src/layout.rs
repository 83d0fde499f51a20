//! Paths inside a store: fanned folders, listings, and the folder for damaged files.

use crate::artifact::FileStat;
use crate::disk;
use crate::error::{Error, Result};
use crate::hash::{Digest, Fingerprint};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Folder of blobs.
pub(crate) const BLOBS: &str = "blobs";
/// Folder of entries.
pub(crate) const ENTRIES: &str = "entries";

/// `folder/ab/abcd…`: 256 subfolders keep directories small on every file system.
pub(crate) fn fan(folder: &Path, hex: &str) -> PathBuf {
    folder.join(&hex[..2]).join(hex)
}

/// Files two levels below `folder`, sorted; empty if missing.
pub(crate) fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = vec![];
    for fan in list(folder)? {
        if fan.is_dir() {
            found.extend(list(&fan)?);
        }
    }
    Ok(found)
}

/// Paths in `folder`, sorted; empty if missing.
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

/// Creates a file's parent folder; fsyncs the grandparent if new.
pub(crate) fn make_parent(file: &Path) -> Result<PathBuf> {
    let folder = file.parent().unwrap_or(file).to_path_buf();
    if disk::create_folder(&folder).map_err(Error::in_store)? {
        disk::sync_folder(folder.parent().unwrap_or(&folder))?;
    }
    Ok(folder)
}

/// Creates all missing [`fan`] folders up front: a failed lookup would be cached by network
/// clients.
pub(crate) fn make_fans(folder: &Path) -> Result<()> {
    let there = list(folder)?;
    let fans = (0..=u8::MAX).map(|first| folder.join(format!("{first:02x}")));
    let missing: Vec<PathBuf> = fans.filter(|fan| there.binary_search(fan).is_err()).collect();
    for fan in &missing {
        disk::create_folder(fan).map_err(Error::in_store)?;
    }
    if missing.is_empty() { Ok(()) } else { disk::sync_folder(folder) }
}

/// Path to a blob's content in a store.
pub fn blob_path(store: &Path, digest: &Digest) -> PathBuf {
    fan(&store.join(BLOBS), &digest.to_hex())
}

/// Path to an entry's file in a store.
pub fn entry_path(store: &Path, fingerprint: &Fingerprint) -> PathBuf {
    fan(&store.join(ENTRIES), &fingerprint.to_hex()).with_extension("json")
}

/// Moves a damaged file into `bad`, out of reach for look-ups but kept for inspection. Skips files
/// replaced since `stat` was taken.
pub(crate) fn set_aside(path: &Path, stat: &FileStat, bad: &Path) -> Result<()> {
    let now = FileStat::of(path)?;
    if now.is_none_or(|now| (now.device, now.inode) != (stat.device, stat.inode)) {
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
