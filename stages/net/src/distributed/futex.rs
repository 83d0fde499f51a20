//! Waiting for a word in memory that processes share, by Linux futexes.

use std::sync::atomic::AtomicU32;
use std::time::Duration;

/// Sleeps until [`wake_all`], for `most` at the longest, unless the word is no longer `seen`. May
/// return early. False if the time is over.
pub fn wait(word: &AtomicU32, seen: u32, most: Duration) -> bool {
    let time = libc::timespec {
        tv_sec: most.as_secs() as libc::time_t,
        tv_nsec: most.subsec_nanos() as libc::c_long,
    };
    // SAFETY: the word lives during the call, and the kernel only reads word and time.
    let status = unsafe {
        libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, seen, &raw const time)
    };
    status == 0 || std::io::Error::last_os_error().raw_os_error() != Some(libc::ETIMEDOUT)
}

/// Wakes all that wait for the word, in every process.
pub fn wake_all(word: &AtomicU32) {
    // SAFETY: takes an address and integers; the kernel does not write there.
    unsafe {
        libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, i32::MAX);
    }
}
