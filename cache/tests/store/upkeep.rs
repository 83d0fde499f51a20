//! Upkeep: verify finds what no stat shows, the index is made anew, sizes add up.

use super::*;
use std::sync::atomic::{AtomicU64, Ordering};
use voxflow_cache::CheckDepth;
use voxflow_cache::FileCount;

#[test]
fn a_sound_store_verifies_with_progress_to_the_last_byte() {
    let home = Home::new();
    (0..4).for_each(|number| drop(recall_toy(&home.store, number)));
    let most = AtomicU64::new(0);
    let total = AtomicU64::new(0);
    let bad = home.store.verify(3, &|done, all| {
        most.fetch_max(done, Ordering::Relaxed);
        total.store(all, Ordering::Relaxed);
    });
    assert_eq!(bad.unwrap(), []);
    assert_eq!(most.into_inner(), total.into_inner());
}

#[test]
fn whoever_asks_hears_of_every_byte_that_is_read_again_before_it_is_reused() {
    let home = Home::new();
    let (entry, _) = recall_toy(&home.store, 1);
    let heard = std::sync::Arc::new(AtomicU64::new(0));
    let told = heard.clone();
    home.store.on_reading(move |bytes| {
        told.fetch_add(bytes, Ordering::Relaxed);
    });
    assert!(home.store.presence(entry.artifact.part(""), CheckDepth::Read).unwrap().is_empty());
    let bytes: u64 = entry.artifact.part("").map(|(_, blob)| blob.bytes).sum();
    assert_eq!(heard.load(Ordering::Relaxed), bytes);
}

#[test]
fn verify_lists_and_sets_aside_every_bad_file() {
    let home = Home::new();
    (0..4).for_each(|number| drop(recall_toy(&home.store, number)));
    let blob = files_below(&home.root().join("blobs")).remove(3);
    let entry = files_below(&home.root().join("entries")).remove(2);
    flip(&blob, 2);
    flip(&entry, 200);
    let mut bad: Vec<PathBuf> =
        home.store.verify(2, &|_, _| ()).unwrap().into_iter().map(|bad| bad.path).collect();
    bad.sort();
    assert_eq!(bad, [blob.clone(), entry.clone()]);
    assert!(!blob.exists() && !entry.exists());
    assert_eq!(files_below(&home.root().join("bad")).len(), 2);
    assert_eq!(home.store.verify(2, &|_, _| ()).unwrap(), []);
    let made = (0..4).filter(|number| recall_toy(&home.store, *number).1 == Recall::Made).count();
    assert!((1..=2).contains(&made));
}

#[test]
fn verify_reads_checkpoints_and_leaves_other_unfinished_state_alone() {
    let home = Home::new();
    let folder = home.store.unfinished(&recipe(1).fingerprint());
    fs::create_dir_all(&folder).unwrap();
    let mut bytes = b"weights".to_vec();
    voxflow_cache::hash::close(&mut bytes);
    ["step-1.checkpoint", "step-2.checkpoint"]
        .iter()
        .for_each(|name| fs::write(folder.join(name), &bytes).unwrap());
    fs::write(folder.join("partial"), "half of a download").unwrap();
    assert_eq!(home.store.verify(2, &|_, _| ()).unwrap(), []);
    flip(&folder.join("step-2.checkpoint"), 3);
    let bad = home.store.verify(2, &|_, _| ()).unwrap();
    assert_eq!(
        bad.iter().map(|bad| bad.path.clone()).collect::<Vec<_>>(),
        [folder.join("step-2.checkpoint")]
    );
    assert_eq!(home.store.verify(2, &|_, _| ()).unwrap(), [], "it is reported once");
    assert_eq!(files_below(&folder), [folder.join("partial"), folder.join("step-1.checkpoint")]);
}

#[test]
fn a_rebuilt_index_gives_the_same_results() {
    let home = Home::new();
    let made: Vec<Entry> = (0..4).map(|number| recall_toy(&home.store, number).0).collect();
    assert_eq!(home.store.rebuild_index(2, &|_, _| ()).unwrap(), []);
    let home = home.reopened();
    for (number, entry) in (0..).zip(made) {
        assert_eq!(recall_toy(&home.store, number), (entry, Recall::Reused));
    }
}

#[test]
fn sizes_count_each_blob_once() {
    let home = Home::new();
    let (toy, _) = recall_toy(&home.store, 1);
    let outside = home.folder.path().join("outside");
    fs::write(&outside, "12345").unwrap();
    let joined = Recipe { kind: "joined".to_string(), ..recipe(2) };
    home.store
        .recall(&joined, &RecallPolicy::new(&never), |draft| {
            draft.adopt("a", &toy.artifact.0["big"]);
            draft.adopt("b", &toy.artifact.0["big"]);
            draft.adopt("c", &home.store.refer(&outside)?);
            Ok::<_, Error>((Value::Null, vec![]))
        })
        .unwrap();
    let size = home.store.size().unwrap();
    assert_eq!(size.blobs, FileCount { files: 2, bytes: 10_007 });
    assert_eq!(size.kinds["toy"].kept, size.blobs);
    assert_eq!(size.kinds["joined"].kept, FileCount { files: 1, bytes: 10_000 });
    assert_eq!(size.kinds["joined"].referenced, FileCount { files: 1, bytes: 5 });
    assert_eq!(
        (size.entries.files, size.unnamed.files, size.bad.files, size.drafts.files),
        (2, 0, 0, 0)
    );
    home.store.forget(&toy.fingerprint).unwrap();
    assert_eq!(home.store.size().unwrap().unnamed, FileCount { files: 1, bytes: 7 });
}
