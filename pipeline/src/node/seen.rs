//! Files of other machines, as they come into sight.

use std::path::Path;

/// True if a file is there with its size. Its folder is listed first: a name that was asked for
/// before it existed may be remembered as missing.
pub(super) fn is_whole(path: &Path, bytes: u64) -> bool {
    let has_size = || std::fs::File::open(path).and_then(|file| file.metadata());
    let is_there = || has_size().is_ok_and(|facts| facts.len() == bytes);
    is_there() || {
        let listed = path.parent().map(std::fs::read_dir);
        drop(listed.map(|entries| entries.map(Iterator::count)));
        is_there()
    }
}
