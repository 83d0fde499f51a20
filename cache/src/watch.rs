//! A person's own files while something is made of them: looked at before it reads them and again
//! before it is kept, so that nothing is published under a digest that its bytes did not have.

use crate::artifact::{Blob, FileStat};
use crate::blobs::is_settled;
use crate::error::{Error, Result};
use crate::hash::Digest;
use crate::store::Store;
use std::path::{Path, PathBuf};

const CHANGED: &str = "was changed during the run; nothing made of it is kept, so run again once \
                       nobody writes it";
const GONE: &str = "was there when the run began and is gone; put it back, or run again without it";

/// A file outside the store, and the content that it must have.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnFile {
    path: PathBuf,
    digest: Digest,
    /// A stat under which it is known to have that content.
    known: Option<FileStat>,
}

impl OwnFile {
    /// The file at `path`, which must hold what `digest` says.
    pub fn new(path: &Path, digest: Digest) -> OwnFile {
        OwnFile { path: path.to_path_buf(), digest, known: None }
    }

    /// The file behind a blob, if it is a person's own.
    pub fn of(blob: &Blob) -> Option<OwnFile> {
        let reference = blob.reference.as_ref()?;
        let known = (!reference.fresh).then_some(reference.stat);
        Some(OwnFile { path: reference.path.clone(), digest: blob.digest, known })
    }
}

/// Files that were looked at before something was made of them.
pub struct Watch<'a> {
    store: &'a Store,
    files: Vec<WatchedFile>,
}

struct WatchedFile {
    file: OwnFile,
    stat: FileStat,
    /// True if any later change shows in the stat.
    settled: bool,
}

/// A second look at files that nobody may have changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FilesCheck {
    /// They were left alone.
    Unchanged,
    /// This one has the right bytes, but it was written meanwhile: others may have been read.
    Touched(PathBuf),
}

impl Store {
    /// Begins to watch these files. One that does not hold what it must is [`Error::Changed`].
    /// Bytes are read only where the stat does not tell.
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

    /// The stat under which the file has the digest that it must have.
    fn with_digest(&self, file: &OwnFile) -> Result<FileStat> {
        match self.known_digest(&file.path)? {
            (digest, stat) if digest == file.digest => Ok(stat),
            _ => Err(changed(&file.path)),
        }
    }
}

impl Watch<'_> {
    /// Looks again. Bytes that are not what they must be are [`Error::Changed`].
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
