//! Presence: which of an artifact's files can be read and are unchanged, by their stat or by their
//! bytes, and the digests of a person's own files.

use crate::artifact::{Artifact, Blob, FileStat, Reference};
use crate::blobs::{self, Hints};
use crate::error::{Error, Result};
use crate::hash::Digest;
use crate::spread::spread;
use crate::store::Store;
use std::path::Path;

/// Blobs that the index does not know are read by this many threads at once.
const READ_THREADS: usize = 4;

impl Store {
    /// The names of the blobs that are missing or changed: none, and all of it can be read.
    /// What the index knows is judged by stat alone, the rest is read.
    pub fn usable(&self, artifact: &Artifact) -> Result<Vec<String>> {
        self.unusable(artifact.0.iter().map(|(name, blob)| (name.as_str(), blob)), false)
    }

    /// The same for some of an artifact's blobs (see [`Artifact::part`]); with `verify`, every one
    /// is read, once in this process.
    pub fn unusable<'b>(
        &self,
        blobs: impl IntoIterator<Item = (&'b str, &'b Blob)>,
        verify: bool,
    ) -> Result<Vec<String>> {
        let (files, index) = (self.blobs(), self.index());
        let (mut missing, mut unknown) = (vec![], vec![]);
        for (name, blob) in blobs {
            match files.glance(blob, self.hints())? {
                Some(false) => missing.push(name.to_string()),
                Some(true) if !verify => {}
                _ => unknown.push((name, blob)),
            }
        }
        let read = |(_, blob): &(&str, &Blob)| {
            let stat = FileStat::of(&files.path(blob)).ok().flatten();
            if verify && stat.is_some_and(|stat| self.has_read(&stat) == Some(blob.digest)) {
                return Ok(true);
            }
            let held = files.holds(blob, index);
            self.tell_of_reading(blob.bytes);
            if let (Ok(true), Some(stat)) = (&held, stat) {
                self.read_again().insert(stat, blob.digest);
            }
            held
        };
        for (held, (name, blob)) in spread(READ_THREADS, &unknown, read).into_iter().zip(&unknown) {
            if !held? {
                if let Some(reference) = &blob.reference {
                    self.forget_digest(&reference.stat);
                }
                missing.push(name.to_string());
            }
        }
        missing.sort();
        Ok(missing)
    }

    /// The first of an artifact's files that is not there or has not its size, at the cost of a stat
    /// for each: enough to say that what is reused is there. Changed bytes are for
    /// [`Store::unusable`].
    pub fn first_lost(&self, artifact: &Artifact) -> Result<Option<String>> {
        for (name, blob) in &artifact.0 {
            if !self.blobs().is_whole(blob, self.hints())? {
                return Ok(Some(name.clone()));
            }
        }
        Ok(None)
    }

    /// A blob that stays where it is: the file's content, its path and its stat.
    pub fn refer(&self, path: &Path) -> Result<Blob> {
        let path =
            std::path::absolute(path).map_err(|error| Error::io("find", path)(error).outside())?;
        if path.to_str().is_none() {
            return Err(Error::Other(format!(
                "{}: its name is not UTF-8; rename it",
                path.display()
            )));
        }
        let moment = blobs::now_ns();
        let (digest, stat) = self.known_digest(&path)?;
        let fresh = !blobs::is_settled(&stat, moment);
        Ok(Blob { digest, bytes: stat.size, reference: Some(Reference { path, stat, fresh }) })
    }

    /// The digest of a file outside the store, read only if its stat is not known.
    pub fn digest_of(&self, path: &Path) -> Result<Digest> {
        self.known_digest(path).map(|(digest, _)| digest)
    }

    /// The same, read though its stat is known, once in this process.
    pub fn read_digest_of(&self, path: &Path) -> Result<Digest> {
        if let Some(digest) =
            FileStat::of(path).map_err(Error::outside)?.and_then(|stat| self.has_read(&stat))
        {
            return Ok(digest);
        }
        let (digest, stat) = blobs::fresh_digest(path, self.index()).map_err(Error::outside)?;
        self.tell_of_reading(stat.size);
        if self.hints().digest(&stat).is_some_and(|known| known != digest) {
            self.forget_digest(&stat);
        }
        self.read_again().insert(stat, digest);
        Ok(digest)
    }

    /// A change through a memory mapping may have left the stat as it was.
    fn forget_digest(&self, stat: &FileStat) {
        let Hints { outside, index } = self.hints();
        outside.forget(stat);
        index.forget([*stat].into());
    }

    fn has_read(&self, stat: &FileStat) -> Option<Digest> {
        self.read_again().get(stat).copied()
    }

    /// The digest of a file outside the store and the stat it belongs to.
    pub(crate) fn known_digest(&self, path: &Path) -> Result<(Digest, FileStat)> {
        blobs::known_digest(path, self.hints()).map_err(Error::outside)
    }
}
