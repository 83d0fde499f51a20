//! Digests of a person's own files by their stat, in one small file: all that a run which has
//! nothing to do must know of what lies outside the store, so that it need not open the database of
//! the index.
//!
//! A hint like the index itself: whoever finds it missing, damaged or silent asks there.

use crate::artifact::FileStat;
use crate::disk;
use crate::hash::Digest;
use crate::index;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Beyond so many rows only those that this process asked for are kept: the file is read as a
/// whole.
const MOST_ROWS: usize = 1 << 16;

/// The rows in memory and the file behind them.
pub(crate) struct ExternalDigests {
    /// `None` for a program that leaves the index alone.
    file: Option<PathBuf>,
    /// True if the file is never written.
    reading: bool,
    state: Mutex<DigestRows>,
}

#[derive(Default)]
struct DigestRows {
    /// As they lie in the file.
    known: HashMap<FileStat, Digest>,
    /// Those that this process asked for or found.
    used: HashMap<FileStat, Digest>,
    loaded: bool,
    /// True if some of those used are not in the file.
    stale: bool,
}

impl ExternalDigests {
    /// Rows that lie in `file`, which is not read before it is needed.
    pub(crate) fn new(file: Option<PathBuf>) -> ExternalDigests {
        ExternalDigests { file, reading: false, state: Mutex::default() }
    }

    /// The same for a reader: the file is never written.
    pub(crate) fn reading(file: PathBuf) -> ExternalDigests {
        ExternalDigests { reading: true, ..ExternalDigests::new(Some(file)) }
    }

    /// The digest of the file with this stat, if known.
    pub(crate) fn digest(&self, stat: &FileStat) -> Option<Digest> {
        let mut state = self.state();
        self.load(&mut state);
        state.used.get(stat).or_else(|| state.known.get(stat)).copied()
    }

    /// Remembers a digest; [`ExternalDigests::flush`] writes it.
    pub(crate) fn remember(&self, stat: FileStat, digest: Digest) {
        let mut state = self.state();
        self.load(&mut state);
        state.stale |= state.known.get(&stat) != Some(&digest);
        state.used.insert(stat, digest);
    }

    /// Forgets the file with this stat: its bytes were found to be others.
    pub(crate) fn forget(&self, stat: &FileStat) {
        let mut state = self.state();
        self.load(&mut state);
        let known = state.known.remove(stat).is_some();
        state.stale |= known | state.used.remove(stat).is_some();
    }

    /// Writes the file anew where rows are missing in it. One that cannot be written costs time
    /// only.
    pub(crate) fn flush(&self) {
        let mut state = self.state();
        let Some(file) = self.file.as_ref().filter(|_| state.stale && !self.reading) else {
            return;
        };
        state.stale = false;
        if let Err(error) = disk::replace(file, &index::encode(&state.rows())) {
            tracing::debug!("{error}");
        }
    }

    /// Forgets every row, here and on disk.
    pub(crate) fn clear(&self) {
        *self.state() = DigestRows { loaded: true, ..DigestRows::default() };
        if let Some(Err(error)) = self.file.as_deref().map(disk::remove) {
            tracing::debug!("{error}");
        }
    }

    fn load(&self, state: &mut DigestRows) {
        if std::mem::replace(&mut state.loaded, true) {
            return;
        }
        let page = self.file.as_ref().and_then(|file| std::fs::read(file).ok());
        state.known = page.and_then(|page| index::decode(&page)).into_iter().flatten().collect();
    }

    fn state(&self) -> MutexGuard<'_, DigestRows> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DigestRows {
    /// The rows to keep: one for each inode, those used before those that only lay there.
    fn rows(&self) -> Vec<(FileStat, Digest)> {
        let place = |stat: &FileStat| (stat.device, stat.inode);
        let known = self.known.iter().filter(|_| self.used.len() + self.known.len() <= MOST_ROWS);
        let rows = known.chain(&self.used).map(|(stat, digest)| (place(stat), (*stat, *digest)));
        let rows: HashMap<_, _> = rows.collect();
        rows.into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(inode: u64, size: u64) -> FileStat {
        FileStat { device: 1, inode, size, mtime_ns: 2, ctime_ns: 3 }
    }

    #[test]
    fn what_was_asked_for_is_known_to_the_next_process_one_row_for_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = Some(folder.path().join("outside"));
        let (first, second) = (Digest::of(b"1"), Digest::of(b"2"));
        for (size, digest) in [(10, first), (20, second)] {
            let outside = ExternalDigests::new(file.clone());
            outside.remember(stat(7, size), digest);
            outside.remember(stat(8, 1), first);
            outside.flush();
        }
        let outside = ExternalDigests::new(file.clone());
        assert_eq!([10, 20].map(|size| outside.digest(&stat(7, size))), [None, Some(second)]);
        assert_eq!(outside.digest(&stat(8, 1)), Some(first));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no draft is left");
        outside.clear();
        assert_eq!(ExternalDigests::new(file).digest(&stat(8, 1)), None);
    }

    #[test]
    fn a_damaged_file_knows_nothing_and_is_written_anew() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("outside");
        let open = || ExternalDigests::new(Some(file.clone()));
        open().flush();
        assert!(!file.exists(), "nothing to keep");
        for position in [0, 40, 71, 103] {
            let outside = open();
            outside.remember(stat(1, 1), Digest::of(b"1"));
            outside.flush();
            let mut page = std::fs::read(&file).unwrap();
            page[position] ^= 1;
            std::fs::write(&file, page).unwrap();
            assert_eq!(open().digest(&stat(1, 1)), None, "byte {position}");
        }
    }
}
