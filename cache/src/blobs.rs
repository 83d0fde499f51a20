//! Blobs: contents, one read-only file each under its digest, and the question whether one is
//! (still) what its name says.

use crate::artifact::{Blob, FileStat};
use crate::clock::Clock;
use crate::disk;
use crate::error::{Error, Result};
use crate::external_digests::ExternalDigests;
use crate::hash::Digest;
use crate::index::Index;
use crate::layout;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// A file changed less than this ago may change again without its stat showing it.
const SETTLED_NS: i64 = 2_000_000_000;

/// Attempts at reading a file that changes meanwhile.
const ATTEMPTS: usize = 3;

/// State of a file of an artifact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It can be read and is what was made.
    Here,
    /// It is gone, or lies where this process may not look.
    Absent,
    /// The store's file holds something else.
    Damaged,
    /// A person's own file has other bytes than it had.
    Moved,
}

impl Presence {
    /// As a predicate for people: "is no longer in the store".
    pub fn words(self) -> &'static str {
        match self {
            Presence::Here => "is there",
            Presence::Absent => "is no longer in the store",
            Presence::Damaged => "is damaged in the store",
            Presence::Moved => "is no longer what it was in its own folder",
        }
    }
}

/// Result of checking a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BlobCheck {
    /// The content that the name says.
    Good,
    /// No file.
    Missing,
    /// Another content.
    Bad,
}

/// Digests by stat, of a person's own files and of all files, and the time.
#[derive(Clone, Copy)]
pub(crate) struct Hints<'a> {
    pub(crate) outside: &'a ExternalDigests,
    pub(crate) index: &'a Index,
    /// The clock by which files are young or settled.
    pub(crate) clock: &'a Clock,
}

impl Hints<'_> {
    /// The digest of the file with this stat, if known. The index is opened last.
    pub(crate) fn digest(&self, stat: &FileStat) -> Option<Digest> {
        self.outside.digest(stat).or_else(|| self.index.digest(stat))
    }
}

/// The folder of blobs.
#[derive(Clone, Debug)]
pub(crate) struct Blobs {
    pub(crate) folder: PathBuf,
    /// Folder for damaged files; `None` where nothing may be moved.
    pub(crate) bad: Option<PathBuf>,
}

impl Blobs {
    /// Path of a blob's bytes.
    pub(crate) fn path(&self, blob: &Blob) -> PathBuf {
        match &blob.reference {
            Some(reference) => reference.path.clone(),
            None => self.kept(&blob.digest),
        }
    }

    /// The file of a digest inside the store.
    pub(crate) fn kept(&self, digest: &Digest) -> PathBuf {
        layout::fan(&self.folder, &digest.to_hex())
    }

    /// State of a blob as far as its stat and known digests tell; `None` if only
    /// its bytes can.
    pub(crate) fn glance(&self, blob: &Blob, hints: Hints) -> Result<Option<Presence>> {
        let Some(reference) = &blob.reference else {
            return Ok(match FileStat::of(&self.kept(&blob.digest))? {
                None => Some(Presence::Absent),
                Some(stat) => (stat.size == blob.bytes
                    && hints.index.digest(&stat) == Some(blob.digest))
                .then_some(Presence::Here),
            });
        };
        Ok(match FileStat::of_opened(&reference.path) {
            Err(error) => Some(lost(&error)),
            Ok(None) => Some(Presence::Absent),
            Ok(Some(stat)) if stat == reference.stat && !reference.fresh => Some(Presence::Here),
            Ok(Some(stat)) if stat.size != blob.bytes => Some(Presence::Moved),
            // A file that was touched, copied or restored may have the same bytes.
            Ok(Some(stat)) => hints.digest(&stat).map(|digest| outside(digest, blob)),
        })
    }

    /// The same at the cost of a stat: of a blob of the store only its size counts, and bytes
    /// outside are read where nothing is known of them.
    pub(crate) fn stat(&self, blob: &Blob, hints: Hints) -> Result<Presence> {
        let Some(reference) = &blob.reference else {
            return Ok(match FileStat::of(&self.kept(&blob.digest))? {
                None => Presence::Absent,
                Some(stat) if stat.size == blob.bytes => Presence::Here,
                Some(_) => Presence::Damaged,
            });
        };
        if let Some(presence) = self.glance(blob, hints)? {
            return Ok(presence);
        }
        Ok(match known_digest(&reference.path, hints) {
            Err(error) => lost(&error),
            Ok((digest, _)) => outside(digest, blob),
        })
    }

    /// State of a blob by its bytes. A bad blob of the store is set aside and reported.
    pub(crate) fn read(&self, blob: &Blob, hints: Hints) -> Result<Presence> {
        let Some(reference) = &blob.reference else {
            let check = self.verify(&self.kept(&blob.digest), &blob.digest, hints)?;
            return Ok(match check {
                BlobCheck::Good => Presence::Here,
                BlobCheck::Missing => Presence::Absent,
                BlobCheck::Bad => Presence::Damaged,
            });
        };
        Ok(match fresh_digest(&reference.path, hints) {
            Err(error) => lost(&error),
            Ok((digest, _)) => outside(digest, blob),
        })
    }

    /// Reads a blob of the store. One that does not hold what `digest` says is set aside.
    pub(crate) fn verify(&self, path: &Path, digest: &Digest, hints: Hints) -> Result<BlobCheck> {
        let (found, stat) = match fresh_digest(path, hints) {
            Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
                return Ok(BlobCheck::Missing);
            }
            found => found?,
        };
        if found == *digest {
            return Ok(BlobCheck::Good);
        }
        let Some(bad) = &self.bad else { return Ok(BlobCheck::Bad) };
        tracing::warn!(
            "{}: this file is damaged; set aside, it will be made again",
            path.display()
        );
        layout::set_aside(path, &stat, bad).map(|()| BlobCheck::Bad)
    }

    /// Moves a settled file to its place. A file that lies there already stays, if the index knows
    /// it as right; otherwise it is replaced. Returns the folder to sync, if any.
    pub(crate) fn keep(&self, file: &Path, blob: &Blob, hints: Hints) -> Result<Option<PathBuf>> {
        let place = self.kept(&blob.digest);
        let is_known = |stat: FileStat| hints.index.digest(&stat) == Some(blob.digest);
        if FileStat::of(&place)?.is_some_and(is_known) {
            return disk::remove(file).map(|()| None);
        }
        let folder = layout::make_parent(&place)?;
        match FileStat::of_opened(file)? {
            Some(stat) if stat.size == blob.bytes => {}
            Some(_) => return Err(not_settled(file, "was changed after it was hashed")),
            None => match self.verify(&place, &blob.digest, hints)? {
                BlobCheck::Good => return Ok(Some(folder)),
                BlobCheck::Missing | BlobCheck::Bad => return Err(not_settled(file, "is gone")),
            },
        }
        disk::BLOB.rename(file, &place)?;
        if let Some(stat) = FileStat::of(&place)? {
            hints.index.remember(stat, blob.digest);
        }
        Ok(Some(folder))
    }
}

fn not_settled(file: &Path, trouble: &str) -> Error {
    let trouble = format!("{trouble}; run again to make it again");
    Error::Damaged { path: file.to_path_buf(), trouble }
}

/// A reference that cannot be looked at or read, in another person's private folder or on a lost
/// mount, is a missing one: its stage is then made from the files of who asks.
fn lost(error: &Error) -> Presence {
    tracing::debug!("{error}; it counts as missing");
    Presence::Absent
}

/// A person's own file by the digest that it has now.
fn outside(digest: Digest, blob: &Blob) -> Presence {
    if digest == blob.digest { Presence::Here } else { Presence::Moved }
}

/// The digest of a file outside the store and the stat it belongs to, read only where neither hint
/// knows it.
pub(crate) fn known_digest(path: &Path, hints: Hints) -> Result<(Digest, FileStat)> {
    let known = FileStat::of_opened(path)?.and_then(|stat| Some((hints.digest(&stat)?, stat)));
    let (digest, stat) = known.map_or_else(|| fresh_digest(path, hints), Ok)?;
    if known.is_some() || hints.index.digest(&stat) == Some(digest) {
        hints.outside.remember(stat, digest);
    }
    Ok((digest, stat))
}

/// The digest of a file read now. It is remembered if nothing can have changed unseen.
pub(crate) fn fresh_digest(path: &Path, hints: Hints) -> Result<(Digest, FileStat)> {
    let start = hints.clock.now_ns();
    let (digest, stat) = read_digest(path)?;
    if is_settled(&stat, start) {
        hints.index.remember(stat, digest);
    }
    Ok((digest, stat))
}

/// True if a change after `moment` must have given the file another stat than this one.
pub(crate) fn is_settled(stat: &FileStat, moment: i64) -> bool {
    stat.changed_ns() < moment - SETTLED_NS
}

fn read_digest(path: &Path) -> Result<(Digest, FileStat)> {
    for _ in 0..ATTEMPTS {
        let before = FileStat::of_opened(path)?;
        let digest = Digest::of_file(path)?;
        if let Some(stat) = FileStat::of_opened(path)?
            && before == Some(stat)
        {
            return Ok((digest, stat));
        }
    }
    let trouble = "this file changes while it is read; wait until it is written".to_string();
    Err(Error::Damaged { path: path.to_path_buf(), trouble })
}
