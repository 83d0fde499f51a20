//! Drafts: folders on the store's file system for files in the making. Opening a store removes
//! drafts left by dead processes.

use crate::artifact::{Artifact, Blob};
use crate::claims::ByteLock;
use crate::clock::Clock;
use crate::disk;
use crate::error::{Error, Result};
use crate::layout;
use crate::place::MountId;
use crate::settle::plain_files;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Folder for making an artifact; removed on drop. Nothing in a draft belongs to the store until
/// published.
#[derive(Debug)]
pub struct Draft {
    root: PathBuf,
    folder: PathBuf,
    /// Kept open: prevents inode reuse by another folder.
    made: File,
    adopted: Mutex<Vec<(String, Blob)>>,
    _lock: ByteLock,
}

/// Subfolder for the maker's files.
const FILES: &str = "files";

/// A draft from another host or mount counts as abandoned after this time without changes.
const FOREIGN_AGE: Duration = Duration::from_secs(7 * 24 * 3600);

impl Draft {
    /// Creates a draft below `drafts`, locked by a byte in `locks`.
    pub(crate) fn create(drafts: &Path, locks: &Path) -> Result<Draft> {
        loop {
            let number = RandomState::new().hash_one(std::process::id());
            let name = format!("{}-{number:016x}-{}", std::process::id(), MountId::of(drafts));
            let root = drafts.join(name);
            // The lock comes first: a folder without one is a left-over.
            let Some(lock) = ByteLock::attempt(locks, number)? else { continue };
            if root.exists() {
                continue;
            }
            let folder = root.join(FILES);
            disk::DRAFT.create_folders(&folder).map_err(Error::in_store)?;
            let made = File::open(&folder).map_err(Error::io("open", &folder))?;
            return Ok(Draft { root, folder, made, adopted: Mutex::default(), _lock: lock });
        }
    }

    /// Empty folder for output. Every regular file below becomes a blob.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Adds an existing blob as `name` without copying. Callable from any thread.
    pub fn adopt(&self, name: &str, blob: &Blob) {
        self.adopted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((name.to_string(), blob.clone()));
    }

    /// Names the artifact would hold if published now, sorted.
    pub fn names(&self) -> Result<BTreeSet<String>> {
        let files = plain_files(&self.folder)?.into_iter().map(|(name, _)| name);
        Ok(files.chain(self.adopted()?.0.into_keys()).collect())
    }

    /// Errors if the folder was removed and created again meanwhile: its files may then be
    /// incomplete.
    pub(crate) fn check(&self) -> Result<()> {
        let made = self.made.metadata().map_err(Error::io("look at", &self.folder))?;
        let now = fs::symlink_metadata(&self.folder).ok();
        if now.is_some_and(|now| (now.dev(), now.ino()) == (made.dev(), made.ino())) {
            return Ok(());
        }
        let trouble = "this folder was removed while it was written; run again to make it again";
        Err(Error::Damaged { path: self.folder.clone(), trouble: trouble.to_string() })
    }

    /// Adopted blobs. Errors on names that are not relative paths, and on a name given twice with
    /// different contents.
    pub(crate) fn adopted(&self) -> Result<Artifact> {
        let mut adopted = Artifact::default();
        for (name, blob) in self.adopted.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            adopted.add(name, blob)?;
        }
        Ok(adopted)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Err(error) = disk::DRAFT.remove(&self.root) {
            tracing::warn!("{error}; it will be removed later");
        }
    }
}

/// Removes abandoned drafts; failures are retried at the next opening.
///
/// Locks from other hosts or mounts may be invisible here; such drafts are judged by age.
pub(crate) fn sweep(drafts: &Path, locks: &Path, clock: &Clock) {
    let here = MountId::of(drafts);
    for folder in layout::list(drafts).unwrap_or_default() {
        let Some((number, place)) = named(&folder) else { continue };
        if place != Some(here) && !is_old(&folder, clock) {
            continue;
        }
        if let Ok(Some(_lock)) = ByteLock::attempt(locks, number) {
            let _ = disk::remove(&folder);
        }
    }
}

/// Lock number and mount from a draft's name. Older versions wrote no mount.
fn named(folder: &Path) -> Option<(u64, Option<MountId>)> {
    let mut parts = folder.file_name()?.to_str()?.split('-').skip(1);
    let number = u64::from_str_radix(parts.next()?, 16).ok()?;
    Some((number, parts.next().and_then(MountId::named)))
}

/// True if nothing at any depth changed within [`FOREIGN_AGE`].
fn is_old(folder: &Path, clock: &Clock) -> bool {
    let Ok(metadata) = fs::symlink_metadata(folder) else { return false };
    let age = metadata.modified().ok().map(|changed| clock.age(changed));
    let inside = if metadata.is_dir() { layout::list(folder) } else { Ok(vec![]) };
    age.is_some_and(|age| age > FOREIGN_AGE)
        && inside.is_ok_and(|paths| paths.iter().all(|path| is_old(path, clock)))
}
