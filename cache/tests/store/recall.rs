//! Recalling: made once, reused ever after; nothing half-made is ever seen.

use super::*;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::{Duration, Instant};
use voxflow_cache::{Artifact, Digest, NewEntry};

#[test]
fn what_was_made_once_is_reused_here_and_by_another_process() {
    let home = Home::new();
    let (first, recall) = recall_toy(&home.store, 7);
    assert_eq!(recall, Recall::Made);
    assert_toy(&home.store, &first, 7);
    assert_eq!(recall_toy(&home.store, 7), (first.clone(), Recall::Reused));
    let home = home.reopened();
    assert_eq!(recall_toy(&home.store, 7), (first, Recall::Reused));
}

#[test]
fn another_recipe_is_made_beside_the_first() {
    let home = Home::new();
    recall_toy(&home.store, 1);
    assert_eq!(recall_toy(&home.store, 2).1, Recall::Made);
    assert_eq!(recall_toy(&home.store, 1).1, Recall::Reused);
    let found = home
        .store
        .get(&[recipe(2).fingerprint(), recipe(3).fingerprint(), recipe(1).fingerprint()])
        .unwrap();
    assert_eq!(found.iter().map(Option::is_some).collect::<Vec<_>>(), [true, false, true]);
}

#[test]
fn blobs_are_read_only_and_named_by_their_content() {
    let home = Home::new();
    recall_toy(&home.store, 1);
    let blobs = files_below(&home.root().join("blobs"));
    assert_eq!(blobs.len(), 2);
    for path in blobs {
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o444);
        assert_eq!(
            path.file_name().unwrap().to_str().unwrap(),
            Digest::of_file(&path).unwrap().to_hex()
        );
    }
}

#[test]
fn a_making_that_fails_leaves_nothing_and_passes_its_error_on() {
    let home = Home::new();
    let failed = home.store.recall(&recipe(1), &RecallPolicy::new(&never), |draft| {
        make_toy(draft, 1)?;
        Err(Error::Other("no voxels".to_string()))
    });
    assert_eq!(failed.unwrap_err().to_string(), "no voxels");
    assert_eq!(files_below(&home.root().join("drafts")), [] as [PathBuf; 0]);
    assert_eq!(files_below(&home.root().join("blobs")), [] as [PathBuf; 0]);
    assert_eq!(recall_toy(&home.store, 1).1, Recall::Made);
}

fn made(record: Value) -> NewEntry {
    let adopted = Artifact::default();
    NewEntry { recipe: recipe(1), record, items: vec![], seconds: 1.0, adopted }
}

#[test]
fn of_two_makers_the_first_wins_and_the_other_gets_what_the_first_made() {
    let home = Home::new();
    let publish = |content: &str, record: Value| {
        let draft = home.store.draft().unwrap();
        fs::write(draft.folder().join("file"), content).unwrap();
        home.store.publish(draft, made(record)).unwrap()
    };
    let first = publish("first", json!(1));
    assert_eq!(publish("second", json!(2)), first);
    assert_eq!(fs::read_to_string(home.store.path(&first.artifact.0["file"])).unwrap(), "first");
    assert_eq!(files_below(&home.root().join("drafts")), [] as [PathBuf; 0]);
}

#[test]
fn what_was_made_without_its_blobs_is_made_again() {
    let home = Home::new();
    let (first, _) = recall_toy(&home.store, 1);
    fs::remove_file(home.store.path(&first.artifact.0["big"])).unwrap();
    assert_eq!(
        home.store.get(&[first.fingerprint]).unwrap(),
        [Some(first.clone())],
        "an entry outlives its blobs"
    );
    assert_eq!(home.store.usable(&first.artifact).unwrap(), ["big"]);
    let (again, recall) = recall_toy(&home.store, 1);
    assert_eq!(recall, Recall::Made);
    assert_toy(&home.store, &again, 1);
    assert_eq!(recall_toy(&home.store, 1).1, Recall::Reused);
}

#[test]
fn an_adopted_blob_is_not_copied() {
    let home = Home::new();
    let (toy, _) = recall_toy(&home.store, 1);
    let (joined, _) = home
        .store
        .recall(&recipe(2), &RecallPolicy::new(&never), |draft| {
            fs::write(draft.folder().join("own"), "own").map_err(Error::io("write", "own"))?;
            draft.adopt("training/big", &toy.artifact.0["big"]);
            Ok::<_, Error>((Value::Null, vec![toy.fingerprint]))
        })
        .unwrap();
    assert_eq!(joined.artifact.0["training/big"], toy.artifact.0["big"]);
    assert_eq!(joined.items, [toy.fingerprint]);
    assert_eq!(files_below(&home.root().join("blobs")).len(), 3);
}

#[test]
fn names_that_leave_the_folder_or_say_two_things_are_refused() {
    let home = Home::new();
    let (toy, _) = recall_toy(&home.store, 1);
    let adopt = |names: [&'static str; 2]| {
        home.store.recall(&recipe(2), &RecallPolicy::new(&never), |draft| {
            draft.adopt(names[0], &toy.artifact.0["big"]);
            draft.adopt(names[1], &toy.artifact.0["sub/small"]);
            Ok::<_, Error>((Value::Null, vec![]))
        })
    };
    for names in [["../a", "b"], ["/a", "b"], ["", "b"], ["a//c", "b"], ["a/.", "b"]] {
        assert!(adopt(names).unwrap_err().to_string().contains("is not a name"), "{names:?}");
    }
    assert!(adopt(["same", "same"]).unwrap_err().to_string().contains("made twice"));
    assert!(adopt(["a", "b"]).is_ok());
}

#[test]
fn links_in_a_draft_are_refused() {
    let home = Home::new();
    let outside = home.folder.path().join("outside");
    fs::write(&outside, "a person's own file").unwrap();
    let links: [fn(&Path, &Path) -> std::io::Result<()>; 2] =
        [|from, to| symlink(from, to), |from, to| fs::hard_link(from, to)];
    for link in links {
        let result = home.store.recall(&recipe(1), &RecallPolicy::new(&never), |draft| {
            link(&outside, &draft.folder().join("file")).unwrap();
            Ok::<_, Error>((Value::Null, vec![]))
        });
        assert!(result.unwrap_err().to_string().contains("link"));
    }
    assert!(!outside.metadata().unwrap().permissions().readonly());
}

#[test]
fn equal_contents_are_kept_once() {
    let home = Home::new();
    let (entry, _) = home
        .store
        .recall(&recipe(1), &RecallPolicy::new(&never), |draft| {
            for name in ["a", "b", "c"] {
                fs::write(draft.folder().join(name), "the same").unwrap();
            }
            Ok::<_, Error>((Value::Null, vec![]))
        })
        .unwrap();
    assert_eq!(entry.artifact.0.len(), 3);
    assert_eq!(files_below(&home.root().join("blobs")).len(), 1);
    assert_eq!(home.reopened().store.usable(&entry.artifact).unwrap(), [] as [&str; 0]);
}

#[test]
fn numbers_of_a_record_come_back_to_the_last_bit() {
    let home = Home::new();
    let numbers: Vec<f64> =
        (1..2000).map(|n| f64::from(n).sqrt() / 7.0 * 10f64.powi(n % 40 - 20)).collect();
    let record = json!({ "metrics": numbers });
    let make = |_: &Draft| Ok::<_, Error>((record.clone(), vec![]));
    let (fresh, _) = home.store.recall(&recipe(1), &RecallPolicy::new(&never), make).unwrap();
    let home = home.reopened();
    let reused = home.store.get(&[recipe(1).fingerprint()]).unwrap().remove(0).unwrap();
    assert_eq!(reused, fresh);
    assert_eq!(reused.record, record);
}

#[test]
fn waiting_for_another_maker_ends_when_asked_to_stop() {
    let home = Home::new();
    let _other = home.store.claim(recipe(1).fingerprint()).unwrap().unwrap();
    let (start, stop) = (Instant::now(), Instant::now() + Duration::from_millis(100));
    let late = || Instant::now() > stop;
    let result =
        home.store.recall(&recipe(1), &RecallPolicy::new(&late), |draft| make_toy(draft, 1));
    assert!(matches!(result, Err(Error::Stopped)));
    assert!(start.elapsed() < Duration::from_secs(2));
}

#[test]
fn unfinished_state_lives_until_the_entry_is_published() {
    let home = Home::new();
    let folder = home.store.unfinished(&recipe(1).fingerprint());
    assert!(!folder.exists());
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("epoch-3"), "weights").unwrap();
    let home = home.reopened();
    assert!(folder.join("epoch-3").exists());
    recall_toy(&home.store, 1);
    assert!(!folder.exists());
}

#[test]
fn to_forget_takes_the_entry_its_items_and_its_unfinished_state_and_no_other() {
    let home = Home::new();
    let (item, _) = recall_toy(&home.store, 1);
    let (other, _) = recall_toy(&home.store, 2);
    let make = |_: &Draft| Ok::<_, Error>((Value::Null, vec![item.fingerprint]));
    let (stage, _) = home.store.recall(&recipe(3), &RecallPolicy::new(&never), make).unwrap();
    let folder = home.store.unfinished(&stage.fingerprint);
    fs::create_dir_all(&folder).unwrap();
    home.store.forget(&stage.fingerprint).unwrap();
    let left = home.store.get(&[item.fingerprint, other.fingerprint, stage.fingerprint]).unwrap();
    assert_eq!(left, [None, Some(other), None]);
    assert!(!folder.exists());
    home.store.forget(&recipe(9).fingerprint()).unwrap();
}

#[test]
fn a_look_up_marks_the_entry_as_used() {
    let home = Home::new();
    let (entry, _) = recall_toy(&home.store, 1);
    let path = files_below(&home.root().join("entries")).remove(0);
    let long_ago = std::time::SystemTime::now() - Duration::from_secs(90 * 86_400);
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_modified(long_ago).unwrap();
    let age = || path.metadata().unwrap().modified().unwrap().elapsed().unwrap();
    home.store.entries().for_each(|entry| drop(entry.unwrap()));
    assert!(age() > Duration::from_secs(86_400), "listing is not using");
    home.store.get(&[entry.fingerprint]).unwrap();
    assert!(age() < Duration::from_secs(60));
}

#[test]
fn a_store_of_a_newer_format_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("format"), "voxflow store 2\n").unwrap();
    let error = Store::open(folder.path()).err().unwrap();
    assert!(matches!(error, Error::Newer { .. }), "{error}");
    assert_eq!(files_below(folder.path()).len(), 1);
}

#[test]
fn a_folder_that_holds_something_else_is_not_taken_for_a_store() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("thesis.tex"), "…").unwrap();
    assert!(Store::open(folder.path()).err().unwrap().to_string().contains("not a store"));
    assert_eq!(files_below(folder.path()).len(), 1);
}

#[test]
fn all_entries_are_listed() {
    let home = Home::new();
    let mut made: Vec<Entry> = (0..5).map(|number| recall_toy(&home.store, number).0).collect();
    made.sort_by_key(|entry| entry.fingerprint);
    let listed: Vec<Entry> = home.store.entries().collect::<Result<_, _>>().unwrap();
    assert_eq!(listed, made);
}

#[test]
fn reusing_an_item_costs_far_less_than_a_millisecond() {
    let home = Home::new();
    (0..50).for_each(|number| drop(recall_toy(&home.store, number)));
    let home = home.reopened();
    recall_toy(&home.store, 0);
    let start = Instant::now();
    (0..500).for_each(|step| assert_eq!(recall_toy(&home.store, step % 50).1, Recall::Reused));
    assert!(start.elapsed() < Duration::from_millis(500), "{:?} for 500 items", start.elapsed());
}
