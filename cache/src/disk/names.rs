//! Unique file names.

use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};

/// Random part for file names. Process ids would collide between containers.
pub fn unique() -> String {
    format!("{:016x}", RandomState::new().hash_one(std::process::id()))
}

/// A unique hidden name in the folder of `path`.
pub(super) fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}", unique()))
}
