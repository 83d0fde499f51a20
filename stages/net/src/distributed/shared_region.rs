//! The ranks' shared memory: a memfd, made by rank 0 and inherited by the others.
//!
//! Layout: the header, a cell for each rank, then a data slot for each rank and another for
//! results. Header and cells are atomics, and begin as zeros. Only its rank writes a slot; the
//! barriers in [`ProcessGroup`](super::process_group::ProcessGroup) keep writers and readers apart.

use memmap2::MmapRaw;
use std::fs::File;
use std::os::fd::FromRawFd;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use voxflow_stages::{Error, Result};

/// Bytes in a slot: large enough to hide the cost of barriers, small beside volumes.
pub const SLOT: usize = 8 << 20;

/// Bytes for a failure's words.
const WORDS: usize = 4000;
const PAGE: usize = 4096;

/// The words about the whole group.
#[repr(C, align(128))]
pub struct RegionHeader {
    /// Number of ranks.
    ranks: AtomicU32,
    /// The futex's word: counts events that ranks may wait for.
    pub changed: AtomicU32,
    /// The first failure.
    pub failure: FailureRecord,
}

/// The words about one rank.
#[repr(C, align(128))]
pub struct RankCell {
    /// Barriers reached.
    pub arrived: AtomicU64,
    /// Grows while the process runs.
    pub beat: AtomicU64,
    /// Words to agree on, at even and at odd barriers.
    pub words: [AtomicU64; 2],
    /// Bytes passed to the others.
    pub length: AtomicU64,
    /// 1 once done with the others.
    pub finished: AtomicU32,
}

/// A failure, written once.
#[repr(C)]
pub struct FailureRecord {
    /// 0 without a failure, 1 during its writing, 2 once readable.
    state: AtomicU32,
    rank: AtomicU32,
    nature: AtomicU32,
    length: AtomicU32,
    words: [AtomicU8; WORDS],
}

/// A failure as read.
pub struct Failure {
    /// The failed rank.
    pub rank: usize,
    /// The nature.
    pub nature: Nature,
    /// The trouble in words.
    pub words: String,
}

/// A failure's nature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nature {
    /// Anything else.
    Other,
    /// The disk or the store is at fault.
    Storage,
    /// The rank was asked to stop.
    Stop,
}

impl Nature {
    const ALL: [Nature; 3] = [Nature::Other, Nature::Storage, Nature::Stop];
}

impl FailureRecord {
    /// Writes a failure; false if there is one already.
    pub fn write(&self, failure: &Failure) -> bool {
        let order = (Ordering::AcqRel, Ordering::Acquire);
        if self.state.compare_exchange(0, 1, order.0, order.1).is_err() {
            return false;
        }
        let bytes = failure.words.as_bytes();
        let length = bytes.len().min(WORDS);
        let pairs = self.words.iter().zip(&bytes[..length]);
        pairs.for_each(|(kept, byte)| kept.store(*byte, Ordering::Relaxed));
        self.rank.store(failure.rank as u32, Ordering::Relaxed);
        self.nature.store(failure.nature as u32, Ordering::Relaxed);
        self.length.store(length as u32, Ordering::Relaxed);
        self.state.store(2, Ordering::Release);
        true
    }

    /// The failure, if there is one.
    pub fn read(&self) -> Option<Failure> {
        if self.state.load(Ordering::Acquire) != 2 {
            return None;
        }
        let length = (self.length.load(Ordering::Relaxed) as usize).min(WORDS);
        let nature = self.nature.load(Ordering::Relaxed);
        let bytes: Vec<u8> =
            self.words[..length].iter().map(|byte| byte.load(Ordering::Relaxed)).collect();
        Some(Failure {
            rank: self.rank.load(Ordering::Relaxed) as usize,
            nature: *Nature::ALL.get(nature as usize).unwrap_or(&Nature::Other),
            words: String::from_utf8_lossy(&bytes).into_owned(),
        })
    }
}

/// The mapped memory.
pub struct SharedRegion {
    map: MmapRaw,
    ranks: usize,
    slot: usize,
}

impl SharedRegion {
    /// A new region, and its file for other processes to map. The file is closed on exec unless its
    /// owner decides otherwise.
    pub fn create(ranks: usize, slot: usize) -> Result<(SharedRegion, File)> {
        // SAFETY: a C string and a flag; the new descriptor belongs to the file alone.
        let file = unsafe {
            let descriptor = libc::memfd_create(c"voxflow-ranks".as_ptr(), libc::MFD_CLOEXEC);
            if descriptor < 0 {
                return Err(trouble(&std::io::Error::last_os_error()));
            }
            File::from_raw_fd(descriptor)
        };
        let slot = slot.next_multiple_of(PAGE);
        let bytes = data_start(ranks) + (ranks + 1) * slot;
        // Memory, and no file on a disk.
        #[allow(clippy::disallowed_methods)]
        file.set_len(bytes as u64).map_err(|error| trouble(&error))?;
        let map = MmapRaw::map_raw(&file).map_err(|error| trouble(&error))?;
        let region = SharedRegion { map, ranks, slot };
        region.header().ranks.store(ranks as u32, Ordering::Release);
        Ok((region, file))
    }

    /// Another process's region. Errors on another number of ranks.
    pub fn open(file: &File, ranks: usize) -> Result<SharedRegion> {
        let map = MmapRaw::map_raw(file).map_err(|error| trouble(&error))?;
        let slots = map.len().checked_sub(data_start(ranks)).filter(|_| map.len() >= PAGE);
        let slot = slots.filter(|bytes| bytes % ((ranks + 1) * PAGE) == 0);
        let Some(slot) = slot.map(|bytes| bytes / (ranks + 1)) else {
            return Err(Error::failed("shared memory of the ranks: it has another size"));
        };
        let region = SharedRegion { map, ranks, slot };
        if region.header().ranks.load(Ordering::Acquire) != ranks as u32 {
            return Err(Error::failed("shared memory of the ranks: it is of another group"));
        }
        Ok(region)
    }

    /// Number of ranks.
    pub fn ranks(&self) -> usize {
        self.ranks
    }

    /// Bytes of a slot.
    pub fn slot(&self) -> usize {
        self.slot
    }

    /// The words about all ranks.
    pub fn header(&self) -> &RegionHeader {
        // SAFETY: the map begins on a page, is long enough, lives as long as `self`, and holds
        // atomics there, for which any bytes are valid.
        unsafe { &*self.map.as_ptr().cast::<RegionHeader>() }
    }

    /// The words about a rank.
    pub fn cell(&self, rank: usize) -> &RankCell {
        assert!(rank < self.ranks, "rank {rank} of {}", self.ranks);
        // SAFETY: as in `header`; the cells follow it, and the rank is one of them.
        unsafe {
            let cells = self.map.as_ptr().add(size_of::<RegionHeader>()).cast::<RankCell>();
            &*cells.add(rank)
        }
    }

    /// A rank's slot, aligned to a page. Readers and writers must be kept apart by barriers.
    pub fn slot_of(&self, rank: usize) -> *mut u8 {
        assert!(rank <= self.ranks, "slot {rank} of {}", self.ranks);
        // SAFETY: `create` and `open` know that the map holds these slots.
        unsafe { self.map.as_mut_ptr().add(data_start(self.ranks) + rank * self.slot) }
    }

    /// The slot for results, as [`SharedRegion::slot_of`].
    pub fn results(&self) -> *mut u8 {
        self.slot_of(self.ranks)
    }
}

/// The first slot's place.
fn data_start(ranks: usize) -> usize {
    (size_of::<RegionHeader>() + ranks * size_of::<RankCell>()).next_multiple_of(PAGE)
}

fn trouble(error: &std::io::Error) -> Error {
    Error::failed(format!("shared memory of the ranks: {error}; free memory, or use fewer ranks"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_is_seen_by_another_map_and_refused_where_it_is_of_another_group() {
        let (region, file) = SharedRegion::create(3, 1).unwrap();
        let other = SharedRegion::open(&file, 3).unwrap();
        region.cell(2).beat.store(7, Ordering::Release);
        assert_eq!((other.cell(2).beat.load(Ordering::Acquire), other.slot()), (7, PAGE));
        assert!(SharedRegion::open(&file, 2).is_err());
    }

    #[test]
    fn the_first_failure_is_kept_and_long_words_are_cut() {
        let (region, _file) = SharedRegion::create(2, 1).unwrap();
        let record = &region.header().failure;
        assert!(record.read().is_none());
        let failure =
            |words: &str| Failure { rank: 1, nature: Nature::Storage, words: words.into() };
        assert!(record.write(&failure(&"long".repeat(WORDS))));
        assert!(!record.write(&failure("late")));
        let found = record.read().unwrap();
        assert_eq!((found.rank, found.nature, found.words.len()), (1, Nature::Storage, WORDS));
    }
}
