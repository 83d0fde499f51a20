//! A store opened for reading.

use super::*;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime};
use voxflow_cache::CheckDepth;

/// Every path below a folder with all of its stat but the time of access.
fn state(folder: &Path) -> Vec<(PathBuf, u64, i64, i64, i64, u32)> {
    let stat = |path: PathBuf| {
        let stat = fs::symlink_metadata(&path).unwrap();
        (path, stat.ino(), stat.mtime(), stat.mtime_nsec(), stat.ctime_nsec(), stat.mode())
    };
    let mut found = vec![stat(folder.to_path_buf())];
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(state(&path)) } else { found.push(stat(path)) }
    }
    found.sort();
    found
}

#[test]
fn a_reader_sees_what_is_there_and_changes_nothing_not_even_what_is_bad_or_left_over() {
    let home = Home::new();
    let (entry, _) = recall_toy(&home.store, 1);
    let (bad, _) = recall_toy(&home.store, 2);
    let Home { folder, store } = home;
    drop(store);
    let root = folder.path().join("store-v1");
    fs::create_dir_all(root.join("drafts/1-00000000000000aa/files")).unwrap();
    let hex = bad.fingerprint.to_hex();
    let file = root.join("entries").join(&hex[..2]).join(format!("{hex}.json"));
    flip(&file, 100);
    let used = SystemTime::now() - Duration::from_secs(7200);
    fs::File::open(&file).unwrap().set_modified(used).unwrap();
    flip(
        &root
            .join("blobs")
            .join(&bad.artifact.0["big"].digest.to_hex()[..2])
            .join(bad.artifact.0["big"].digest.to_hex()),
        7,
    );
    let before = state(&root);

    let reader = Store::read_only(&root).unwrap();
    let found = reader.get(&[entry.fingerprint, bad.fingerprint]).unwrap();
    assert_eq!(found, [Some(entry.clone()), None]);
    assert_toy(&reader, &entry, 1);
    assert_eq!(reader.usable(&entry.artifact).unwrap(), [] as [&str; 0]);
    let damaged = reader.presence(bad.artifact.part(""), CheckDepth::Read).unwrap();
    assert_eq!(damaged, [("big".to_string(), voxflow_cache::Presence::Damaged)]);
    assert_eq!(reader.size().unwrap().entries.files, 2);
    let own = folder.path().join("own");
    fs::write(&own, "a person's").unwrap();
    reader.digest_of(&own).unwrap();
    reader.flush();
    let fingerprint = recipe(3).fingerprint();
    let refusals = [
        reader.claim(fingerprint).map(drop),
        reader.draft().map(drop),
        reader.hold(),
        reader.forget(&entry.fingerprint),
        reader.verify(1, &|_, _| ()).map(drop),
        reader.recall(&recipe(3), &RecallPolicy::new(&never), |draft| make_toy(draft, 3)).map(drop),
    ];
    for refusal in refusals {
        let error = refusal.unwrap_err().to_string();
        assert!(error.contains("opened for reading"), "{error}");
    }
    drop(reader);
    assert_eq!(state(&root), before);
}

#[test]
fn a_reader_of_a_folder_that_is_not_there_finds_nothing_and_makes_none() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("store-v1");
    for _ in 0..2 {
        let reader = Store::read_only(&root).unwrap();
        assert_eq!(reader.get(&[recipe(1).fingerprint()]).unwrap(), [None]);
        assert_eq!(reader.entries().count(), 0);
        assert_eq!(reader.size().unwrap(), voxflow_cache::StoreSize::default());
        let files = fs::read_dir(&root).map_or(0, Iterator::count);
        assert_eq!(files, 0);
        fs::create_dir_all(&root).unwrap();
    }
    fs::write(root.join("thesis"), "").unwrap();
    let error = Store::read_only(&root).err().unwrap().to_string();
    assert!(error.contains("is not a store"), "{error}");
    fs::write(root.join("format"), "voxflow store 99\n").unwrap();
    let error = Store::read_only(&root).err().unwrap().to_string();
    assert!(error.contains("use a newer program"), "{error}");
}
