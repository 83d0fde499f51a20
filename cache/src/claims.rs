//! Claims: who makes what. A claim is one locked byte of a file, held by a descriptor of its own,
//! so it says no pid, leaves nothing behind and ends with the process, however it ends.

use crate::disk;
use crate::error::{Error, Result};
use crate::hash::Fingerprint;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Offsets in a locked file are kept below this, so that offset and length fit an `off_t`.
const OFFSETS: u64 = 1 << 62;

/// The exclusive right to make one thing. Dropping it gives it back.
#[derive(Debug)]
pub struct Claim {
    _byte: ByteLock,
}

impl Claim {
    /// The claim of `fingerprint`, or `None` while somebody else, here or in another process, has
    /// it.
    pub(crate) fn attempt(claims: &Path, fingerprint: Fingerprint) -> Result<Option<Claim>> {
        let mut offset = [0; 8];
        offset.copy_from_slice(&fingerprint.as_bytes()[..8]);
        Ok(ByteLock::attempt(claims, u64::from_le_bytes(offset))?.map(|byte| Claim { _byte: byte }))
    }
}

/// One exclusively locked byte of a file.
///
/// An open-file-description lock: it excludes other descriptors even of the same process, and is
/// free as soon as the descriptor is closed.
#[derive(Debug)]
pub struct ByteLock {
    file: File,
    offset: i64,
}

impl ByteLock {
    /// Locks the byte at `offset` (reduced modulo 2^62) of the file, or gives `None` if it is
    /// taken.
    pub fn attempt(path: &Path, offset: u64) -> Result<Option<ByteLock>> {
        let file = open_lock(path)?;
        let offset = (offset % OFFSETS) as i64;
        match set_lock(&file, libc::F_WRLCK as libc::c_short, offset) {
            Ok(()) => Ok(Some(ByteLock { file, offset })),
            Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => {
                Ok(None)
            }
            Err(error) => Err(Error::io("lock a byte of", path)(error)),
        }
    }
}

impl Drop for ByteLock {
    fn drop(&mut self) {
        // Said aloud, since a child between fork and exec may hold a copy of the descriptor.
        let _ = set_lock(&self.file, libc::F_UNLCK as libc::c_short, self.offset);
    }
}

fn set_lock(file: &File, kind: libc::c_short, offset: i64) -> io::Result<()> {
    // SAFETY: `flock` is plain data for which zeroes are valid; OFD locks demand `l_pid` 0.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = kind;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    lock.l_start = offset;
    lock.l_len = 1;
    loop {
        // SAFETY: the descriptor is open and `lock` outlives the call, which does not block.
        let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &lock) };
        let error = io::Error::last_os_error();
        match result {
            -1 if error.kind() == ErrorKind::Interrupted => continue,
            -1 => return Err(error),
            _ => return Ok(()),
        }
    }
}

/// A whole-file lock, shared or exclusive, on a descriptor of its own. Dropping it gives it back.
#[derive(Debug)]
pub(crate) struct FileLock(File);

impl FileLock {
    /// Waits for a shared lock. Many may hold it at once.
    pub(crate) fn shared(path: &Path) -> Result<FileLock> {
        let file = open_shared(path)?;
        file.lock_shared().map_err(Error::io("lock", path))?;
        Ok(FileLock(file))
    }

    /// Tries for an exclusive lock until `patience` is over.
    pub(crate) fn exclusive(path: &Path, patience: Duration) -> Result<Option<FileLock>> {
        let file = open_lock(path)?;
        let until = std::time::Instant::now() + patience;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Some(FileLock(file))),
                Err(std::fs::TryLockError::Error(error)) => {
                    return Err(Error::io("lock", path)(error));
                }
                Err(std::fs::TryLockError::WouldBlock) if std::time::Instant::now() >= until => {
                    return Ok(None);
                }
                Err(std::fs::TryLockError::WouldBlock) => {
                    std::thread::sleep(Duration::from_millis(2))
                }
            }
        }
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}

fn open_lock(path: &Path) -> Result<File> {
    disk::open_lock(path).map_err(Error::in_store)
}

/// A shared lock needs no right to write, so that a store may be read where it cannot be changed.
fn open_shared(path: &Path) -> Result<File> {
    match disk::open(path) {
        Err(error) if error.io_kind() == Some(ErrorKind::NotFound) => open_lock(path),
        file => file.map_err(Error::in_store),
    }
}

/// The lock files of a store.
#[derive(Clone, Debug)]
pub(crate) struct LockFiles {
    /// A byte for each thing that is being made.
    pub(crate) claims: PathBuf,
    /// A byte for each draft in use.
    pub(crate) drafts: PathBuf,
    /// Shared by whoever looks up or publishes, exclusive for whoever removes.
    pub(crate) removal: PathBuf,
}
