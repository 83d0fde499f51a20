//! Presence checks for an artifact's files, by stat or by content, and digests for user files.

use crate::artifact::{Artifact, Blob, FileStat, Reference};
use crate::blobs::{self, Hints, Presence};
use crate::error::{Error, Result};
use crate::hash::Digest;
use crate::parallel::parallel_map;
use crate::store::Store;
use std::path::Path;

/// Concurrent reads for blobs unknown to the index.
const READ_THREADS: usize = 4;

/// Depth of a check of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckDepth {
    /// One stat per file; the index stays closed. Sufficient for reporting reuse.
    Stat,
    /// Stat plus known digests; unknown files are read. Read-only stores fall back to
    /// [`CheckDepth::Stat`].
    Known,
    /// Reads all bytes, at most once per process.
    Read,
}

impl CheckDepth {
    /// [`CheckDepth::Read`] if `verify`, else [`CheckDepth::Known`].
    pub fn of(verify: bool) -> CheckDepth {
        if verify { CheckDepth::Read } else { CheckDepth::Known }
    }
}

impl Store {
    /// Unusable blobs by name with their state; empty if all are readable. See [`Artifact::part`].
    pub fn presence<'b>(
        &self,
        blobs: impl IntoIterator<Item = (&'b str, &'b Blob)>,
        look: CheckDepth,
    ) -> Result<Vec<(String, Presence)>> {
        let look =
            if look == CheckDepth::Known && self.is_read_only() { CheckDepth::Stat } else { look };
        let (mut found, mut unknown) = (vec![], vec![]);
        for (name, blob) in blobs {
            let presence = match look {
                CheckDepth::Stat => Some(self.blobs().stat(blob, self.hints())?),
                CheckDepth::Known | CheckDepth::Read => self.blobs().glance(blob, self.hints())?,
            };
            match presence {
                // `Read` distrusts stats: unchanged files are read too.
                Some(Presence::Here) if look != CheckDepth::Read => {}
                Some(Presence::Here) | None => unknown.push((name, blob)),
                Some(presence) => found.push((name.to_string(), presence)),
            }
        }
        let seen = parallel_map(READ_THREADS, &unknown, |(_, blob)| self.read(blob, look));
        for (presence, (name, blob)) in seen.into_iter().zip(&unknown) {
            let presence = presence?;
            if presence == Presence::Here {
                continue;
            }
            // The known digest led to this reference; a later look must not trust it again.
            if let Some(reference) = &blob.reference {
                self.forget_digest(&reference.stat);
            }
            found.push((name.to_string(), presence));
        }
        found.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(found)
    }

    /// Names of missing or changed blobs, checked to [`CheckDepth::Known`].
    pub fn usable(&self, artifact: &Artifact) -> Result<Vec<String>> {
        let found = self.presence(artifact.part(""), CheckDepth::Known)?;
        Ok(found.into_iter().map(|(name, _)| name).collect())
    }

    fn read(&self, blob: &Blob, look: CheckDepth) -> Result<Presence> {
        let stat = FileStat::of_opened(&self.path(blob)).ok().flatten();
        if look == CheckDepth::Read
            && stat.is_some_and(|stat| self.has_read(&stat) == Some(blob.digest))
        {
            return Ok(Presence::Here);
        }
        let presence = self.blobs().read(blob, self.hints())?;
        self.tell_of_reading(blob.bytes);
        if let (Presence::Here, Some(stat)) = (presence, stat) {
            self.read_again().insert(stat, blob.digest);
        }
        Ok(presence)
    }

    /// Blob referring to a user's file in place: digest, path and stat.
    pub fn refer(&self, path: &Path) -> Result<Blob> {
        let path =
            std::path::absolute(path).map_err(|error| Error::io("find", path)(error).outside())?;
        if path.to_str().is_none() {
            return Err(Error::Other(format!(
                "{}: its name is not UTF-8; rename it",
                path.display()
            )));
        }
        let moment = self.hints().clock.now_ns();
        let (digest, stat) = self.known_digest(&path)?;
        let fresh = !blobs::is_settled(&stat, moment);
        Ok(Blob { digest, bytes: stat.size, reference: Some(Reference { path, stat, fresh }) })
    }

    /// Digest of a file outside the store; read only if its stat is unknown.
    pub fn digest_of(&self, path: &Path) -> Result<Digest> {
        self.known_digest(path).map(|(digest, _)| digest)
    }

    /// Like [`Store::digest_of`], but reads even known files, once per process.
    pub fn read_digest_of(&self, path: &Path) -> Result<Digest> {
        if let Some(digest) =
            FileStat::of_opened(path).map_err(Error::outside)?.and_then(|stat| self.has_read(&stat))
        {
            return Ok(digest);
        }
        let (digest, stat) = blobs::fresh_digest(path, self.hints()).map_err(Error::outside)?;
        self.tell_of_reading(stat.size);
        if self.hints().digest(&stat).is_some_and(|known| known != digest) {
            self.forget_digest(&stat);
        }
        self.read_again().insert(stat, digest);
        Ok(digest)
    }

    /// Drops a stat found wrong: changes through a memory mapping may leave it unchanged.
    fn forget_digest(&self, stat: &FileStat) {
        let Hints { outside, index, .. } = self.hints();
        outside.forget(stat);
        index.forget([*stat].into());
    }

    fn has_read(&self, stat: &FileStat) -> Option<Digest> {
        self.read_again().get(stat).copied()
    }

    /// Digest and stat for a file outside the store.
    pub(crate) fn known_digest(&self, path: &Path) -> Result<(Digest, FileStat)> {
        blobs::known_digest(path, self.hints()).map_err(Error::outside)
    }
}
