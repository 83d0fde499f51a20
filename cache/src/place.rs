//! Mount identity: two processes reliably see each other's locks only on the same host, same boot
//! and same mount. Elsewhere age must decide.

use crate::hash::Digest;
use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Hash over boot id and device number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MountId(u64);

impl MountId {
    /// Identity for a folder, as seen from this process.
    pub(crate) fn of(folder: &Path) -> MountId {
        let boot = fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let device = fs::metadata(folder).map_or(0, |metadata| metadata.dev());
        let digest = Digest::of(&[&boot[..], &device.to_le_bytes()[..]].concat()).to_hex();
        MountId(u64::from_str_radix(&digest[..16], 16).unwrap_or(0))
    }

    /// Parses the hexadecimal form in file names.
    pub(crate) fn named(part: &str) -> Option<MountId> {
        u64::from_str_radix(part, 16).ok().map(MountId)
    }
}

impl fmt::Display for MountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}
