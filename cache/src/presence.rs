//! Presence: which of an artifact's files can be read and are unchanged, by their stat or by their
//! bytes, and the digests of a person's own files.

use crate::artifact::{Artifact, Blob, FileStat, Reference};
use crate::blobs::{self, Hints, Presence};
use crate::error::{Error, Result};
use crate::hash::Digest;
use crate::parallel::parallel_map;
use crate::store::Store;
use std::path::Path;

/// Blobs that the index does not know are read by this many threads at once.
const READ_THREADS: usize = 4;

/// Depth of a check of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckDepth {
    /// By a stat for each: enough to say that what is reused is there. No index is opened for it.
    Stat,
    /// By stat and by all that is known of the file; what the index does not know is read. A store
    /// opened for reading has no index and looks as by [`CheckDepth::Stat`].
    Known,
    /// By their bytes, once in this process, however unchanged they look.
    Read,
}

impl CheckDepth {
    /// By bytes where `verify` asks for it, else by what is known.
    pub fn of(verify: bool) -> CheckDepth {
        if verify { CheckDepth::Read } else { CheckDepth::Known }
    }
}

impl Store {
    /// The blobs that cannot be used, by name, and what has become of each; see
    /// [`Artifact::part`]. None, and all of them can be read.
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
                Some(Presence::Here) if look != CheckDepth::Read => {}
                Some(Presence::Here) | None => unknown.push((name, blob)),
                Some(presence) => found.push((name.to_string(), presence)),
            }
        }
        let read = |(_, blob): &(&str, &Blob)| self.read(blob, look);
        for (read, (name, blob)) in
            parallel_map(READ_THREADS, &unknown, read).into_iter().zip(&unknown)
        {
            let presence = read?;
            if presence == Presence::Here {
                continue;
            }
            if let Some(reference) = &blob.reference {
                self.forget_digest(&reference.stat);
            }
            found.push((name.to_string(), presence));
        }
        found.sort_by(|(one, _), (other, _)| one.cmp(other));
        Ok(found)
    }

    /// The names of the blobs that are missing or changed: none, and all of it can be read.
    /// What the index knows is judged by stat alone, the rest is read.
    pub fn usable(&self, artifact: &Artifact) -> Result<Vec<String>> {
        let found = self.presence(artifact.part(""), CheckDepth::Known)?;
        Ok(found.into_iter().map(|(name, _)| name).collect())
    }

    fn read(&self, blob: &Blob, look: CheckDepth) -> Result<Presence> {
        let stat = FileStat::of_opened(&self.path(blob)).ok().flatten();
        let was_read = |stat: FileStat| self.has_read(&stat) == Some(blob.digest);
        if look == CheckDepth::Read && stat.is_some_and(was_read) {
            return Ok(Presence::Here);
        }
        let presence = self.blobs().read(blob, self.hints())?;
        self.tell_of_reading(blob.bytes);
        if let (Presence::Here, Some(stat)) = (presence, stat) {
            self.read_again().insert(stat, blob.digest);
        }
        Ok(presence)
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
        let moment = self.hints().clock.now_ns();
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

    /// A change through a memory mapping may have left the stat as it was.
    fn forget_digest(&self, stat: &FileStat) {
        let Hints { outside, index, .. } = self.hints();
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
