//! Pins: entries in use by living processes, protected from gc. A pin is a locked file listing
//! fingerprints; a dead process's pin is unlocked and ignored.
//!
//! Locks from other hosts or mounts may be invisible. A foreign pin, recognised by its name, counts
//! until untouched for a day; its owner touches it regularly.

use crate::clock::Clock;
use crate::disk::{self, FileWriter};
use crate::error::{Error, Result};
use crate::hash::Fingerprint;
use crate::layout;
use crate::place::MountId;
use std::collections::HashSet;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Foreign pins expire after this time without a touch.
const FOREIGN_AGE: Duration = Duration::from_secs(24 * 3600);

/// Interval between touches.
const BEAT: Duration = Duration::from_secs(600);

/// Pin held by this process; released on drop.
#[derive(Debug)]
pub(crate) struct Pin {
    path: PathBuf,
    held: Mutex<PinnedEntries>,
}

#[derive(Debug)]
struct PinnedEntries {
    file: FileWriter,
    written: HashSet<Fingerprint>,
    beat: Instant,
}

impl Pin {
    /// Creates a pin below `folder`. Call while holding the removal guard: gc removes unlocked
    /// pins.
    pub(crate) fn create(folder: &Path) -> Result<Pin> {
        disk::create_folders(folder).map_err(Error::in_store)?;
        let path = folder.join(format!("{}-{}", disk::unique(), MountId::of(folder)));
        let file = FileWriter::create_new(&path).map_err(Error::in_store)?;
        file.file().lock().map_err(Error::io("lock", &path))?;
        let held = PinnedEntries { file, written: HashSet::new(), beat: Instant::now() };
        Ok(Pin { path, held: Mutex::new(held) })
    }

    /// Adds an entry. Call while holding the removal guard under which the entry was found.
    pub(crate) fn add(&self, fingerprint: &Fingerprint) -> Result<()> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.written.contains(fingerprint) {
            return Ok(());
        }
        held.file.write_bytes(fingerprint.as_bytes())?;
        held.written.insert(*fingerprint);
        held.beat = Instant::now();
        Ok(())
    }

    /// Touches the file unless touched within [`BEAT`].
    pub(crate) fn beat(&self) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.beat.elapsed() >= BEAT {
            held.beat = Instant::now();
            disk::touch(held.file.file());
        }
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        // One that stays is a left-over, which gc removes.
        let _ = disk::remove(&self.path);
        let held = self.held.get_mut().unwrap_or_else(PoisonError::into_inner);
        let _ = held.file.file().unlock();
    }
}

/// Entries pinned by living processes; removes dead pins. Call only while holding the exclusive
/// removal lock.
pub(crate) fn living(folder: &Path, clock: &Clock) -> Result<HashSet<Fingerprint>> {
    let (mut pinned, here) = (HashSet::new(), MountId::of(folder));
    for path in layout::list(folder)? {
        if is_living(&path, here, clock)? {
            pinned.extend(read(&path)?);
        } else {
            disk::remove(&path)?;
        }
    }
    Ok(pinned)
}

/// True if locked here, or possibly locked on another host.
fn is_living(path: &Path, here: MountId, clock: &Clock) -> Result<bool> {
    let file = match disk::open_to_lock(path) {
        Err(error) if error.io_kind() == Some(ErrorKind::NotFound) => return Ok(false),
        opened => opened.map_err(Error::in_store)?,
    };
    match file.try_lock() {
        Err(fs::TryLockError::WouldBlock) => Ok(true),
        Ok(()) => Ok(is_foreign(path, here) && !is_old(&file, clock)),
        Err(fs::TryLockError::Error(error)) => {
            tracing::debug!("{}: cannot lock: {error}; judged by its age", path.display());
            Ok(!is_old(&file, clock))
        }
    }
}

/// True if the name gives another mount. Older versions wrote none; locks decide then.
fn is_foreign(path: &Path, here: MountId) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let place = name.split_once('-').and_then(|(_, place)| MountId::named(place));
    place.is_some_and(|place| place != here)
}

fn is_old(file: &File, clock: &Clock) -> bool {
    let touched = file.metadata().and_then(|metadata| metadata.modified());
    touched.is_ok_and(|at| clock.age(at) > FOREIGN_AGE)
}

fn read(path: &Path) -> Result<Vec<Fingerprint>> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
        bytes => bytes.map_err(Error::io("read", path))?,
    };
    let (whole, _) = bytes.as_chunks::<32>();
    Ok(whole.iter().map(|bytes| Fingerprint::from_bytes(*bytes)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    #[test]
    fn a_pin_is_touched_when_its_last_beat_is_too_long_ago() {
        let folder = tempfile::tempdir().unwrap();
        let pin = Pin::create(folder.path()).unwrap();
        let old = SystemTime::now() - 3 * FOREIGN_AGE;
        let file = File::options().write(true).open(&pin.path).unwrap();
        file.set_modified(old).unwrap();
        pin.beat();
        assert!(is_old(&file, &Clock::local()), "the last beat was just now");
        let Some(last) = Instant::now().checked_sub(2 * BEAT) else { return };
        pin.held.lock().unwrap().beat = last;
        pin.beat();
        assert!(!is_old(&file, &Clock::local()));
    }
}
