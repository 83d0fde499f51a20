//! The index: digests of files by their stat, so that what has not changed is not read again.
//!
//! A hint and nothing more: what it does not know is read, and if it is slow, broken or gone the
//! results are the same. The database is opened for short sessions under a lock of our own, on a
//! thread of its own (one that panics or hangs takes nobody with it). No other file knows `sled`.

use crate::artifact::FileStat;
use crate::claims::FileLock;
use crate::crash;
use crate::hash::Digest;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The name of the thread that a session runs on, for panic hooks that want to leave it alone.
pub const SESSION_THREAD: &str = "voxflow-index";

/// How long a session waits for its turn.
const TURN: Duration = Duration::from_millis(1000);
/// How long a session may take, its turn included, before the index is given up.
const PATIENCE: Duration = Duration::from_millis(2000);
/// New rows are written after this time at the latest, when something is published.
const FLUSH_AFTER: Duration = Duration::from_secs(5);
/// Memory that the database may use.
const CACHE_BYTES: u64 = 16 << 20;

type Rows = Vec<(FileStat, Digest)>;

/// The rows in memory and the database behind them.
pub(crate) struct Index {
    /// `None` for a program that keeps rows in memory only.
    folder: Option<PathBuf>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    rows: HashMap<FileStat, Digest>,
    loaded: bool,
    /// Not yet in the database.
    fresh: Rows,
    flushed_at: Option<Instant>,
    /// The database failed in this process; it is not tried again.
    given_up: bool,
}

impl Index {
    /// An index whose database lies in `folder`. Nothing is opened before it is needed.
    pub(crate) fn new(folder: Option<PathBuf>) -> Index {
        Index { folder, state: Mutex::default() }
    }

    /// The digest of the file with this stat, if known.
    pub(crate) fn digest(&self, stat: &FileStat) -> Option<Digest> {
        let mut state = self.state();
        self.load(&mut state);
        state.rows.get(stat).copied()
    }

    /// Remembers a digest; [`Index::flush`] writes it.
    pub(crate) fn remember(&self, stat: FileStat, digest: Digest) {
        let mut state = self.state();
        if state.rows.insert(stat, digest) != Some(digest) {
            state.fresh.push((stat, digest));
        }
    }

    /// Writes new rows if the last time was long ago.
    pub(crate) fn flush_if_due(&self) {
        let due = self.state().flushed_at.get_or_insert_with(Instant::now).elapsed() > FLUSH_AFTER;
        if due {
            self.flush();
        }
    }

    /// Writes new rows, in one session; in none if there are no new rows.
    pub(crate) fn flush(&self) {
        let mut state = self.state();
        let fresh = std::mem::take(&mut state.fresh);
        state.flushed_at = Some(Instant::now());
        if !fresh.is_empty() {
            self.session(&mut state, move |database| insert(database, &fresh));
        }
    }

    /// Forgets every row, here and on disk.
    pub(crate) fn clear(&self) {
        let mut state = self.state();
        *state = State { loaded: true, ..State::default() };
        self.session(&mut state, |database| {
            database.clear()?;
            database.flush().map(|_| ())
        });
    }

    fn load(&self, state: &mut State) {
        if std::mem::replace(&mut state.loaded, true) || !self.folder.as_ref().is_some_and(|folder| folder.exists()) {
            return;
        }
        for (stat, digest) in self.session(state, read).unwrap_or_default() {
            state.rows.entry(stat).or_insert(digest);
        }
    }

    fn session<T: Send + 'static>(
        &self,
        state: &mut State,
        work: impl FnOnce(&sled::Db) -> sled::Result<T> + Send + 'static,
    ) -> Option<T> {
        let folder = self.folder.clone()?;
        if state.given_up {
            return None;
        }
        let (sender, receiver) = channel();
        let thread = std::thread::Builder::new().name(SESSION_THREAD.to_string());
        let started = thread.spawn(move || drop(sender.send(hold_session(&folder, work))));
        let result = started.ok().and_then(|_| receiver.recv_timeout(PATIENCE).ok()).flatten();
        if result.is_none() {
            state.given_up = true;
            tracing::debug!("the index could not be used; files are read instead");
        }
        result
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens the database under our lock, does `work`, closes it. One that does not open or panics is
/// removed, so that the next session starts anew.
fn hold_session<T>(folder: &Path, work: impl FnOnce(&sled::Db) -> sled::Result<T>) -> Option<T> {
    let _turn = FileLock::exclusive(&folder.with_extension("lock"), TURN).ok()??;
    let config = sled::Config::new().path(folder).cache_capacity(CACHE_BYTES).flush_every_ms(None);
    let outcome = catch_unwind(AssertUnwindSafe(|| config.open().and_then(|database| work(&database))));
    match outcome {
        Ok(Ok(result)) => return Some(result),
        Ok(Err(error)) => tracing::warn!("{}: {error}; the index starts anew", folder.display()),
        Err(_) => tracing::warn!("{}: the index is damaged and starts anew", folder.display()),
    }
    let _ = std::fs::remove_dir_all(folder);
    None
}

fn read(database: &sled::Db) -> sled::Result<Rows> {
    let rows = database.iter().map(|row| row.map(|(key, value)| decode(&key, &value)));
    Ok(rows.collect::<sled::Result<Vec<_>>>()?.into_iter().flatten().collect())
}

fn insert(database: &sled::Db, rows: &Rows) -> sled::Result<()> {
    let mut batch = sled::Batch::default();
    for (stat, digest) in rows {
        let key = encode_stat(stat);
        batch.insert(&key[..], [&digest.as_bytes()[..], &check(&key, digest)].concat());
    }
    crash::at("index-before-insert");
    database.apply_batch(batch)?;
    crash::at("index-after-insert");
    database.flush()?;
    crash::at("index-after-flush");
    Ok(())
}

fn encode_stat(stat: &FileStat) -> [u8; 40] {
    let mut key = [0; 40];
    let numbers = [stat.device, stat.inode, stat.size, stat.mtime_ns as u64, stat.ctime_ns as u64];
    key.chunks_exact_mut(8).zip(numbers).for_each(|(place, number)| place.copy_from_slice(&number.to_be_bytes()));
    key
}

/// A row carries a check of itself, since a damaged database may open and tell something false.
fn check(key: &[u8], digest: &Digest) -> [u8; 8] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"voxflow row 1\n").update(key).update(digest.as_bytes());
    let mut check = [0; 8];
    check.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    check
}

fn decode(key: &[u8], value: &[u8]) -> Option<(FileStat, Digest)> {
    let numbers: Vec<u64> =
        key.chunks_exact(8).map(|part| u64::from_be_bytes(part.try_into().unwrap_or_default())).collect();
    let [device, inode, size, mtime, ctime] = numbers[..] else { return None };
    let stat = FileStat { device, inode, size, mtime_ns: mtime as i64, ctime_ns: ctime as i64 };
    let (digest, written) = value.split_at_checked(32)?;
    let digest = Digest::from_bytes(digest.try_into().ok()?);
    (key.len() == 40 && written == check(key, &digest)).then_some((stat, digest))
}
