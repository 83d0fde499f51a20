//! The store: what was made, under fingerprints, on disk.
//!
//! Truth is in files (`blobs`, `entries`); the index only saves reading them. Looking up or making
//! is in `recall`, whether files are there in `presence`, how a draft is published in `publish`,
//! keeping the store in order in `maintenance`.

mod opening;

use crate::artifact::{Blob, FileStat};
use crate::blobs::{Blobs, Hints};
use crate::claims::{Claim, FileLock, LockFiles};
use crate::clock::Clock;
use crate::disk;
use crate::drafts::Draft;
use crate::entries::{Entries, Entry};
use crate::error::{Error, Result};
use crate::external_digests::ExternalDigests;
use crate::hash::{Digest, Fingerprint};
use crate::index::Index;
use crate::layout;
use crate::pins::Pin;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::SystemTime;

/// A store on disk. Clones share it; any thread may use it.
#[derive(Clone)]
pub struct Store {
    inner: Arc<StoreInner>,
}

struct StoreInner {
    root: PathBuf,
    blobs: Blobs,
    entries: Entries,
    clock: Arc<Clock>,
    locks: LockFiles,
    index: Index,
    outside: ExternalDigests,
    access: Access,
    pin: OnceLock<Pin>,
    told_of_reading: OnceLock<Box<OnProgress>>,
    /// Files that this process has read in full and found intact.
    read_again: Mutex<HashMap<FileStat, Digest>>,
}

/// Folder for damaged files.
pub(crate) const BAD: &str = "bad";

/// File with digests of user files.
const OUTSIDE: &str = "index.outside";

/// Access mode.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    Write,
}

/// Hears how many bytes were read.
type OnProgress = dyn Fn(u64) + Send + Sync;

impl Store {
    /// The store's folder, absolute.
    pub fn root(&self) -> &Path {
        &self.inner.root
    }

    /// Current time by the file system's clock; compare file times with this clock only.
    pub fn now(&self) -> SystemTime {
        self.inner.clock.now()
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.inner.clock
    }

    /// From now on gc leaves alone what this store finds or keeps, until its last clone is dropped.
    /// A store that cannot be written is not pinned, and nothing here can remove anything from it.
    pub fn hold(&self) -> Result<()> {
        self.writable()?;
        let _guard = self.removal_guard()?;
        match Pin::create(&self.pins_folder()) {
            Ok(pin) => drop(self.inner.pin.set(pin)),
            Err(error) if error.is_denied() => tracing::debug!("{error}; nothing is pinned"),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Says that what is held is still in use, where other hosts cannot see its lock. To be called
    /// now and then; it writes at most once in ten minutes.
    pub fn keep_hold(&self) {
        self.inner.pin.get().into_iter().for_each(Pin::beat);
    }

    /// From now on `told` hears of each blob that is read because its stat alone is not trusted:
    /// its bytes. Several threads may tell at once. The first who asks is told.
    pub fn on_reading(&self, told: impl Fn(u64) + Send + Sync + 'static) {
        drop(self.inner.told_of_reading.set(Box::new(told)));
    }

    /// The entries of these fingerprints, in their order. An entry outlives its blobs: ask
    /// [`Store::usable`] before reading them. A damaged entry is set aside, reported, and absent.
    pub fn get(&self, fingerprints: &[Fingerprint]) -> Result<Vec<Option<Entry>>> {
        let _guard = self.removal_guard()?;
        let found = fingerprints.iter().map(|fingerprint| self.inner.entries.get(fingerprint));
        let found = found.collect::<Result<Vec<_>>>()?;
        found.iter().flatten().try_for_each(|entry| self.pin(&entry.fingerprint))?;
        Ok(found)
    }

    /// Path of a blob's bytes, for reading only.
    pub fn path(&self, blob: &Blob) -> PathBuf {
        self.inner.blobs.path(blob)
    }

    /// The claim to make what `fingerprint` stands for, or `None` while somebody else has it.
    /// Never waits.
    pub fn claim(&self, fingerprint: Fingerprint) -> Result<Option<Claim>> {
        self.writable()?;
        Claim::attempt(&self.inner.locks.claims, fingerprint)
    }

    /// A new draft.
    pub fn draft(&self) -> Result<Draft> {
        self.writable()?;
        Draft::create(&self.inner.root.join("drafts"), &self.inner.locks.drafts)
    }

    /// The digests of the files that this process has read though their stats were known.
    pub(crate) fn read_again(&self) -> MutexGuard<'_, HashMap<FileStat, Digest>> {
        self.inner.read_again.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells whoever asked that so many bytes were read.
    pub(crate) fn tell_of_reading(&self, bytes: u64) {
        self.inner.told_of_reading.get().into_iter().for_each(|told| told(bytes));
    }

    /// Known digests of files by their stats.
    pub(crate) fn hints(&self) -> Hints<'_> {
        let StoreInner { outside, index, clock, .. } = &*self.inner;
        Hints { outside, index, clock }
    }

    /// Folder of a making's unfinished state; it may not exist.
    pub fn unfinished(&self, fingerprint: &Fingerprint) -> PathBuf {
        layout::fan(&self.inner.root.join("unfinished"), &fingerprint.to_hex())
    }

    /// Forgets what was made under a fingerprint: its entry, its items' entries, its unfinished
    /// state. The blobs stay for others that hold them.
    pub fn forget(&self, fingerprint: &Fingerprint) -> Result<()> {
        self.writable()?;
        let _guard = self.removal_guard()?;
        let items =
            self.inner.entries.get(fingerprint)?.map(|entry| entry.items).unwrap_or_default();
        disk::remove(&self.unfinished(fingerprint))?;
        for item in &items {
            disk::remove(&self.entry_path(item))?;
        }
        disk::remove(&self.entry_path(fingerprint))
    }

    /// All entries, in the order of their fingerprints. Damaged ones are set aside and left out.
    pub fn entries(&self) -> impl Iterator<Item = Result<Entry>> {
        self.inner.entries.all()
    }

    /// Writes what the index learned. Dropping the last clone does it too.
    pub fn flush(&self) {
        self.inner.flush();
    }

    /// To be called within the moment in which the entry was found or kept.
    pub(crate) fn pin(&self, fingerprint: &Fingerprint) -> Result<()> {
        self.inner.pin.get().map_or(Ok(()), |pin| pin.add(fingerprint))
    }

    pub(crate) fn pins_folder(&self) -> PathBuf {
        self.inner.root.join("pins")
    }

    pub(crate) fn locks(&self) -> &LockFiles {
        &self.inner.locks
    }

    /// While it lives, nothing is removed from the store. A reader locks nothing.
    pub(crate) fn removal_guard(&self) -> Result<Option<FileLock>> {
        match self.inner.access {
            Access::Read => Ok(None),
            Access::Write => FileLock::shared(&self.inner.locks.removal).map(Some),
        }
    }

    pub(crate) fn is_read_only(&self) -> bool {
        self.inner.access == Access::Read
    }

    /// Errors if the store was opened for reading.
    pub(crate) fn writable(&self) -> Result<()> {
        if !self.is_read_only() {
            return Ok(());
        }
        let root = self.root().display();
        Err(Error::Other(format!("{root}: this store was opened for reading; nothing is changed")))
    }

    pub(crate) fn index(&self) -> &Index {
        &self.inner.index
    }

    /// Forgets the digests of all files.
    pub(crate) fn clear_index(&self) {
        self.inner.index.clear();
        self.inner.outside.clear();
    }

    pub(crate) fn blobs(&self) -> &Blobs {
        &self.inner.blobs
    }

    pub(crate) fn entry_files(&self) -> &Entries {
        &self.inner.entries
    }

    pub(crate) fn entry_path(&self, fingerprint: &Fingerprint) -> PathBuf {
        self.inner.entries.path(fingerprint)
    }

    pub(crate) fn write_entry(&self, entry: &Entry, file: &Path) -> Result<()> {
        self.inner.entries.write(entry, file)
    }
}

impl StoreInner {
    fn flush(&self) {
        self.index.flush();
        self.outside.flush();
    }
}

impl Drop for StoreInner {
    fn drop(&mut self) {
        self.flush();
    }
}
