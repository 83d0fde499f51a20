//! The ranks as a group: barriers, small agreements, and the news about failures.
//!
//! Every operation is collective: all ranks make the same calls in the same order, from a single
//! thread at a time. No operation waits for ever. A failing rank writes its error down, and every
//! other rank gets that error from its next operation; ranks that end or hang without a word are
//! found by [`Watchdog`](super::watchdog::Watchdog), and late ones by the limit here.

use super::futex;
use super::shared_region::{Failure, Nature, RankCell, SharedRegion};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use voxflow_stages::{Error, Result};

/// Turns of spinning before a rank sleeps: most barriers take microseconds.
const SPINS: u32 = 2000;

/// Time between two looks for a failure.
const SLICE: Duration = Duration::from_millis(100);

/// The longest wait for the others, as in PyTorch's process groups: a long validation may lie
/// between two barriers.
const LONGEST_WAIT: Duration = Duration::from_secs(30 * 60);

/// A rank among the ranks.
pub struct ProcessGroup {
    region: SharedRegion,
    rank: usize,
    /// Barriers so far.
    turn: AtomicU64,
    /// Ends the communicator's operations.
    abort: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl ProcessGroup {
    /// This process as `rank` (from 0) among the region's ranks.
    pub fn new(region: SharedRegion, rank: usize) -> ProcessGroup {
        ProcessGroup { region, rank, turn: AtomicU64::new(0), abort: OnceLock::new() }
    }

    /// This process's rank.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// Number of ranks.
    pub fn ranks(&self) -> usize {
        self.region.ranks()
    }

    /// The shared memory.
    pub fn region(&self) -> &SharedRegion {
        &self.region
    }

    /// Waits until all ranks are here. Errors if one failed.
    pub fn barrier(&self) -> Result<()> {
        self.arrive(self.turn.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// The largest word over all ranks.
    pub fn max(&self, word: u64) -> Result<u64> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) + 1;
        // A slow rank may still read the words of the barrier before, not those of two before.
        let place = (turn % 2) as usize;
        self.cell(self.rank).words[place].store(word, Ordering::Release);
        self.arrive(turn)?;
        let words = self.cells().map(|cell| cell.words[place].load(Ordering::Acquire));
        Ok(words.max().unwrap_or(word))
    }

    /// Every rank's bytes, in rank order.
    pub fn gather(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
        let slot = self.region.slot();
        self.cell(self.rank).length.store(bytes.len() as u64, Ordering::Release);
        let mut all = vec![vec![]; self.ranks()];
        let mut rounds = 0;
        loop {
            let first = (rounds * slot).min(bytes.len());
            let part = &bytes[first..(first + slot).min(bytes.len())];
            // SAFETY: the part fits into this rank's slot, which others read after the barrier
            // only.
            unsafe {
                part.as_ptr().copy_to_nonoverlapping(self.region.slot_of(self.rank), part.len());
            }
            self.barrier()?;
            let mut is_complete = true;
            for (rank, found) in all.iter_mut().enumerate() {
                let length = self.cell(rank).length.load(Ordering::Acquire) as usize;
                let count = (length - found.len()).min(slot);
                // SAFETY: the rank wrote this many bytes, and waits at the next barrier with more.
                let slice = unsafe { std::slice::from_raw_parts(self.region.slot_of(rank), count) };
                found.extend_from_slice(slice);
                is_complete &= found.len() == length;
            }
            self.barrier()?;
            rounds += 1;
            if is_complete {
                return Ok(all);
            }
        }
    }

    /// Tells all ranks about this rank's failure. The first failure stays.
    pub fn fail(&self, error: &Error) {
        let nature = match error {
            Error::Stopped => Nature::Stop,
            error if error.is_storage() => Nature::Storage,
            _ => Nature::Other,
        };
        self.record(&Failure { rank: self.rank, nature, words: error.to_string() });
    }

    /// Tells all ranks about another rank's failure, if nothing failed before.
    pub fn report(&self, rank: usize, words: String) {
        self.record(&Failure { rank, nature: Nature::Other, words });
    }

    /// Tells all ranks about a rank stopped from outside.
    pub fn report_stop(&self, rank: usize) {
        self.record(&Failure { rank, nature: Nature::Stop, words: String::new() });
    }

    fn record(&self, failure: &Failure) {
        if self.region.header().failure.write(failure) {
            self.announce();
        }
    }

    /// The first failure, in its rank's words.
    pub fn failure(&self) -> Option<Error> {
        let Failure { rank, nature, words } = self.region.header().failure.read()?;
        let words = match rank == self.rank {
            true => words,
            false => format!("rank {rank} of {}: {words}", self.ranks()),
        };
        Some(match nature {
            Nature::Stop => Error::Stopped,
            Nature::Storage => Error::Storage(words),
            Nature::Other => Error::failed(words),
        })
    }

    /// Sets the function to end the communicator's operations after a failure.
    pub fn on_abort(&self, abort: impl Fn() + Send + Sync + 'static) {
        let _ = self.abort.set(Box::new(abort));
    }

    /// Ends the communicator's operations, after a failure.
    pub fn abort(&self) {
        self.abort.get().into_iter().for_each(|abort| abort());
    }

    /// Marks this rank as done with the others: its end is no failure then.
    pub fn finish(&self) {
        self.cell(self.rank).finished.store(1, Ordering::Release);
    }

    /// True if the rank is done with the others.
    pub fn is_finished(&self, rank: usize) -> bool {
        self.cell(rank).finished.load(Ordering::Acquire) == 1
    }

    /// The words about a rank.
    pub fn cell(&self, rank: usize) -> &RankCell {
        self.region.cell(rank)
    }

    fn cells(&self) -> impl Iterator<Item = &RankCell> {
        (0..self.ranks()).map(|rank| self.cell(rank))
    }

    fn announce(&self) {
        let changed = &self.region.header().changed;
        changed.fetch_add(1, Ordering::AcqRel);
        futex::wake_all(changed);
    }

    /// Arrives at barrier `turn`, and waits for the others.
    fn arrive(&self, turn: u64) -> Result<()> {
        self.cell(self.rank).arrived.store(turn, Ordering::Release);
        self.announce();
        for _ in 0..SPINS {
            if self.is_complete(turn) {
                return Ok(());
            }
            std::hint::spin_loop();
        }
        let mut waited = Duration::ZERO;
        loop {
            let changed = &self.region.header().changed;
            let seen = changed.load(Ordering::Acquire);
            if self.is_complete(turn) {
                return Ok(());
            }
            if let Some(error) = self.failure() {
                return Err(error);
            }
            if !futex::wait(changed, seen, SLICE) {
                waited += SLICE;
            }
            if waited >= LONGEST_WAIT {
                self.report_missing(turn);
            }
        }
    }

    fn is_complete(&self, turn: u64) -> bool {
        self.cells().all(|cell| cell.arrived.load(Ordering::Acquire) >= turn)
    }

    fn report_missing(&self, turn: u64) {
        let mut ranks = 0..self.ranks();
        if let Some(rank) =
            ranks.find(|rank| self.cell(*rank).arrived.load(Ordering::Acquire) < turn)
        {
            let minutes = LONGEST_WAIT.as_secs() / 60;
            self.report(rank, format!("the others waited {minutes} minutes for it in vain"));
        }
    }
}
