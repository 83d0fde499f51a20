//! Pins: what living processes use, so that gc leaves it alone. A pin is a locked file of
//! fingerprints; like a claim it says no pid, and without its process it counts for nothing.

use crate::error::{Error, Result};
use crate::fault;
use crate::hash::Fingerprint;
use crate::layout;
use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The pin of one process. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Pin {
    path: PathBuf,
    held: Mutex<Held>,
}

#[derive(Debug)]
struct Held {
    file: File,
    written: HashSet<Fingerprint>,
}

impl Pin {
    /// A new pin below `folder`. To be called within a moment: gc takes a file that nobody has
    /// locked for a left-over.
    pub(crate) fn create(folder: &Path) -> Result<Pin> {
        fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        let path = folder.join(format!("{:016x}", RandomState::new().hash_one(std::process::id())));
        let open = || OpenOptions::new().append(true).create_new(true).open(&path);
        let file = fault::pass().and_then(|()| open()).map_err(Error::io("create", &path))?;
        file.lock().map_err(Error::io("lock", &path))?;
        Ok(Pin { path, held: Mutex::new(Held { file, written: HashSet::new() }) })
    }

    /// Adds what is used from now on. To be called within the moment in which it was found.
    pub(crate) fn add(&self, fingerprint: &Fingerprint) -> Result<()> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.written.contains(fingerprint) {
            return Ok(());
        }
        fault::pass()
            .and_then(|()| held.file.write_all(fingerprint.as_bytes()))
            .map_err(Error::io("write", &self.path))?;
        held.written.insert(*fingerprint);
        Ok(())
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        // One that stays is a left-over, which gc removes.
        let _ = fs::remove_file(&self.path);
        let held = self.held.get_mut().unwrap_or_else(PoisonError::into_inner);
        let _ = held.file.unlock();
    }
}

/// What living processes pin. The pins of dead ones are removed. To be called while nobody has a
/// moment.
pub(crate) fn living(folder: &Path) -> Result<HashSet<Fingerprint>> {
    let mut pinned = HashSet::new();
    for path in layout::list(folder)? {
        let file = match File::open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            file => file.map_err(Error::io("open", &path))?,
        };
        match file.try_lock() {
            Ok(()) => layout::remove(&path)?,
            Err(fs::TryLockError::WouldBlock) => pinned.extend(read(&path)?),
            Err(fs::TryLockError::Error(error)) => return Err(Error::io("lock", &path)(error)),
        }
    }
    Ok(pinned)
}

fn read(path: &Path) -> Result<Vec<Fingerprint>> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
        bytes => bytes.map_err(Error::io("read", path))?,
    };
    let (whole, _) = bytes.as_chunks::<32>();
    Ok(whole.iter().map(|bytes| Fingerprint::from_bytes(*bytes)).collect())
}
