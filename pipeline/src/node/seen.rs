//! Visibility of files written by other machines.

use std::path::Path;

/// True if a file is visible with this size. On failure lists the folder and retries: the client
/// may have cached the name as missing.
pub(super) fn is_whole(path: &Path, bytes: u64) -> bool {
    has_size(path, bytes) || {
        let listed = path.parent().map(std::fs::read_dir);
        drop(listed.map(|entries| entries.map(Iterator::count)));
        has_size(path, bytes)
    }
}

/// Opens the file: some clients ask their server only then.
fn has_size(path: &Path, bytes: u64) -> bool {
    let facts = std::fs::File::open(path).and_then(|file| file.metadata());
    facts.is_ok_and(|facts| facts.len() == bytes)
}
