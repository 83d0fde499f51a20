//! One link to an output.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The folder's name, in the home and in each run.
pub const OUTPUTS: &str = "outputs";

/// True if this is a link with exactly this target. What the target is, is the store's matter.
pub fn leads_to(link: &Path, target: &Path) -> bool {
    rustix::fs::readlink(link, Vec::with_capacity(256))
        .is_ok_and(|found| found.as_bytes() == target.as_os_str().as_bytes())
}
