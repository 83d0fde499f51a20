//! The store on a real disk, with real threads and real processes.

mod children;
mod crash;
mod crowd;
mod damage;
mod faults;
mod gc;
mod reading;
mod recall;
mod settled;
mod upkeep;
mod watch;

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use voxflow_cache::{Draft, Entry, Error, Fingerprint, Recall, RecallPolicy, Recipe, Store};

/// A folder that goes when the test ends, and the store in it.
struct Home {
    folder: TempDir,
    store: Store,
}

impl Home {
    fn new() -> Home {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store-v1")).unwrap();
        Home { folder, store }
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("store-v1")
    }

    /// Closes the store and opens it as another process would.
    fn reopened(self) -> Home {
        let Home { folder, store } = self;
        drop(store);
        let store = Store::open(&folder.path().join("store-v1")).unwrap();
        Home { folder, store }
    }
}

fn recipe(number: u32) -> Recipe {
    Recipe {
        kind: "toy".to_string(),
        version: 1,
        params: json!({ "number": number }),
        inputs: BTreeMap::new(),
    }
}

fn never() -> bool {
    false
}

/// Two files that tell the number; the first is large enough to be worth a flipped bit.
fn make_toy(draft: &Draft, number: u32) -> Result<(Value, Vec<Fingerprint>), Error> {
    fs::create_dir_all(draft.folder().join("sub")).unwrap();
    fs::write(draft.folder().join("big"), format!("{number} ").repeat(5000)).unwrap();
    fs::write(draft.folder().join("sub/small"), format!("small {number}")).unwrap();
    Ok((json!({ "number": number }), vec![]))
}

fn recall_toy(store: &Store, number: u32) -> (Entry, Recall) {
    store
        .recall(&recipe(number), &RecallPolicy::new(&never), |draft| make_toy(draft, number))
        .unwrap()
}

/// Asserts that the entry is the toy of that number and that its files can be read and are right.
fn assert_toy(store: &Store, entry: &Entry, number: u32) {
    assert_eq!(entry.fingerprint, recipe(number).fingerprint());
    assert_eq!(entry.record, json!({ "number": number }));
    assert_eq!(entry.artifact.0.keys().collect::<Vec<_>>(), ["big", "sub/small"]);
    let read = |name: &str| fs::read_to_string(store.path(&entry.artifact.0[name])).unwrap();
    assert_eq!(read("big"), format!("{number} ").repeat(5000));
    assert_eq!(read("sub/small"), format!("small {number}"));
}

/// Every file below a folder.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![];
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files_below(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// Flips the lowest bit of one byte, in place, as a bad disk or a person might.
fn flip(path: &Path, position: usize) {
    use std::os::unix::fs::PermissionsExt;
    let mut bytes = fs::read(path).unwrap();
    bytes[position] ^= 1;
    let mode = fs::metadata(path).unwrap().permissions();
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, mode).unwrap();
}
