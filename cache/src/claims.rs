//! Claims: locks held while making something. A claim is a locked byte in a shared file, on its own
//! descriptor: no pid, nothing to clean up, released when the process ends for any reason.

use crate::disk;
use crate::error::{Error, Result};
use crate::hash::Fingerprint;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Upper bound for lock offsets: offset plus length must fit `off_t`.
const OFFSETS: u64 = 1 << 62;

/// Exclusive right to make something; released on drop.
#[derive(Debug)]
pub struct Claim {
    _byte: ByteLock,
}

impl Claim {
    /// Claims `fingerprint`; `None` if held elsewhere, in this or another process.
    pub(crate) fn attempt(claims: &Path, fingerprint: Fingerprint) -> Result<Option<Claim>> {
        let mut offset = [0; 8];
        offset.copy_from_slice(&fingerprint.as_bytes()[..8]);
        Ok(ByteLock::attempt(claims, u64::from_le_bytes(offset))?.map(|byte| Claim { _byte: byte }))
    }
}

/// Exclusive lock on a single byte.
///
/// Uses open-file-description locks: these exclude other descriptors even within a process, and end
/// when the descriptor closes.
#[derive(Debug)]
pub struct ByteLock {
    file: File,
    offset: i64,
}

impl ByteLock {
    /// Locks the byte at `offset` (modulo 2^62); `None` if already locked.
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

/// Whole-file lock, shared or exclusive, on its own descriptor; released on drop.
#[derive(Debug)]
pub(crate) struct FileLock(File);

impl FileLock {
    /// Waits for a shared lock.
    pub(crate) fn shared(path: &Path) -> Result<FileLock> {
        let file = open_shared(path)?;
        file.lock_shared().map_err(Error::io("lock", path))?;
        Ok(FileLock(file))
    }

    /// Tries for an exclusive lock up to `patience`.
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

/// Opens read-only: shared locks need no write permission, and stores may be readable only.
fn open_shared(path: &Path) -> Result<File> {
    match disk::open(path) {
        Err(error) if error.io_kind() == Some(ErrorKind::NotFound) => open_lock(path),
        file => file.map_err(Error::in_store),
    }
}

/// Lock files in a store.
#[derive(Clone, Debug)]
pub(crate) struct LockFiles {
    /// A byte per fingerprint being made.
    pub(crate) claims: PathBuf,
    /// A byte per draft in use.
    pub(crate) drafts: PathBuf,
    /// Shared during look-ups and publishing, exclusive during removal.
    pub(crate) removal: PathBuf,
}
