//! Maintenance: disk usage, verification, rebuilding the index.

use crate::artifact::FileStat;
use crate::blobs::BlobCheck;
use crate::error::{Error, Result};
use crate::hash::{self, Digest};
use crate::index_place;
use crate::inventory::named_digest;
use crate::layout;
use crate::parallel::parallel_map;
use crate::store::{BAD, Store};
use std::collections::{BTreeMap, HashSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Extension for files of trainings, unfinished or kept, ending in their own digest
/// ([`hash::close`]).
pub const CHECKPOINT: &str = "checkpoint";

/// A damaged store file; it has been set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedFile {
    /// Original path.
    pub path: PathBuf,
    /// Damage description.
    pub trouble: String,
}

/// Disk usage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreSize {
    /// Usage per recipe kind.
    pub kinds: BTreeMap<String, KindSize>,
    /// All blobs.
    pub blobs: FileCount,
    /// Blobs without entries.
    pub unnamed: FileCount,
    /// All entries.
    pub entries: FileCount,
    /// Checkpoints and other unfinished state.
    pub unfinished: FileCount,
    /// Drafts, in use or abandoned.
    pub drafts: FileCount,
    /// Damaged files set aside.
    pub bad: FileCount,
    /// Index database.
    pub index: FileCount,
}

/// Disk usage per kind. Blobs shared by two kinds count for both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KindSize {
    /// Number of entries.
    pub entries: u64,
    /// Distinct blobs in the store.
    pub kept: FileCount,
    /// Those among them that are checkpoints by name ([`CHECKPOINT`]).
    pub checkpoints: FileCount,
    /// Distinct user files referenced.
    pub referenced: FileCount,
}

/// Number and total size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileCount {
    /// Number of files.
    pub files: u64,
    /// Total bytes.
    pub bytes: u64,
}

impl FileCount {
    pub(crate) fn add(&mut self, bytes: u64) {
        self.files += 1;
        self.bytes += bytes;
    }
}

impl Store {
    /// Hashes every blob, entry and checkpoint on up to `threads` threads; damaged files are set
    /// aside and returned. `progress` receives bytes done and total bytes.
    pub fn verify(
        &self,
        threads: usize,
        progress: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<Vec<DamagedFile>> {
        self.writable()?;
        let files = self.all_files()?;
        let total = files.iter().map(|file| file.bytes).sum();
        let done = AtomicU64::new(0);
        let found = parallel_map(threads, &files, |file| {
            let trouble = match file.what {
                FileRole::Blob => self.verify_blob(&file.path),
                FileRole::Entry => self.verify_entry(&file.path),
                FileRole::Checkpoint => self.verify_checkpoint(&file.path),
            };
            progress(done.fetch_add(file.bytes, Ordering::Relaxed) + file.bytes, total);
            trouble.map(|trouble| {
                trouble.map(|trouble| DamagedFile { path: file.path.clone(), trouble })
            })
        });
        self.flush();
        found.into_iter().filter_map(Result::transpose).collect()
    }

    /// Rebuilds the index by reading all files.
    pub fn rebuild_index(
        &self,
        threads: usize,
        progress: &(dyn Fn(u64, u64) + Sync),
    ) -> Result<Vec<DamagedFile>> {
        self.writable()?;
        self.clear_index();
        self.verify(threads, progress)
    }

    /// Disk usage by kind.
    pub fn size(&self) -> Result<StoreSize> {
        let mut size =
            StoreSize { blobs: count(&self.root().join("blobs"))?, ..StoreSize::default() };
        let mut named = HashSet::new();
        let mut seen = HashSet::new();
        for entry in self.entries() {
            let entry = entry?;
            let kind = size.kinds.entry(entry.recipe.kind.clone()).or_default();
            kind.entries += 1;
            for (name, blob) in &entry.artifact.0 {
                let is_own = blob.reference.is_none();
                if seen.insert((entry.recipe.kind.clone(), blob.digest, !is_own)) {
                    let place = if is_own { &mut kind.kept } else { &mut kind.referenced };
                    place.add(blob.bytes);
                    if is_own && Path::new(name).extension().is_some_and(|e| e == CHECKPOINT) {
                        kind.checkpoints.add(blob.bytes);
                    }
                }
                named.insert(blob.digest);
            }
        }
        size.unnamed = self.unnamed(&named)?;
        size.entries = count(&self.root().join("entries"))?;
        size.unfinished = count(&self.root().join("unfinished"))?;
        size.drafts = count(&self.root().join("drafts"))?;
        size.bad = count(&self.root().join(BAD))?;
        size.index = count(&index_place::of(self.root()))?;
        if let Some(stat) = FileStat::of(&self.root().join("index.outside"))? {
            size.index.add(stat.size);
        }
        Ok(size)
    }

    fn unnamed(&self, named: &HashSet<Digest>) -> Result<FileCount> {
        let mut count = FileCount::default();
        for path in layout::files(&self.blobs().folder)? {
            if !named_digest(&path).is_some_and(|digest| named.contains(&digest))
                && let Some(stat) = FileStat::of(&path)?
            {
                count.add(stat.size);
            }
        }
        Ok(count)
    }

    fn all_files(&self) -> Result<Vec<ListedFile>> {
        let blobs =
            layout::files(&self.blobs().folder)?.into_iter().map(|path| (path, FileRole::Blob));
        let entries = layout::files(&self.entry_files().folder)?
            .into_iter()
            .map(|path| (path, FileRole::Entry));
        let checkpoints = self.checkpoints()?.into_iter().map(|path| (path, FileRole::Checkpoint));
        let listed = blobs.chain(entries).chain(checkpoints).map(|(path, what)| {
            let bytes = FileStat::of(&path)?.map_or(0, |stat| stat.size);
            Ok(ListedFile { path, what, bytes })
        });
        listed.collect()
    }

    fn checkpoints(&self) -> Result<Vec<PathBuf>> {
        let folders = layout::files(&self.root().join("unfinished"))?;
        let inside =
            folders.iter().map(|folder| layout::list(folder)).collect::<Result<Vec<_>>>()?;
        Ok(inside
            .into_iter()
            .flatten()
            .filter(|path| path.extension().is_some_and(|e| e == CHECKPOINT))
            .collect())
    }

    fn verify_blob(&self, path: &Path) -> Result<Option<String>> {
        let Some(digest) = named_digest(path) else {
            return Ok(Some("this is not a blob's name; remove the file".to_string()));
        };
        let check = self.blobs().verify(path, &digest, self.hints())?;
        Ok((check == BlobCheck::Bad).then(|| "its content is not what its name says".to_string()))
    }

    fn verify_entry(&self, path: &Path) -> Result<Option<String>> {
        let Some((trouble, stat)) = self.entry_files().trouble(path)? else { return Ok(None) };
        layout::set_aside(path, &stat, &self.root().join(BAD))?;
        Ok(Some(trouble))
    }

    /// Checks a checkpoint. Files replaced or removed by a running training are fine.
    fn verify_checkpoint(&self, path: &Path) -> Result<Option<String>> {
        let Some(stat) = FileStat::of(path)? else { return Ok(None) };
        let bytes = match std::fs::read(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            read => read.map_err(Error::io("read", path))?,
        };
        if hash::closed(&bytes).is_some() {
            return Ok(None);
        }
        layout::set_aside(path, &stat, &self.root().join(BAD))?;
        Ok(Some("this checkpoint is damaged; the training goes on from the one before".to_string()))
    }
}

struct ListedFile {
    path: PathBuf,
    what: FileRole,
    bytes: u64,
}

#[derive(Clone, Copy)]
enum FileRole {
    Blob,
    Entry,
    Checkpoint,
}

/// Files below `folder`, recursively.
pub(crate) fn count(folder: &Path) -> Result<FileCount> {
    let mut total = FileCount::default();
    for path in layout::list(folder)? {
        if path.is_dir() {
            let inner = count(&path)?;
            total.files += inner.files;
            total.bytes += inner.bytes;
        } else if let Some(stat) = FileStat::of(&path)? {
            total.add(stat.size);
        }
    }
    Ok(total)
}
