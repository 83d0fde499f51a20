//! Writing through a memory mapping, as `np.memmap` does: the first write of a page moves the
//! file's times, the later ones do not.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::Duration;

/// Changes the last byte of a file after `between`, so that its stat stays what it was then. A
/// stat younger than two seconds would not be trusted.
pub fn write_unseen<T>(path: &Path, between: impl FnOnce() -> T) -> T {
    let mut bytes = fs::read(path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    write(path, &bytes, between)
}

/// Replaces a file's text by one of the same length.
pub fn write_unseen_text<T>(path: &Path, text: &str, between: impl FnOnce() -> T) -> T {
    assert_eq!(fs::metadata(path).unwrap().len(), text.len() as u64);
    write(path, text.as_bytes(), between)
}

fn write<T>(path: &Path, bytes: &[u8], between: impl FnOnce() -> T) -> T {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let (access, null) = (libc::PROT_READ | libc::PROT_WRITE, std::ptr::null_mut());
    // SAFETY: a new mapping of an open file, of the file's length, unmapped below; nothing else in
    // this process maps the file.
    unsafe {
        let start = libc::mmap(null, bytes.len(), access, libc::MAP_SHARED, file.as_raw_fd(), 0);
        assert_ne!(start, libc::MAP_FAILED);
        let mapped = start.cast::<u8>();
        for at in (0..bytes.len()).step_by(4096) {
            mapped.add(at).write_volatile(mapped.add(at).read_volatile());
        }
        std::thread::sleep(Duration::from_millis(2600));
        let result = between();
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), mapped, bytes.len());
        libc::munmap(start, bytes.len());
        result
    }
}
