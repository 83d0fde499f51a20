//! Places: where two processes see each other's locks for sure, which is on one host since it
//! started and through one mount. Elsewhere a lock may be invisible, and age must tell.

use crate::hash::Digest;
use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// A kernel since it started, and a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MountId(u64);

impl MountId {
    /// The place of this process for a folder.
    pub(crate) fn of(folder: &Path) -> MountId {
        let boot = fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let device = fs::metadata(folder).map_or(0, |metadata| metadata.dev());
        let digest = Digest::of(&[&boot[..], &device.to_le_bytes()[..]].concat()).to_hex();
        MountId(u64::from_str_radix(&digest[..16], 16).unwrap_or(0))
    }

    /// The place that a part of a file's name says.
    pub(crate) fn named(part: &str) -> Option<MountId> {
        u64::from_str_radix(part, 16).ok().map(MountId)
    }
}

impl fmt::Display for MountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}
