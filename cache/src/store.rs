//! The store: remembers under each fingerprint what was made. To recall is to look up, or to make
//! and remember.
//!
//! Truth is in files (`blobs`, `entries`); the index only saves reading them. How a draft is
//! published is in `publish`, keeping the store in order in `upkeep`.

use crate::artifact::{Blob, FileStat};
use crate::blobs::{Blobs, Hints};
use crate::claims::{Claim, FileLock, LockFiles};
use crate::drafts::{self, Draft};
use crate::entries::{Entries, Entry};
use crate::error::{Error, Result};
use crate::format;
use crate::hash::{Digest, Fingerprint};
use crate::index::Index;
use crate::index_place;
use crate::layout;
use crate::outside::Outside;
use crate::pins::Pin;
use crate::publish::Made;
use crate::recipe::Recipe;
use crate::sharing;
use serde_json::Value;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// How long to wait between two attempts to claim what another is making: at first, and at most.
const FIRST_WAIT: Duration = Duration::from_millis(20);
const LONGEST_WAIT: Duration = Duration::from_millis(200);

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
    pin: OnceLock<Pin>,
    told_of_reading: OnceLock<Box<Told>>,
    /// What this process has read though it looked unchanged, and found as it should be.
    read_again: Mutex<HashMap<FileStat, Digest>>,
}

/// Hears how many bytes were read.
type Told = dyn Fn(u64) + Send + Sync;

/// How a recall should go.
#[derive(Clone, Copy)]
pub struct Policy<'a> {
    /// Asked while waiting for another maker, and before making.
    pub stop: &'a dyn Fn() -> bool,
    /// Read every blob before it is reused, however unchanged it looks.
    pub verify: bool,
}

/// What a recall came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recall {
    /// It was remembered.
    Reused,
    /// It was made now.
    Made,
}

impl<'a> Policy<'a> {
    /// Stops when `stop` says so; trusts unchanged stats.
    pub fn new(stop: &'a dyn Fn() -> bool) -> Policy<'a> {
        Policy { stop, verify: false }
    }
}

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

    fn open_with(root: &Path, index: bool) -> Result<Store> {
        let root = std::path::absolute(root).map_err(Error::io("find", root))?;
        format::settle(&root)?;
        let bad = root.join("bad");
        let inner = Inner {
            blobs: Blobs { folder: made_folder(&root, layout::BLOBS)?, bad: bad.clone() },
            entries: Entries { folder: made_folder(&root, "entries")?, bad },
            locks: LockFiles {
                claims: root.join("claims"),
                drafts: root.join("drafts.lock"),
                removal: root.join("gc.lock"),
            },
            index: Index::new(index.then(|| index_place::of(&root))),
            outside: Outside::new(index.then(|| root.join("index.outside"))),
            pin: OnceLock::new(),
            told_of_reading: OnceLock::new(),
            read_again: Mutex::default(),
            root,
        };
        drafts::sweep(&made_folder(&inner.root, "drafts")?, &inner.locks.drafts);
        Ok(Store { inner: Arc::new(inner) })
    }

    /// The store's folder, absolute.
    pub fn root(&self) -> &Path {
        &self.inner.root
    }

    /// From now on gc leaves alone what this store finds or keeps, until its last clone is dropped.
    /// A store that cannot be written is not pinned, and nothing here can remove anything from it.
    pub fn hold(&self) -> Result<()> {
        let _moment = self.moment()?;
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
        let _moment = self.moment()?;
        let found = fingerprints.iter().map(|fingerprint| self.inner.entries.get(fingerprint));
        let found = found.collect::<Result<Vec<_>>>()?;
        found.iter().flatten().try_for_each(|entry| self.pin(&entry.fingerprint))?;
        Ok(found)
    }

    /// Where a blob's bytes lie. For reading only.
    pub fn path(&self, blob: &Blob) -> PathBuf {
        self.inner.blobs.path(blob)
    }

    /// The claim to make what `fingerprint` stands for, or `None` while somebody else has it.
    /// Never waits.
    pub fn claim(&self, fingerprint: Fingerprint) -> Result<Option<Claim>> {
        Claim::attempt(&self.inner.locks.claims, fingerprint)
    }

    /// A new draft.
    pub fn draft(&self) -> Result<Draft> {
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

    /// What is known of files by their stats.
    pub(crate) fn hints(&self) -> Hints<'_> {
        Hints { outside: &self.inner.outside, index: &self.inner.index }
    }

    /// Looks the recipe up, or makes it and remembers it.
    ///
    /// `make` writes files into the draft's folder and returns the record and the items for the
    /// entry. Of several who want the same, in this process or others, one makes it and the others
    /// wait. Waiting ends with [`Error::Stopped`] when the policy says stop. Not to be called on a
    /// rayon thread.
    pub fn recall<E: From<Error>>(
        &self,
        recipe: &Recipe,
        policy: &Policy,
        make: impl FnOnce(&Draft) -> Result<(Value, Vec<Fingerprint>), E>,
    ) -> Result<(Entry, Recall), E> {
        let fingerprint = recipe.fingerprint();
        if let Some(entry) = self.look_up(&fingerprint, policy.verify)? {
            return Ok((entry, Recall::Reused));
        }
        let claim = self.await_claim(fingerprint, policy.stop)?;
        if let Some(entry) = self.look_up(&fingerprint, policy.verify)? {
            return Ok((entry, Recall::Reused));
        }
        let draft = self.draft()?;
        let started = Instant::now();
        let (record, items) = make(&draft)?;
        let made = Made {
            recipe: recipe.clone(),
            record,
            items,
            seconds: started.elapsed().as_secs_f64(),
        };
        let entry = self.publish(draft, made)?;
        drop(claim);
        Ok((entry, Recall::Made))
    }

    /// Waits for a claim: tries, sleeps a little, looks at `stop`.
    pub fn await_claim(&self, fingerprint: Fingerprint, stop: &dyn Fn() -> bool) -> Result<Claim> {
        let mut wait = FIRST_WAIT;
        loop {
            if stop() {
                return Err(Error::Stopped);
            }
            if let Some(claim) = self.claim(fingerprint)? {
                return Ok(claim);
            }
            std::thread::sleep(wait);
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// Where the unfinished state of a making lies; the folder may not exist.
    pub fn unfinished(&self, fingerprint: &Fingerprint) -> PathBuf {
        layout::fan(&self.inner.root.join("unfinished"), &fingerprint.to_hex())
    }

    /// Forgets what was made under a fingerprint: its entry, its items' entries, its unfinished
    /// state. The blobs stay for others that hold them.
    pub fn forget(&self, fingerprint: &Fingerprint) -> Result<()> {
        let _moment = self.moment()?;
        let items =
            self.inner.entries.get(fingerprint)?.map(|entry| entry.items).unwrap_or_default();
        layout::remove(&self.unfinished(fingerprint))?;
        for item in &items {
            layout::remove(&self.entry_path(item))?;
        }
        layout::remove(&self.entry_path(fingerprint))
    }

    /// All entries, in the order of their fingerprints. Damaged ones are set aside and left out.
    pub fn entries(&self) -> impl Iterator<Item = Result<Entry>> {
        self.inner.entries.all()
    }

    /// Writes what the index learned. Dropping the last clone does it too.
    pub fn flush(&self) {
        self.inner.flush();
    }

    fn look_up(&self, fingerprint: &Fingerprint, verify: bool) -> Result<Option<Entry>> {
        let _moment = self.moment()?;
        self.ready_entry(fingerprint, verify)
    }

    /// The entry, if all its blobs can be read. To be called within a moment.
    pub(crate) fn ready_entry(
        &self,
        fingerprint: &Fingerprint,
        verify: bool,
    ) -> Result<Option<Entry>> {
        let Some(entry) = self.inner.entries.get(fingerprint)? else { return Ok(None) };
        let blobs = entry.artifact.0.iter().map(|(name, blob)| (name.as_str(), blob));
        if !self.unusable(blobs, verify)?.is_empty() {
            return Ok(None);
        }
        self.pin(fingerprint).map(|()| Some(entry))
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

    /// While it lives, nothing is removed from the store.
    pub(crate) fn moment(&self) -> Result<FileLock> {
        FileLock::shared(&self.inner.locks.removal)
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

fn made_folder(root: &Path, name: &str) -> Result<PathBuf> {
    let folder = root.join(name);
    if !folder.is_dir() {
        sharing::make_folders(&folder).map_err(Error::in_store("create", &folder))?;
    }
    Ok(folder)
}
