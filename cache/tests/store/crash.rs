//! Dying in the midst of publishing, at every named place: afterwards all of it is there or
//! nothing, and the next maker ends with the same result.

use super::*;
use std::os::unix::process::ExitStatusExt;
use voxflow_cache::crash::{SITES, VARIABLE};

#[test]
fn a_process_that_dies_at_any_site_of_publishing_leaves_a_store_that_the_next_one_finishes() {
    for site in SITES {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("store-v1");
        let output = children::command("toy", &root).env(VARIABLE, site).output().unwrap();
        assert_eq!(output.status.signal(), Some(6), "the process should die at '{site}'");

        let home = Home { store: Store::open(&root).unwrap(), folder };
        let seen = home.store.get(&[recipe(1).fingerprint()]).unwrap().remove(0);
        if let Some(entry) = &seen {
            assert_eq!(home.store.usable(&entry.artifact).unwrap(), [] as [&str; 0], "'{site}'");
            assert_toy(&home.store, entry, 1);
        }
        assert_eq!(files_below(&root.join("drafts")), [] as [PathBuf; 0], "'{site}'");
        let (entry, recall) = recall_toy(&home.store, 1);
        assert_eq!(recall == Recall::Reused, seen.is_some(), "'{site}'");
        assert_toy(&home.store, &entry, 1);
        assert_eq!(home.store.verify(2, &|_, _| ()).unwrap(), [], "'{site}'");
        assert_eq!(files_below(&root.join("blobs")).len(), 2, "'{site}'");
    }
}
