//! Many at once: threads and processes on one store make everything once.

use super::*;
use std::collections::BTreeMap;

fn makings(home: &Home) -> BTreeMap<u32, usize> {
    let mut counts = BTreeMap::new();
    for line in fs::read_to_string(home.root().with_extension("log")).unwrap().lines() {
        *counts.entry(line.parse().unwrap()).or_default() += 1;
    }
    counts
}

fn assert_all_once(home: &Home) {
    let expected: BTreeMap<u32, usize> =
        (0..children::CROWD_RECIPES).map(|number| (number, 1)).collect();
    assert_eq!(makings(home), expected);
    assert_eq!(files_below(&home.root().join("drafts")), [] as [PathBuf; 0]);
}

#[test]
fn eight_threads_make_each_thing_once() {
    let home = Home::new();
    let root = home.root();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| children::crowd(&home.store, &root));
        }
    });
    assert_all_once(&home);
}

#[test]
fn four_processes_that_start_on_no_store_at_all_make_each_thing_once() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("store-v1");
    let crowd: Vec<_> =
        (0..4).map(|_| children::command("crowd", &root).spawn().unwrap()).collect();
    for child in crowd {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
    let home = Home { store: Store::open(&root).unwrap(), folder };
    assert_all_once(&home);
    (0..children::CROWD_RECIPES)
        .for_each(|number| assert_eq!(recall_toy(&home.store, number).1, Recall::Reused));
}

#[test]
fn a_claim_is_one_makers_even_among_threads_of_one_process() {
    let home = Home::new();
    let fingerprint = recipe(1).fingerprint();
    let claim = home.store.claim(fingerprint).unwrap().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| assert!(home.store.claim(fingerprint).unwrap().is_none()));
    });
    assert!(home.store.claim(recipe(2).fingerprint()).unwrap().is_some());
    drop(claim);
    assert!(home.store.claim(fingerprint).unwrap().is_some());
}

#[test]
fn the_claim_of_a_killed_process_is_free_at_once() {
    let home = Home::new();
    let mut child = children::holding("claim", &home.root());
    assert!(home.store.claim(recipe(1).fingerprint()).unwrap().is_none());
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(home.store.claim(recipe(1).fingerprint()).unwrap().is_some());
}

#[test]
fn the_draft_of_a_killed_process_goes_when_the_store_is_opened_and_that_of_a_living_one_stays() {
    let home = Home::new();
    let mut child = children::holding("draft", &home.root());
    let drafts = home.root().join("drafts");
    let own = home.store.draft().unwrap();
    Store::open(&home.root()).unwrap();
    assert_eq!(files_below(&drafts).len(), 2, "somebody is still writing them");
    assert!(own.folder().exists());
    child.kill().unwrap();
    child.wait().unwrap();
    Store::open(&home.root()).unwrap();
    assert_eq!(files_below(&drafts), [] as [PathBuf; 0]);
    assert!(own.folder().exists());
}

#[test]
fn a_crowd_of_which_half_is_killed_ends_with_everything_made_and_sound() {
    for delay_ms in [30, 60, 90, 150, 250] {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("store-v1");
        let mut crowd: Vec<_> =
            (0..6).map(|_| children::command("crowd", &root).spawn().unwrap()).collect();
        std::thread::sleep(std::time::Duration::from_millis(delay_ms));
        for (number, mut child) in crowd.drain(..).enumerate() {
            match number % 2 {
                0 => child.kill().and_then(|()| child.wait()).map(drop).unwrap(),
                _ => assert!(
                    child.wait_with_output().unwrap().status.success(),
                    "killed others at {delay_ms} ms"
                ),
            }
        }
        let home = Home { store: Store::open(&root).unwrap(), folder };
        (0..children::CROWD_RECIPES).for_each(|number| {
            let (entry, recall) = recall_toy(&home.store, number);
            assert_eq!(recall, Recall::Reused);
            assert_toy(&home.store, &entry, number);
        });
        assert_eq!(home.store.verify(2, &|_, _| ()).unwrap(), []);
        assert_eq!(files_below(&root.join("drafts")), [] as [PathBuf; 0]);
        assert!(
            makings(&home).values().all(|count| *count <= 4),
            "at most once more for each process killed"
        );
    }
}

#[test]
fn a_write_that_the_disk_refuses_is_an_error_that_publishes_nothing() {
    let home = Home::new();
    let output = children::command("cramped", &home.root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(home.store.get(&[recipe(1).fingerprint()]).unwrap(), [None]);
    assert_eq!(files_below(&home.root().join("drafts")), [] as [PathBuf; 0]);
    assert_eq!(recall_toy(&home.store, 1).1, Recall::Made);
}

#[test]
fn the_draft_of_another_host_or_mount_is_left_alone_until_it_is_old() {
    let home = Home::new();
    let drafts = home.root().join("drafts");
    // Nobody here holds these: one of a place that is not ours, one of a program of before.
    let foreign = [drafts.join("77-00000000000000aa-0123456789abcdef"), drafts.join("77-00bb")];
    for draft in &foreign {
        fs::create_dir_all(draft.join("files/deep")).unwrap();
        fs::write(draft.join("files/deep/a"), b"half").unwrap();
    }
    let age = |path: &Path, days: u64| {
        let time = std::time::SystemTime::now() - std::time::Duration::from_secs(days * 86400);
        fs::File::open(path).unwrap().set_modified(time).unwrap();
    };
    for draft in &foreign {
        ["files/deep", "files", ""].iter().for_each(|part| age(&draft.join(part), 8));
    }
    Store::open(&home.root()).unwrap();
    assert!(foreign.iter().all(|draft| draft.exists()), "its newest file is young");
    foreign.iter().for_each(|draft| age(&draft.join("files/deep/a"), 8));
    Store::open(&home.root()).unwrap();
    assert!(!foreign.iter().any(|draft| draft.exists()));
}

#[test]
fn a_draft_whose_folder_was_removed_and_made_again_is_not_published() {
    let home = Home::new();
    let folder = std::sync::Mutex::new(PathBuf::new());
    let make = |draft: &Draft| {
        fs::write(draft.folder().join("first"), b"1").unwrap();
        fs::remove_dir_all(draft.folder()).unwrap();
        fs::create_dir_all(draft.folder()).unwrap();
        fs::write(draft.folder().join("second"), b"2").unwrap();
        *folder.lock().unwrap() = draft.folder().to_path_buf();
        Ok::<_, Error>((Value::Null, vec![]))
    };
    let error = home.store.recall(&recipe(1), &RecallPolicy::new(&never), make).unwrap_err();
    assert!(error.to_string().contains("was removed while it was written"), "{error}");
    assert!(home.store.get(&[recipe(1).fingerprint()]).unwrap()[0].is_none());
    assert!(!folder.lock().unwrap().exists());
}
