//! Settling: makes files read-only, durable and hashed.
//!
//! Independent from any store: a maker on another host can settle, and publishing reads nothing
//! again.

use crate::disk;
use crate::error::{Error, Result};
use crate::hash::Digest;
use crate::layout;
use crate::parallel::parallel_map;
use serde::{Deserialize, Serialize};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Concurrent fsyncs; they share commits of the file system's journal.
pub(crate) const SYNC_THREADS: usize = 8;

/// A read-only, durable and hashed file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettledFile {
    /// Slash-separated path below its folder.
    pub name: String,
    /// Digest of its bytes.
    pub digest: Digest,
    /// Its size.
    pub bytes: u64,
}

/// Settles every file below `folder`, sorted by name. Errors on anything but plain files and
/// folders.
pub fn settle(folder: &Path) -> Result<Vec<SettledFile>> {
    let files = plain_files(folder)?;
    let settled = parallel_map(SYNC_THREADS, &files, |(name, file)| settle_file(name, file));
    settled.into_iter().collect()
}

fn settle_file(name: &str, path: &Path) -> Result<SettledFile> {
    let file = disk::BLOB.finish(path)?;
    let bytes = file.metadata().map_err(Error::io("look at", path))?.len();
    Ok(SettledFile { name: name.to_string(), digest: Digest::of_file(path)?, bytes })
}

/// Files below `folder` with their names, sorted. Errors on hard links and special files.
pub(crate) fn plain_files(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut found = vec![];
    collect(folder, "", &mut found)?;
    Ok(found)
}

fn collect(folder: &Path, prefix: &str, found: &mut Vec<(String, PathBuf)>) -> Result<()> {
    for path in layout::list(folder)? {
        let metadata = fs::symlink_metadata(&path).map_err(Error::io("look at", &path))?;
        let Some(part) = path.file_name().and_then(|name| name.to_str()) else {
            return Err(refused(&path, "not named in UTF-8"));
        };
        let name = if prefix.is_empty() { part.to_string() } else { format!("{prefix}/{part}") };
        match metadata.file_type() {
            kind if kind.is_dir() => collect(&path, &name, found)?,
            kind if kind.is_symlink() => return Err(refused(&path, "a symbolic link")),
            kind if !kind.is_file() => return Err(refused(&path, "a device, pipe or socket")),
            _ if metadata.nlink() > 1 => {
                return Err(refused(&path, "a hard link to another file"));
            }
            _ => found.push((name, path)),
        }
    }
    Ok(())
}

fn refused(path: &Path, nature: &str) -> Error {
    Error::Other(format!("{}: is {nature}, and an artifact holds plain files", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settled_files_are_read_only_and_travel_as_json() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("sub")).unwrap();
        for (name, content) in [("sub/b", "two"), ("a", "")] {
            fs::write(folder.path().join(name), content).unwrap();
        }
        let settled = settle(folder.path()).unwrap();
        let told: Vec<(&str, u64)> = settled.iter().map(|f| (f.name.as_str(), f.bytes)).collect();
        assert_eq!(told, [("a", 0), ("sub/b", 3)]);
        assert_eq!(settled[1].digest, Digest::of(b"two"));
        let mode = fs::metadata(folder.path().join("sub/b")).unwrap().mode() & 0o777;
        assert_eq!(mode, 0o444);
        let text = serde_json::to_string(&settled).unwrap();
        assert_eq!(serde_json::from_str::<Vec<SettledFile>>(&text).unwrap(), settled);
        assert_eq!(settle(folder.path()).unwrap(), settled, "once more changes nothing");
    }
}
