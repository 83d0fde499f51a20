//! Fault injection for tests: the Nth file operation of a process fails as on a full or broken
//! disk. No-op without debug assertions.

use std::io;

/// Variable with the operation's number and error: `17:ENOSPC`, `17:EIO`, `17:EACCES` or
/// `17:EROFS`.
pub const VARIABLE: &str = "VOXFLOW_FAULT_AT";

/// Variable naming a file to create when the fault happens.
pub const MARK: &str = "VOXFLOW_FAULT_MARK";

/// Variable overriding the free bytes reported by the file system.
pub const FREE: &str = "VOXFLOW_FREE_BYTES";

/// Free bytes set by a test.
pub fn free_bytes() -> Option<u64> {
    if cfg!(debug_assertions) { std::env::var(FREE).ok()?.parse().ok() } else { None }
}

/// Counts an operation before its start. Errors if [`VARIABLE`] names this number.
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

/// No-op: faults exist in debug builds only.
#[cfg(not(debug_assertions))]
pub(super) fn pass() -> io::Result<()> {
    Ok(())
}
