//! File operations that fail on purpose: a test names the Nth operation of a process, and it
//! answers as a full or broken disk would. Without debug assertions every call is nothing.

use std::io;

/// The variable that says which operation fails, and how: `17:ENOSPC`, `17:EIO`, `17:EACCES` or
/// `17:EROFS`.
pub const VARIABLE: &str = "VOXFLOW_FAULT_AT";

/// The variable that names a file which is made when the operation fails.
pub const MARK: &str = "VOXFLOW_FAULT_MARK";

/// The variable that says how many bytes of the disk are free, whatever the disk says.
pub const FREE: &str = "VOXFLOW_FREE_BYTES";

/// The bytes that a test says are free.
pub fn free_bytes() -> Option<u64> {
    if cfg!(debug_assertions) { std::env::var(FREE).ok()?.parse().ok() } else { None }
}

/// Counts an operation that is about to be done. The one that [`VARIABLE`] names is an error.
#[cfg(debug_assertions)]
pub(super) fn pass() -> io::Result<()> {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicUsize, Ordering};
    static WANTED: OnceLock<Option<(usize, i32)>> = OnceLock::new();
    static PASSED: AtomicUsize = AtomicUsize::new(0);
    let wanted = WANTED.get_or_init(|| {
        let text = std::env::var(VARIABLE).ok()?;
        let (number, how) = text.split_once(':')?;
        let error = match how {
            "EIO" => libc::EIO,
            "EACCES" => libc::EACCES,
            "EROFS" => libc::EROFS,
            _ => libc::ENOSPC,
        };
        Some((number.parse().ok()?, error))
    });
    match wanted {
        Some((number, error)) if PASSED.fetch_add(1, Ordering::SeqCst) + 1 == *number => {
            let mark = std::env::var_os(MARK).map(|mark| std::fs::write(mark, ""));
            mark.unwrap_or(Ok(())).and_then(|()| Err(io::Error::from_raw_os_error(*error)))
        }
        _ => Ok(()),
    }
}

/// Nothing: faults exist in debug builds only.
#[cfg(not(debug_assertions))]
pub(super) fn pass() -> io::Result<()> {
    Ok(())
}
