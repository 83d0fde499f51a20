//! The index: file digests by stat, saving repeated reads.
//!
//! Only a hint: unknown files are read, and a slow, broken or missing index changes no results.
//! Each session opens the database briefly under a lock, on a separate thread, because sled may
//! panic or hang. Only this file uses `sled`.

use crate::artifact::FileStat;
use crate::claims::FileLock;
use crate::disk;
use crate::hash::Digest;
use crate::layout;
use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Thread name for sessions, used by panic hooks to stay silent.
pub const SESSION_THREAD: &str = "voxflow-index";

/// Longest wait for the database lock.
const TURN: Duration = Duration::from_millis(1000);
/// Longest session including its wait; afterwards the session is abandoned.
const PATIENCE: Duration = Duration::from_millis(2000);
/// Rows are flushed during publishing at least this often.
const FLUSH_AFTER: Duration = Duration::from_secs(5);
/// Memory limit for the database.
const CACHE_BYTES: u64 = 16 << 20;
/// Rows per page; all pages are read together.
const PAGE_ROWS: usize = 500;
/// Small pages are merged above this number.
const LOOSE_PAGES: usize = 32;
/// Failures until this process stops using the database.
const FAILURES: u32 = 3;

pub(crate) type Rows = Vec<(FileStat, Digest)>;

/// Rows in memory and the database behind them.
pub(crate) struct Index {
    /// `None` for in-memory operation.
    folder: Option<PathBuf>,
    state: Mutex<IndexState>,
}

#[derive(Default)]
struct IndexState {
    rows: HashMap<FileStat, Digest>,
    loaded: bool,
    /// Rows missing in the database.
    fresh: Rows,
    flushed_at: Option<Instant>,
    /// Database failures in this process.
    failures: u32,
}

impl Index {
    /// Index with its database in `folder`, opened on first use.
    pub(crate) fn new(folder: Option<PathBuf>) -> Index {
        Index { folder, state: Mutex::default() }
    }

    /// Known digest for a stat.
    pub(crate) fn digest(&self, stat: &FileStat) -> Option<Digest> {
        let mut state = self.state();
        self.load(&mut state);
        state.rows.get(stat).copied()
    }

    /// Adds a digest; [`Index::flush`] writes it.
    pub(crate) fn remember(&self, stat: FileStat, digest: Digest) {
        let mut state = self.state();
        if state.rows.insert(stat, digest) != Some(digest) {
            state.fresh.push((stat, digest));
        }
    }

    /// Removes stats, in memory and on disk.
    pub(crate) fn forget(&self, stats: HashSet<FileStat>) {
        let mut state = self.state();
        state.rows.retain(|stat, _| !stats.contains(stat));
        state.fresh.retain(|(stat, _)| !stats.contains(stat));
        if !stats.is_empty() && self.folder.as_ref().is_some_and(|folder| folder.exists()) {
            self.session(&mut state, move |database| remove(database, &stats));
        }
    }

    /// Flushes if the last flush is older than [`FLUSH_AFTER`].
    pub(crate) fn flush_if_due(&self) {
        let due = self.state().flushed_at.get_or_insert_with(Instant::now).elapsed() > FLUSH_AFTER;
        if due {
            self.flush();
        }
    }

    /// Writes new rows in one session.
    pub(crate) fn flush(&self) {
        let mut state = self.state();
        let fresh = std::mem::take(&mut state.fresh);
        state.flushed_at = Some(Instant::now());
        if !fresh.is_empty() {
            let fresh = Arc::new(fresh);
            // A database found damaged has been removed: the second session starts anew.
            let _ = (0..2).find(|_| {
                let fresh = fresh.clone();
                self.session(&mut state, move |database| insert(database, &fresh)).is_some()
            });
        }
    }

    /// Removes all rows, in memory and on disk.
    pub(crate) fn clear(&self) {
        let mut state = self.state();
        *state = IndexState { loaded: true, ..IndexState::default() };
        self.session(&mut state, |database| {
            database.clear()?;
            database.flush().map(|_| ())
        });
    }

    fn load(&self, state: &mut IndexState) {
        if std::mem::replace(&mut state.loaded, true)
            || !self.folder.as_ref().is_some_and(|folder| folder.exists())
        {
            return;
        }
        for (stat, digest) in self.session(state, read).unwrap_or_default() {
            state.rows.entry(stat).or_insert(digest);
        }
    }

    fn session<T: Send + 'static>(
        &self,
        state: &mut IndexState,
        work: impl FnOnce(&sled::Db) -> sled::Result<T> + Send + 'static,
    ) -> Option<T> {
        let folder = self.folder.clone()?;
        if state.failures >= FAILURES {
            return None;
        }
        let (sender, receiver) = channel();
        let thread = std::thread::Builder::new().name(SESSION_THREAD.to_string());
        let started = thread.spawn(move || drop(sender.send(hold_session(&folder, work))));
        // A thread that exceeds its time is left behind; its send then fails silently.
        let outcome = started
            .ok()
            .and_then(|_| receiver.recv_timeout(PATIENCE).ok())
            .unwrap_or(SessionOutcome::NoTurn);
        match outcome {
            SessionOutcome::Done(result) => return Some(result),
            SessionOutcome::Damaged => state.failures += 1,
            SessionOutcome::NoTurn => {
                tracing::debug!("the index is not to be had; files are read instead");
                state.failures = FAILURES;
            }
        }
        None
    }

    fn state(&self) -> MutexGuard<'_, IndexState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Session result.
enum SessionOutcome<T> {
    Done(T),
    /// The database was broken and has been removed.
    Damaged,
    /// Locked by another process, too slow, or locks unsupported.
    NoTurn,
}

/// Opens the database under its lock, runs `work`, closes it. A database failing to open or
/// panicking is removed; the next session starts fresh.
fn hold_session<T>(
    folder: &Path,
    work: impl FnOnce(&sled::Db) -> sled::Result<T>,
) -> SessionOutcome<T> {
    let above = folder.parent().unwrap_or(folder);
    if !above.is_dir() && disk::create_folders(above).is_err() {
        return SessionOutcome::NoTurn;
    }
    let Ok(Some(_turn)) = FileLock::exclusive(&folder.with_extension("lock"), TURN) else {
        return SessionOutcome::NoTurn;
    };
    let config = sled::Config::new().path(folder).cache_capacity(CACHE_BYTES).flush_every_ms(None);
    let outcome =
        catch_unwind(AssertUnwindSafe(|| open(&config).and_then(|database| work(&database))));
    share_all(folder);
    match outcome {
        Ok(Ok(result)) => return SessionOutcome::Done(result),
        Ok(Err(error)) => tracing::warn!("{}: {error}; the index starts anew", folder.display()),
        Err(_) => tracing::warn!("{}: the index is damaged and starts anew", folder.display()),
    }
    if let Err(error) = disk::remove(folder) {
        tracing::warn!("{error}");
    }
    SessionOutcome::Damaged
}

/// Shares the database's files with the group if the store is shared.
fn share_all(path: &Path) {
    disk::share(path);
    if path.is_dir() {
        layout::list(path).unwrap_or_default().iter().for_each(|path| share_all(path));
    }
}

/// Opens the database, retrying I/O errors: sled's own lock may outlive the previous session
/// briefly, and mistaking this for damage would drop all rows.
fn open(config: &sled::Config) -> sled::Result<sled::Db> {
    const TRIES: u32 = 8;
    for _ in 1..TRIES {
        match config.open() {
            Err(sled::Error::Io(_)) => std::thread::sleep(Duration::from_millis(10)),
            opened => return opened,
        }
    }
    config.open()
}

fn read(database: &sled::Db) -> sled::Result<Rows> {
    let pages = database.iter().values().collect::<sled::Result<Vec<_>>>()?;
    Ok(pages.iter().filter_map(|page| decode(page)).flatten().collect())
}

/// Adds rows as new pages, merging when small pages accumulate.
fn insert(database: &sled::Db, rows: &Rows) -> sled::Result<()> {
    let mut batch = sled::Batch::default();
    let (mut kept, pages) = (read(database)?, database.len());
    let joined = pages > LOOSE_PAGES + 2 * (kept.len() / PAGE_ROWS);
    if joined {
        database.iter().keys().try_for_each(|key| key.map(|key| batch.remove(key)))?;
        kept.extend(rows);
        kept = newest(kept);
    }
    for page in if joined { &kept } else { rows }.chunks(PAGE_ROWS) {
        batch.insert(&database.generate_id()?.to_be_bytes(), encode(page));
    }
    disk::INDEX.by_library("insert", || database.apply_batch(batch))?;
    disk::INDEX.by_library("flush", || database.flush()).map(drop)
}

/// Rewrites all pages without the given stats.
fn remove(database: &sled::Db, stats: &HashSet<FileStat>) -> sled::Result<()> {
    let mut batch = sled::Batch::default();
    let kept: Rows =
        read(database)?.into_iter().filter(|(stat, _)| !stats.contains(stat)).collect();
    database.iter().keys().try_for_each(|key| key.map(|key| batch.remove(key)))?;
    for page in kept.chunks(PAGE_ROWS) {
        batch.insert(&database.generate_id()?.to_be_bytes(), encode(page));
    }
    database.apply_batch(batch)?;
    database.flush().map(|_| ())
}

/// Keeps the last row per inode.
fn newest(rows: Rows) -> Rows {
    let rows: HashMap<(u64, u64), (FileStat, Digest)> =
        rows.into_iter().map(|row| ((row.0.device, row.0.inode), row)).collect();
    rows.into_values().collect()
}

/// Row size: five numbers and a digest.
const ROW_BYTES: usize = 5 * 8 + 32;

/// Encodes a page: digest, then rows. The digest guards against databases opening fine but
/// returning garbage.
pub(crate) fn encode(rows: &[(FileStat, Digest)]) -> Vec<u8> {
    let mut body = Vec::with_capacity(rows.len() * ROW_BYTES);
    for (stat, digest) in rows {
        for number in
            [stat.device, stat.inode, stat.size, stat.mtime_ns as u64, stat.ctime_ns as u64]
        {
            body.extend(number.to_le_bytes());
        }
        body.extend(digest.as_bytes());
    }
    [&Digest::of(&body).as_bytes()[..], &body].concat()
}

pub(crate) fn decode(page: &[u8]) -> Option<Rows> {
    let (check, body) = page.split_at_checked(32)?;
    if Digest::of(body).as_bytes() != check {
        return None;
    }
    body.chunks_exact(ROW_BYTES).map(decode_row).collect()
}

fn decode_row(row: &[u8]) -> Option<(FileStat, Digest)> {
    let (numbers, digest) = row.split_at_checked(40)?;
    let stat = FileStat {
        device: number(numbers, 0)?,
        inode: number(numbers, 1)?,
        size: number(numbers, 2)?,
        mtime_ns: number(numbers, 3)? as i64,
        ctime_ns: number(numbers, 4)? as i64,
    };
    Some((stat, Digest::from_bytes(digest.try_into().ok()?)))
}

fn number(bytes: &[u8], index: usize) -> Option<u64> {
    bytes[index * 8..][..8].try_into().map(u64::from_le_bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(number: u64) -> FileStat {
        FileStat { device: 1, inode: number, size: number * 3, mtime_ns: -5, ctime_ns: i64::MAX }
    }

    fn content(number: u64) -> Digest {
        Digest::of(&number.to_le_bytes())
    }

    #[test]
    fn a_hundred_thousand_rows_come_back_in_another_process_and_soon() {
        let folder = tempfile::tempdir().unwrap();
        let place = Some(folder.path().join("index"));
        let index = Index::new(place.clone());
        (0..100_000).for_each(|number| index.remember(stat(number), content(number)));
        index.flush();
        let index = Index::new(place);
        assert_eq!(index.digest(&stat(77)), Some(content(77)));
        assert_eq!(index.digest(&stat(99_999)), Some(content(99_999)));
        assert_eq!(index.digest(&stat(100_000)), None);
    }

    #[test]
    fn many_small_sessions_are_joined_and_lose_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("index");
        for round in 0..80 {
            let index = Index::new(Some(place.clone()));
            (0..3).for_each(|number| index.remember(stat(round * 3 + number), content(number)));
            index.flush();
        }
        let index = Index::new(Some(place.clone()));
        assert!((0..240).all(|number| index.digest(&stat(number)) == Some(content(number % 3))));
        assert!(sled::open(place).unwrap().len() <= LOOSE_PAGES + 1);
    }

    #[test]
    fn a_page_that_tells_something_false_is_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("index");
        let database = sled::open(&place).unwrap();
        let mut lie = encode(&[(stat(1), content(1)), (stat(2), content(2))]);
        lie[32 + 40] ^= 1;
        database.insert(b"lie", lie).unwrap();
        database.insert(b"short", b"page").unwrap();
        database.insert(b"truth", encode(&[(stat(3), content(3))])).unwrap();
        drop(database);
        let index = Index::new(Some(place));
        let told = [1, 2, 3].map(|number| index.digest(&stat(number)));
        assert_eq!(told, [None, None, Some(content(3))]);
    }
}
