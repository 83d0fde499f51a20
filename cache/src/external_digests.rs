//! Digests of user files by stat, in a single small file: lets a run with nothing to do check its
//! inputs without opening the index database.
//!
//! A hint like the index: if this file is missing or damaged, the index answers.

use crate::artifact::FileStat;
use crate::disk;
use crate::hash::Digest;
use crate::index;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Above this size only rows used by this process are kept, because the file is always read whole.
const MOST_ROWS: usize = 1 << 16;

/// Rows in memory and their file.
pub(crate) struct ExternalDigests {
    /// `None` for stores opened without index.
    file: Option<PathBuf>,
    /// True if the file must not be written.
    reading: bool,
    state: Mutex<DigestRows>,
}

#[derive(Default)]
struct DigestRows {
    /// Rows read from the file.
    known: HashMap<FileStat, Digest>,
    /// Rows queried or added by this process.
    used: HashMap<FileStat, Digest>,
    loaded: bool,
    /// True if used rows are missing in the file.
    stale: bool,
}

impl ExternalDigests {
    /// Rows in `file`, read on first use.
    pub(crate) fn new(file: Option<PathBuf>) -> ExternalDigests {
        ExternalDigests { file, reading: false, state: Mutex::default() }
    }

    /// Read-only variant.
    pub(crate) fn reading(file: PathBuf) -> ExternalDigests {
        ExternalDigests { reading: true, ..ExternalDigests::new(Some(file)) }
    }

    /// Known digest for a stat.
    pub(crate) fn digest(&self, stat: &FileStat) -> Option<Digest> {
        let mut state = self.state();
        self.load(&mut state);
        state.used.get(stat).or_else(|| state.known.get(stat)).copied()
    }

    /// Adds a digest; [`ExternalDigests::flush`] writes it.
    pub(crate) fn remember(&self, stat: FileStat, digest: Digest) {
        let mut state = self.state();
        self.load(&mut state);
        state.stale |= state.known.get(&stat) != Some(&digest);
        state.used.insert(stat, digest);
    }

    /// Removes a stat after its content proved different.
    pub(crate) fn forget(&self, stat: &FileStat) {
        let mut state = self.state();
        self.load(&mut state);
        let known = state.known.remove(stat).is_some();
        state.stale |= known | state.used.remove(stat).is_some();
    }

    /// Rewrites the file if rows are missing. Failure costs only time.
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

    /// Removes all rows, in memory and on disk.
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
    /// Rows to keep, one per inode; used rows take precedence.
    fn rows(&self) -> Vec<(FileStat, Digest)> {
        let known = self.known.iter().filter(|_| self.used.len() + self.known.len() <= MOST_ROWS);
        let rows = known
            .chain(&self.used)
            .map(|(stat, digest)| ((stat.device, stat.inode), (*stat, *digest)));
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
