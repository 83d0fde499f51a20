//! Blobs: one read-only file per content, named by digest, and checks against that name.

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

/// A file changed more recently may change again without a new stat: time stamps are coarse.
const SETTLED_NS: i64 = 2_000_000_000;

/// Attempts at reading a file while others write to it.
const ATTEMPTS: usize = 3;

/// State of an artifact's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Readable and unchanged.
    Here,
    /// Missing, or unreadable for this process.
    Absent,
    /// The store's copy holds other bytes.
    Damaged,
    /// A user's file holds other bytes than recorded.
    Moved,
}

impl Presence {
    /// Predicate for messages: "is no longer in the store".
    pub fn words(self) -> &'static str {
        match self {
            Presence::Here => "is there",
            Presence::Absent => "is no longer in the store",
            Presence::Damaged => "is damaged in the store",
            Presence::Moved => "is no longer what it was in its own folder",
        }
    }
}

/// Result of hashing a stored blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BlobCheck {
    /// Content matches the name.
    Good,
    /// File not found.
    Missing,
    /// Content differs from the name.
    Bad,
}

/// Known digests by stat (user files, all files) and the clock.
#[derive(Clone, Copy)]
pub(crate) struct Hints<'a> {
    pub(crate) outside: &'a ExternalDigests,
    pub(crate) index: &'a Index,
    /// Clock for deciding if a file is settled.
    pub(crate) clock: &'a Clock,
}

impl Hints<'_> {
    /// Known digest for a stat. Asks the index last, because this may open its database.
    pub(crate) fn digest(&self, stat: &FileStat) -> Option<Digest> {
        self.outside.digest(stat).or_else(|| self.index.digest(stat))
    }
}

/// The folder of blobs.
#[derive(Clone, Debug)]
pub(crate) struct Blobs {
    pub(crate) folder: PathBuf,
    /// Folder for damaged files; `None` in read-only stores.
    pub(crate) bad: Option<PathBuf>,
}

impl Blobs {
    /// Path to a blob's bytes, inside or outside the store.
    pub(crate) fn path(&self, blob: &Blob) -> PathBuf {
        match &blob.reference {
            Some(reference) => reference.path.clone(),
            None => self.kept(&blob.digest),
        }
    }

    /// Path inside the store for a digest.
    pub(crate) fn kept(&self, digest: &Digest) -> PathBuf {
        layout::fan(&self.folder, &digest.to_hex())
    }

    /// State by stat and known digests; `None` if only reading could tell.
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

    /// State at the cost of a stat: stored blobs are judged by size, user files without a known
    /// digest are read.
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

    /// State by reading all bytes. Damaged store files are set aside and logged.
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

    /// Hashes a stored blob; sets it aside if its content differs from `digest`.
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

    /// Moves a settled file into the store and returns the folder to fsync. An existing blob stays
    /// if the index knows it as intact; otherwise it is replaced.
    pub(crate) fn keep(&self, file: &Path, blob: &Blob, hints: Hints) -> Result<Option<PathBuf>> {
        let place = self.kept(&blob.digest);
        let stat = FileStat::of(&place)?;
        if stat.is_some_and(|stat| hints.index.digest(&stat) == Some(blob.digest)) {
            return disk::remove(file).map(|()| None);
        }
        let folder = layout::make_parent(&place)?;
        match FileStat::of_opened(file)? {
            Some(stat) if stat.size == blob.bytes => {}
            Some(_) => return Err(not_settled(file, "was changed after it was hashed")),
            // A publisher killed after this rename left the blob in place.
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

/// Unreadable references (private folders, lost mounts) count as missing: the stage is made again
/// from the current user's files.
fn lost(error: &Error) -> Presence {
    tracing::debug!("{error}; it counts as missing");
    Presence::Absent
}

/// State given the current digest.
fn outside(digest: Digest, blob: &Blob) -> Presence {
    if digest == blob.digest { Presence::Here } else { Presence::Moved }
}

/// Digest and stat for a file outside the store; reads the file only if neither hint knows its
/// stat.
pub(crate) fn known_digest(path: &Path, hints: Hints) -> Result<(Digest, FileStat)> {
    let known = FileStat::of_opened(path)?.and_then(|stat| Some((hints.digest(&stat)?, stat)));
    let (digest, stat) = known.map_or_else(|| fresh_digest(path, hints), Ok)?;
    if known.is_some() || hints.index.digest(&stat) == Some(digest) {
        hints.outside.remember(stat, digest);
    }
    Ok((digest, stat))
}

/// Hashes a file now. The index remembers the digest if the file was settled beforehand.
pub(crate) fn fresh_digest(path: &Path, hints: Hints) -> Result<(Digest, FileStat)> {
    let start = hints.clock.now_ns();
    let (digest, stat) = read_digest(path)?;
    if is_settled(&stat, start) {
        hints.index.remember(stat, digest);
    }
    Ok((digest, stat))
}

/// True if any change after `moment` (nanoseconds since 1970) must alter this stat.
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
