//! Drafts: folders on the store's own file system where something is being made. One whose process
//! is gone is removed when the store is next opened.

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

/// A folder to make an artifact in, gone when dropped. Nothing in it is part of the store before
/// it is published.
#[derive(Debug)]
pub struct Draft {
    root: PathBuf,
    folder: PathBuf,
    /// Open, so that no other folder can get its inode.
    made: File,
    adopted: Mutex<Vec<(String, Blob)>>,
    _lock: ByteLock,
}

/// The name of the folder for the maker's files inside a draft.
const FILES: &str = "files";

/// A draft of another host or mount in which nothing changed for so long is a left-over.
const FOREIGN_AGE: Duration = Duration::from_secs(7 * 24 * 3600);

impl Draft {
    /// A new draft below `drafts`, held by a byte of the file `locks`.
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

    /// The empty folder to write into. Every regular file below it becomes a blob.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Adds an existing blob to the artifact under `name`, without copying it. Any thread may.
    pub fn adopt(&self, name: &str, blob: &Blob) {
        self.adopted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((name.to_string(), blob.clone()));
    }

    /// The names of all that the artifact would hold now, in their order.
    pub fn names(&self) -> Result<BTreeSet<String>> {
        let files = plain_files(&self.folder)?.into_iter().map(|(name, _)| name);
        Ok(files.chain(self.adopted()?.0.into_keys()).collect())
    }

    /// An error if the folder is not the one that was made: somebody removed it meanwhile, and what
    /// lies there now may be a part only.
    pub(crate) fn check(&self) -> Result<()> {
        let made = self.made.metadata().map_err(Error::io("look at", &self.folder))?;
        let now = fs::symlink_metadata(&self.folder).ok();
        if now.is_some_and(|now| (now.dev(), now.ino()) == (made.dev(), made.ino())) {
            return Ok(());
        }
        let trouble = "this folder was removed while it was written; run again to make it again";
        Err(Error::Damaged { path: self.folder.clone(), trouble: trouble.to_string() })
    }

    /// The adopted blobs by name. A name that is no relative path, or given twice to different
    /// contents, is an error.
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

/// Removes the drafts that nobody holds. Those that cannot be removed are left for the next time.
///
/// Locks may be seen on one host or through one mount only, so that a draft of another place goes
/// by its age.
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

/// The number and the place in a draft's name. Programs of before wrote no place.
fn named(folder: &Path) -> Option<(u64, Option<MountId>)> {
    let mut parts = folder.file_name()?.to_str()?.split('-').skip(1);
    let number = u64::from_str_radix(parts.next()?, 16).ok()?;
    Some((number, parts.next().and_then(MountId::named)))
}

/// True if nothing in the folder, at any depth, was changed lately.
fn is_old(folder: &Path, clock: &Clock) -> bool {
    let Ok(metadata) = fs::symlink_metadata(folder) else { return false };
    let age = metadata.modified().ok().map(|changed| clock.age(changed));
    let inside = if metadata.is_dir() { layout::list(folder) } else { Ok(vec![]) };
    age.is_some_and(|age| age > FOREIGN_AGE)
        && inside.is_ok_and(|paths| paths.iter().all(|path| is_old(path, clock)))
}
