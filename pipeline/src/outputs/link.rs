//! Links to outputs.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Folder name in homes and runs.
pub const OUTPUTS: &str = "outputs";

/// True for a link with exactly this target; the target itself is not checked.
pub fn leads_to(link: &Path, target: &Path) -> bool {
    rustix::fs::readlink(link, Vec::with_capacity(256))
        .is_ok_and(|found| found.as_bytes() == target.as_os_str().as_bytes())
}
