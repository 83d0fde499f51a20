//! Names that nothing else has.

use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};

/// A part of a name that no other process chooses: in another container one may have the same id.
pub fn unique() -> String {
    format!("{:016x}", RandomState::new().hash_one(std::process::id()))
}

/// A hidden name in the folder of `path` that nothing else has.
pub(super) fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}", unique()))
}
