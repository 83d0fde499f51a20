//! The store on disk: made artifacts by fingerprint.
//!
//! Files are authoritative (`blobs`, `entries`); the index only saves reading them. See `recall`
//! for looking up or making, `presence` for file checks, `publish` for new entries and
//! `maintenance` for upkeep.

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
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::SystemTime;

/// Handle to a store. Clones share state; usable from any thread.
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
    /// Files fully read and found intact by this process.
    read_again: Mutex<HashMap<FileStat, Digest>>,
    /// Read-only stores below this one.
    lower: OnceLock<Vec<Store>>,
    /// Entries that no longer count in lower stores.
    forgotten: Mutex<HashSet<Fingerprint>>,
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

/// Receives the number of bytes read.
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

    /// Pins entries found or kept from now on against gc, until the last clone drops. Read-only
    /// stores are not pinned.
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

    /// Refreshes the pin for other hosts, where its lock may be invisible. Call regularly; writes
    /// at most every ten minutes.
    pub fn keep_hold(&self) {
        self.inner.pin.get().into_iter().for_each(Pin::beat);
    }

    /// Registers a listener for blob reads caused by untrusted stats; it receives bytes read,
    /// possibly from several threads. Only the first registration counts.
    pub fn on_reading(&self, told: impl Fn(u64) + Send + Sync + 'static) {
        drop(self.inner.told_of_reading.set(Box::new(told)));
    }

    /// Entries by fingerprint, in order, from lower stores if this one has none. Blobs may be
    /// missing: check [`Store::usable`] before reading. Damaged entries are set aside, logged, and
    /// count as missing.
    pub fn get(&self, fingerprints: &[Fingerprint]) -> Result<Vec<Option<Entry>>> {
        let _guard = self.removal_guard()?;
        let found = fingerprints.iter().map(|fingerprint| {
            let own = self.inner.entries.get(fingerprint)?;
            Ok::<_, Error>(own.or_else(|| self.below(fingerprint)))
        });
        let found = found.collect::<Result<Vec<_>>>()?;
        found.iter().flatten().try_for_each(|entry| self.pin(&entry.fingerprint))?;
        Ok(found)
    }

    /// Path to a blob's bytes; read-only.
    pub fn path(&self, blob: &Blob) -> PathBuf {
        self.inner.blobs.path(blob)
    }

    /// Claims the right to make `fingerprint`; `None` if held elsewhere. Never blocks.
    pub fn claim(&self, fingerprint: Fingerprint) -> Result<Option<Claim>> {
        self.writable()?;
        Claim::attempt(&self.inner.locks.claims, fingerprint)
    }

    /// Creates a draft.
    pub fn draft(&self) -> Result<Draft> {
        self.writable()?;
        Draft::create(&self.inner.root.join("drafts"), &self.inner.locks.drafts)
    }

    /// Digests of files read despite known stats.
    pub(crate) fn read_again(&self) -> MutexGuard<'_, HashMap<FileStat, Digest>> {
        self.inner.read_again.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notifies the listener, if any.
    pub(crate) fn tell_of_reading(&self, bytes: u64) {
        self.inner.told_of_reading.get().into_iter().for_each(|told| told(bytes));
    }

    /// Known digests and the clock.
    pub(crate) fn hints(&self) -> Hints<'_> {
        let StoreInner { outside, index, clock, .. } = &*self.inner;
        Hints { outside, index, clock }
    }

    /// Folder for unfinished state; may not exist.
    pub fn unfinished(&self, fingerprint: &Fingerprint) -> PathBuf {
        layout::fan(&self.inner.root.join("unfinished"), &fingerprint.to_hex())
    }

    /// Removes an entry, its items' entries and unfinished state. Blobs stay for other entries.
    pub fn forget(&self, fingerprint: &Fingerprint) -> Result<()> {
        self.writable()?;
        let _guard = self.removal_guard()?;
        let own = self.inner.entries.get(fingerprint)?;
        let entry = own.or_else(|| self.below(fingerprint));
        let items = entry.map(|entry| entry.items).unwrap_or_default();
        disk::remove(&self.unfinished(fingerprint))?;
        for item in &items {
            disk::remove(&self.entry_path(item))?;
        }
        let below = [*fingerprint].into_iter().chain(items);
        self.inner.forgotten.lock().unwrap_or_else(PoisonError::into_inner).extend(below);
        disk::remove(&self.entry_path(fingerprint))
    }

    /// Stores below this one.
    pub(crate) fn lower(&self) -> &[Store] {
        self.inner.lower.get().map(Vec::as_slice).unwrap_or_default()
    }

    pub(crate) fn set_lower(&self, lower: Vec<Store>) {
        drop(self.inner.lower.set(lower));
    }

    pub(crate) fn is_forgotten(&self, fingerprint: &Fingerprint) -> bool {
        let forgotten = self.inner.forgotten.lock().unwrap_or_else(PoisonError::into_inner);
        forgotten.contains(fingerprint)
    }

    /// All entries by fingerprint. Damaged entries are set aside and skipped.
    pub fn entries(&self) -> impl Iterator<Item = Result<Entry>> {
        self.inner.entries.all()
    }

    /// Writes pending index rows; also done when the last clone drops.
    pub fn flush(&self) {
        self.inner.flush();
    }

    /// Call while holding the guard under which the entry was found or kept.
    pub(crate) fn pin(&self, fingerprint: &Fingerprint) -> Result<()> {
        self.inner.pin.get().map_or(Ok(()), |pin| pin.add(fingerprint))
    }

    pub(crate) fn pins_folder(&self) -> PathBuf {
        self.inner.root.join("pins")
    }

    pub(crate) fn locks(&self) -> &LockFiles {
        &self.inner.locks
    }

    /// While held, nothing is removed from the store. `None` for readers, who lock nothing.
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

    /// Removes all known digests.
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
