//! The store: what was made, under fingerprints, on disk.
//!
//! Truth is in files (`blobs`, `entries`); the index only saves reading them. Looking up or making
//! is in `recall`, whether files are there in `presence`, how a draft is published in `publish`,
//! keeping the store in order in `maintenance`.

use crate::artifact::{Blob, FileStat};
use crate::blobs::{Blobs, Hints};
use crate::claims::{Claim, FileLock, LockFiles};
use crate::disk;
use crate::drafts::{self, Draft};
use crate::entries::{Entries, Entry};
use crate::error::{Error, Result};
use crate::external_digests::Outside;
use crate::format;
use crate::hash::{Digest, Fingerprint};
use crate::index::Index;
use crate::index_place;
use crate::layout;
use crate::pins::Pin;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// A store on disk. Clones share it; any thread may use it.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    root: PathBuf,
    blobs: Blobs,
    entries: Entries,
    locks: LockFiles,
    index: Index,
    outside: Outside,
    access: Access,
    pin: OnceLock<Pin>,
    told_of_reading: OnceLock<Box<OnProgress>>,
    /// Files that this process has read in full and found intact.
    read_again: Mutex<HashMap<FileStat, Digest>>,
}

/// The folder of damaged files.
pub(crate) const BAD: &str = "bad";

/// The file of digests of files outside the store.
const OUTSIDE: &str = "index.outside";

/// Rights of this process in a store.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    Write,
}

/// Hears how many bytes were read.
type OnProgress = dyn Fn(u64) + Send + Sync;

impl Store {
    /// Opens the store in the folder `root`, or makes one there. A folder that holds something
    /// else, or a store of a newer format, is an error and left alone.
    pub fn open(root: &Path) -> Result<Store> {
        Store::open_with(root, true)
    }

    /// The same for a program that leaves the index alone.
    pub fn open_without_index(root: &Path) -> Result<Store> {
        Store::open_with(root, false)
    }

    /// Opens the store for reading: entries, and paths of blobs. Nothing is created, moved, locked
    /// or marked as used, and the index stays closed. A folder that is missing or empty is a store
    /// without entries. Whatever would change the store is an error.
    pub fn read_only(root: &Path) -> Result<Store> {
        let root = absolute(root)?;
        format::look(&root)?;
        let outside = Outside::reading(root.join(OUTSIDE));
        Ok(Store::of(root, Access::Read, Index::new(None), outside))
    }

    fn open_with(root: &Path, index: bool) -> Result<Store> {
        let root = absolute(root)?;
        format::settle(&root)?;
        [layout::BLOBS, "entries"].iter().try_for_each(|name| make_folder(&root.join(name)))?;
        let outside = Outside::new(index.then(|| root.join(OUTSIDE)));
        let index = Index::new(index.then(|| index_place::of(&root)));
        let drafts = root.join("drafts");
        make_folder(&drafts)?;
        let store = Store::of(root, Access::Write, index, outside);
        drafts::sweep(&drafts, &store.locks().drafts);
        Ok(store)
    }

    fn of(root: PathBuf, access: Access, index: Index, outside: Outside) -> Store {
        let bad = (access == Access::Write).then(|| root.join(BAD));
        let inner = Inner {
            blobs: Blobs { folder: root.join(layout::BLOBS), bad: bad.clone() },
            entries: Entries { folder: root.join("entries"), bad },
            locks: LockFiles {
                claims: root.join("claims"),
                drafts: root.join("drafts.lock"),
                removal: root.join("gc.lock"),
            },
            index,
            outside,
            access,
            pin: OnceLock::new(),
            told_of_reading: OnceLock::new(),
            read_again: Mutex::default(),
            root,
        };
        Store { inner: Arc::new(inner) }
    }

    /// The store's folder, absolute.
    pub fn root(&self) -> &Path {
        &self.inner.root
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
        Hints { outside: &self.inner.outside, index: &self.inner.index }
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

    /// An error in a store that was opened for reading.
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

impl Inner {
    fn flush(&self) {
        self.index.flush();
        self.outside.flush();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.flush();
    }
}

fn absolute(root: &Path) -> Result<PathBuf> {
    std::path::absolute(root).map_err(Error::io("find", root))
}

fn make_folder(folder: &Path) -> Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    disk::create_folders(folder).map_err(Error::in_store)
}
