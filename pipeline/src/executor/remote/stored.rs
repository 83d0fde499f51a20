//! Items and files of a store into which other machines write, as they come into sight.

use std::path::Path;
use voxflow_cache::{Artifact, Recipe, Store};
use voxflow_stages::Result;

/// True if a file is there with its size. Its folder is listed first: a name that was asked for
/// before it existed may be remembered as missing.
pub(crate) fn is_whole(path: &Path, bytes: u64) -> bool {
    has_size(path, bytes) || {
        let listed = path.parent().map(std::fs::read_dir);
        drop(listed.map(|entries| entries.map(Iterator::count)));
        has_size(path, bytes)
    }
}

fn has_size(path: &Path, bytes: u64) -> bool {
    let facts = std::fs::File::open(path).and_then(|file| file.metadata());
    facts.is_ok_and(|facts| facts.len() == bytes)
}

/// The item of the store, if all its bytes are there.
pub(crate) fn item_in_store(store: &Store, recipe: &Recipe) -> Result<Option<Artifact>> {
    let entry = store.get(&[recipe.fingerprint()])?.pop().flatten();
    let whole = entry.filter(|entry| {
        let mut blobs = entry.artifact.0.values();
        blobs.all(|blob| is_whole(&store.path(blob), blob.bytes))
    });
    Ok(whole.map(|entry| entry.artifact))
}
