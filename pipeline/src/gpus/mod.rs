//! Graphics cards on this machine and their allocation.
//!
//! Cards come from NVIDIA's driver (`nvml`), filtered by `CUDA_VISIBLE_DEVICES` (`visible`). Stages
//! lease whole cards ([`Gpus::lease`]): within a run through a list in memory, between programs
//! through a locked byte per card in a machine-wide file. A worker sees only its leased cards.

mod card;
mod nvml;
mod visible;

pub use card::Gpu;

use crate::lock::lock;
use crate::machine;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;
use voxflow_cache::{ByteLock, Digest, disk};

pub const VISIBLE: &str = "CUDA_VISIBLE_DEVICES";
/// Overrides the lock file's path.
pub const LOCKS: &str = "VOXFLOW_GPU_LOCKS";
/// Set by batch systems that allocate cards themselves; no locks are taken then.
const BATCH_SYSTEMS: [&str; 3] = ["SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID"];
/// Poll interval while another program holds a card.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Cards available to this program.
#[derive(Debug)]
pub struct Gpus {
    cards: Vec<Gpu>,
    /// Per card: true while leased.
    taken: Mutex<Vec<bool>>,
    /// Lock file; `None` under a batch system.
    locks: Option<PathBuf>,
}

/// Cards leased by a stage; returned on drop.
#[derive(Debug)]
pub struct Lease<'a> {
    gpus: &'a Gpus,
    places: Vec<usize>,
    _locks: Vec<ByteLock>,
}

impl Gpus {
    /// Cards for `--device`: all visible for `auto`, one for `cuda:N`, none for `cpu`.
    pub fn of_device(device: &str) -> Gpus {
        let number = device.strip_prefix("cuda:").and_then(|number| number.parse::<usize>().ok());
        let all = if device == "cpu" { vec![] } else { Gpus::visible() };
        let cards = match number {
            Some(number) => all.into_iter().skip(number).take(1).collect(),
            None => all,
        };
        let is_given = BATCH_SYSTEMS.iter().any(|name| std::env::var_os(name).is_some());
        Gpus::new(cards, (!is_given).then(lock_file))
    }

    fn new(cards: Vec<Gpu>, locks: Option<PathBuf>) -> Gpus {
        let taken = Mutex::new(vec![false; cards.len()]);
        Gpus { cards, taken, locks }
    }

    /// All cards visible to CUDA in this process.
    fn visible() -> Vec<Gpu> {
        let found = nvml::cards();
        match std::env::var(VISIBLE) {
            _ if found.is_empty() && !machine::has_accelerator() => vec![],
            Ok(given) => visible::select(&found, &given, is_in_bus_order()),
            Err(_) if found.is_empty() => vec![visible::unknown("0")],
            Err(_) => found.into_iter().flat_map(card::Card::into_usable).collect(),
        }
    }

    pub fn count(&self) -> usize {
        self.cards.len()
    }

    pub fn models(&self) -> Vec<String> {
        self.cards.iter().map(|card| card.name.clone()).collect()
    }

    /// Leases `count` cards, all or nothing: waits while they are in use, also by other programs,
    /// and reports the wait once to `waiting`. `None` after a stop.
    ///
    /// # Errors
    /// I/O errors on the lock file.
    pub fn lease(
        &self,
        count: usize,
        stop: &dyn Fn() -> bool,
        waiting: &dyn Fn(&str),
    ) -> voxflow_cache::Result<Option<Lease<'_>>> {
        if let Some(file) = &self.locks {
            // One that is there is used as it is; one that cannot be made is told of when it is
            // locked.
            let _ = disk::create_public(file);
        }
        let mut has_waited = false;
        loop {
            if let Some(lease) = self.try_lease(count)? {
                return Ok(Some(lease));
            }
            if stop() {
                return Ok(None);
            }
            if !has_waited {
                waiting(&self.trouble(count));
                has_waited = true;
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    fn try_lease(&self, count: usize) -> voxflow_cache::Result<Option<Lease<'_>>> {
        let mut taken = self.taken();
        let (mut places, mut locks) = (vec![], vec![]);
        for place in (0..self.cards.len()).filter(|&place| !taken[place]) {
            if places.len() == count {
                break;
            }
            if let Some(file) = &self.locks {
                match ByteLock::attempt(file, offset(&self.cards[place].id))? {
                    Some(lock) => locks.push(lock),
                    None => continue,
                }
            }
            places.push(place);
        }
        if places.len() < count {
            return Ok(None);
        }
        places.iter().for_each(|&place| taken[place] = true);
        Ok(Some(Lease { gpus: self, places, _locks: locks }))
    }

    fn trouble(&self, count: usize) -> String {
        let (own, all) = (self.taken().iter().filter(|taken| **taken).count(), self.count());
        let what = if count == 1 { "a GPU".to_string() } else { format!("{count} GPUs") };
        format!("waits for {what}: of {all}, {own} in use by this run, others by other programs")
    }

    fn taken(&self) -> MutexGuard<'_, Vec<bool>> {
        lock(&self.taken)
    }
}

impl Lease<'_> {
    /// `CUDA_VISIBLE_DEVICES` for the stage's worker.
    pub fn visible(&self) -> OsString {
        let ids = self.places.iter().map(|&place| self.gpus.cards[place].id.as_str());
        ids.collect::<Vec<_>>().join(",").into()
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let mut taken = self.gpus.taken();
        self.places.iter().for_each(|&place| taken[place] = false);
    }
}

/// True if card numbers follow the driver's order.
fn is_in_bus_order() -> bool {
    std::env::var("CUDA_DEVICE_ORDER").is_ok_and(|order| order == "PCI_BUS_ID")
}

/// Lock offset for a card.
fn offset(id: &str) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&Digest::of(id.as_bytes()).as_bytes()[..8]);
    u64::from_le_bytes(bytes)
}

/// Machine-wide lock file for all users; in memory if possible, to vanish on reboot.
fn lock_file() -> PathBuf {
    if let Some(file) = std::env::var_os(LOCKS) {
        return file.into();
    }
    let folder = Path::new("/dev/shm");
    let folder = if folder.is_dir() { folder } else { Path::new("/tmp") };
    folder.join("voxflow-gpus.lock")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(id: &str) -> Gpu {
        Gpu { id: id.into(), name: "toy".into(), memory: 1 << 30 }
    }

    fn two(locks: &Path) -> Gpus {
        Gpus::new(vec![card("GPU-a"), card("GPU-b")], Some(locks.to_path_buf()))
    }

    fn lease(gpus: &Gpus, count: usize) -> Option<Lease<'_>> {
        gpus.lease(count, &|| true, &|_| {}).unwrap()
    }

    #[test]
    fn a_card_is_leased_once_also_between_programs() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("locks");
        let (one, other) = (two(&file), two(&file));
        let first = lease(&one, 1).unwrap();
        assert_eq!(first.visible(), "GPU-a");
        assert!(lease(&one, 2).is_none() && lease(&other, 2).is_none());
        let second = lease(&other, 1).unwrap();
        assert_eq!(second.visible(), "GPU-b");
        assert!(lease(&one, 1).is_none());
        drop((first, second));
        assert_eq!(lease(&one, 2).unwrap().visible(), "GPU-a,GPU-b");
    }

    #[test]
    fn whoever_waits_says_so_once_and_gets_the_card_when_it_is_free() {
        let folder = tempfile::tempdir().unwrap();
        let gpus = two(&folder.path().join("locks"));
        let both = lease(&gpus, 2).unwrap();
        let words = Mutex::new(vec![]);
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| {
                let said = |text: &str| words.lock().unwrap().push(text.to_string());
                gpus.lease(1, &|| false, &said).unwrap().unwrap().visible()
            });
            while words.lock().unwrap().is_empty() {
                std::thread::sleep(Duration::from_millis(1));
            }
            drop(both);
            assert_eq!(waiter.join().unwrap(), "GPU-a");
        });
        let words = words.into_inner().unwrap();
        assert_eq!(words.len(), 1);
        assert!(words[0].starts_with("waits for a GPU: of 2, 2 in use by this run"), "{words:?}");
    }
}
