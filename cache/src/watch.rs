//! User files in use by a maker: checked before and after, preventing results published under a
//! digest their input never had.

use crate::artifact::{Blob, FileStat};
use crate::blobs::is_settled;
use crate::error::{Error, Result};
use crate::hash::Digest;
use crate::store::Store;
use std::path::{Path, PathBuf};

const CHANGED: &str = "was changed during the run; nothing made of it is kept, so run again once \
                       nobody writes it";
const GONE: &str = "was there when the run began and is gone; put it back, or run again without it";

/// A file outside the store with its expected content.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnFile {
    path: PathBuf,
    digest: Digest,
    /// Stat known to have this content.
    known: Option<FileStat>,
}

impl OwnFile {
    /// Expects `digest` at `path`.
    pub fn new(path: &Path, digest: Digest) -> OwnFile {
        OwnFile { path: path.to_path_buf(), digest, known: None }
    }

    /// The user file referenced by a blob, if any.
    pub fn of(blob: &Blob) -> Option<OwnFile> {
        let reference = blob.reference.as_ref()?;
        let known = (!reference.fresh).then_some(reference.stat);
        Some(OwnFile { path: reference.path.clone(), digest: blob.digest, known })
    }
}

/// Files checked before making.
pub struct Watch<'a> {
    store: &'a Store,
    files: Vec<WatchedFile>,
}

struct WatchedFile {
    file: OwnFile,
    stat: FileStat,
    /// True if any later change must alter the stat.
    settled: bool,
}

/// Result of the second check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FilesCheck {
    /// Untouched.
    Unchanged,
    /// Rewritten with the same content; the maker may have read an intermediate state.
    Touched(PathBuf),
}

impl Store {
    /// Starts watching. [`Error::Changed`] if a file differs from its expected content; bytes are
    /// read only if the stat is inconclusive.
    pub fn watch(&self, files: Vec<OwnFile>) -> Result<Watch<'_>> {
        let files = files.into_iter().map(|file| self.first_look(file)).collect::<Result<_>>()?;
        Ok(Watch { store: self, files })
    }

    fn first_look(&self, file: OwnFile) -> Result<WatchedFile> {
        let moment = self.hints().clock.now_ns();
        let stat = stat_of(&file.path)?;
        let stat = if file.known == Some(stat) { stat } else { self.with_digest(&file)? };
        let settled = is_settled(&stat, moment);
        Ok(WatchedFile { file, stat, settled })
    }

    /// Stat with the expected content, or [`Error::Changed`].
    fn with_digest(&self, file: &OwnFile) -> Result<FileStat> {
        match self.known_digest(&file.path)? {
            (digest, stat) if digest == file.digest => Ok(stat),
            _ => Err(changed(&file.path)),
        }
    }
}

impl Watch<'_> {
    /// Checks again. [`Error::Changed`] if content differs.
    pub fn look_again(&self) -> Result<FilesCheck> {
        let mut seen = FilesCheck::Unchanged;
        for WatchedFile { file, stat, settled } in &self.files {
            let same = stat_of(&file.path)? == *stat;
            if same && *settled {
                continue;
            }
            // A stat that may hide a change, or that moved: only the bytes can tell.
            self.store.with_digest(file)?;
            if !same {
                seen = FilesCheck::Touched(file.path.clone());
            }
        }
        Ok(seen)
    }
}

fn stat_of(path: &Path) -> Result<FileStat> {
    let stat = FileStat::of_opened(path).map_err(Error::outside)?;
    stat.ok_or_else(|| Error::Changed { path: path.to_path_buf(), trouble: GONE })
}

fn changed(path: &Path) -> Error {
    Error::Changed { path: path.to_path_buf(), trouble: CHANGED }
}
