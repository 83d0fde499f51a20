//! Gc: what nobody needs goes, what somebody needs stays, whoever else is at the store.

use super::*;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};
use voxflow_cache::{GcLimits, GcReport};

/// Limits that let nothing go but what no entry names.
fn nothing() -> GcLimits {
    let unfinished_since = SystemTime::UNIX_EPOCH;
    GcLimits {
        unused_since: None,
        max_bytes: None,
        keep: HashSet::new(),
        unfinished_since,
        dry_run: false,
    }
}

/// Limits that let everything go.
fn everything() -> GcLimits {
    let later = SystemTime::now() + Duration::from_secs(3600);
    GcLimits { unused_since: Some(later), unfinished_since: later, ..nothing() }
}

/// A stage that names the toys `items` as its items and adopts the first file of each.
fn recall_stage(store: &Store, number: u32, items: &[u32]) -> (Entry, Recall) {
    let stage = Recipe { kind: "stage".to_string(), ..recipe(number) };
    let make = |draft: &Draft| {
        let items: Vec<Entry> = items.iter().map(|item| recall_toy(store, *item).0).collect();
        items
            .iter()
            .for_each(|item| draft.adopt(&item.fingerprint.short(), &item.artifact.0["big"]));
        Ok::<_, Error>((Value::Null, items.iter().map(|item| item.fingerprint).collect()))
    };
    store.recall(&stage, &RecallPolicy::new(&never), make).unwrap()
}

fn last_used(home: &Home, entry: &Entry, hours_ago: u64) {
    let mut paths = files_below(&home.root().join("entries")).into_iter();
    let path =
        paths.find(|path| path.to_string_lossy().contains(&entry.fingerprint.to_hex())).unwrap();
    let time = SystemTime::now() - Duration::from_secs(hours_ago * 3600);
    fs::OpenOptions::new().write(true).open(path).unwrap().set_modified(time).unwrap();
}

fn entries(home: &Home) -> usize {
    files_below(&home.root().join("entries")).len()
}

fn blobs(home: &Home) -> usize {
    files_below(&home.root().join("blobs")).len()
}

fn kind(gone: &GcReport, kind: &str) -> u64 {
    gone.kinds.get(kind).map_or(0, |count| count.files)
}

#[test]
fn without_limits_only_what_no_entry_names_goes() {
    let home = Home::new();
    let (first, _) = recall_toy(&home.store, 1);
    recall_toy(&home.store, 2);
    home.store.forget(&first.fingerprint).unwrap();
    let gone = home.store.collect(&nothing()).unwrap();
    assert_eq!((gone.unnamed.files, gone.unnamed.bytes, kind(&gone, "toy")), (2, 10_007, 0));
    assert_eq!((entries(&home), blobs(&home)), (1, 2));
    assert_eq!(recall_toy(&home.store, 2).1, Recall::Reused);
    assert_eq!(
        home.store.collect(&nothing()).unwrap().bytes(),
        0,
        "the second time nothing is left to do"
    );
}

#[test]
fn a_dry_run_says_the_same_and_removes_nothing() {
    let home = Home::new();
    recall_stage(&home.store, 9, &[1, 2, 3]);
    let said = home.store.collect(&GcLimits { dry_run: true, ..everything() }).unwrap();
    assert_eq!((entries(&home), blobs(&home)), (4, 6));
    assert_eq!(home.store.collect(&everything()).unwrap(), said);
    assert_eq!((entries(&home), blobs(&home)), (0, 0));
}

#[test]
fn what_was_used_longest_ago_goes_until_the_rest_fits() {
    let home = Home::new();
    for number in 0..5u32 {
        let (entry, _) = recall_toy(&home.store, number);
        last_used(&home, &entry, 10 - u64::from(number));
    }
    let limits = GcLimits { max_bytes: Some(25_000), ..nothing() };
    let gone = home.store.collect(&limits).unwrap();
    assert_eq!((kind(&gone, "toy"), gone.left), (3, 20_014));
    let reused: Vec<bool> =
        (0..5).map(|number| recall_toy(&home.store, number).1 == Recall::Reused).collect();
    assert_eq!(reused, [false, false, false, true, true], "only what went is made again");
}

#[test]
fn what_was_not_used_for_long_goes_and_an_item_counts_as_used_when_its_stage_was() {
    let home = Home::new();
    let (stage, _) = recall_stage(&home.store, 9, &[1]);
    let (item, other) = (recall_toy(&home.store, 1).0, recall_toy(&home.store, 2).0);
    last_used(&home, &item, 100);
    last_used(&home, &other, 100);
    let day = SystemTime::now() - Duration::from_secs(86_400);
    let gone = home.store.collect(&GcLimits { unused_since: Some(day), ..nothing() }).unwrap();
    assert_eq!((kind(&gone, "toy"), kind(&gone, "stage")), (1, 0));
    let there = home.store.get(&[stage.fingerprint, item.fingerprint, other.fingerprint]).unwrap();
    assert_eq!(there.iter().map(Option::is_some).collect::<Vec<_>>(), [true, true, false]);
}

#[test]
fn what_is_kept_stays_with_its_items_and_their_bytes() {
    let home = Home::new();
    let (stage, _) = recall_stage(&home.store, 9, &[1, 2]);
    recall_stage(&home.store, 8, &[2, 3]);
    let keep = HashSet::from([stage.fingerprint]);
    let gone = home.store.collect(&GcLimits { keep, ..everything() }).unwrap();
    assert_eq!((kind(&gone, "stage"), kind(&gone, "toy")), (1, 1));
    assert_eq!(home.store.usable(&stage.artifact).unwrap(), [] as [&str; 0]);
    for number in [1, 2] {
        assert_eq!(recall_toy(&home.store, number).1, Recall::Reused);
    }
    assert_eq!(recall_toy(&home.store, 3).1, Recall::Made);
}

#[test]
fn bytes_that_two_name_go_with_the_last() {
    let home = Home::new();
    let (stage, _) = recall_stage(&home.store, 9, &[1]);
    let (item, _) = recall_toy(&home.store, 1);
    home.store.forget(&item.fingerprint).unwrap();
    home.store.collect(&nothing()).unwrap();
    assert_eq!(
        home.store.usable(&stage.artifact).unwrap(),
        [] as [&str; 0],
        "the stage still names its bytes"
    );
    assert_eq!(blobs(&home), 1);
}

#[test]
fn what_a_living_store_recalled_stays_until_it_is_closed() {
    let home = Home::new();
    recall_toy(&home.store, 1);
    recall_toy(&home.store, 2);
    let living = Store::open(&home.root()).unwrap();
    living.hold().unwrap();
    recall_toy(&living, 1);
    recall_toy(&living, 3);
    let gone = home.store.collect(&everything()).unwrap();
    assert_eq!(kind(&gone, "toy"), 1, "nobody recalled the second");
    for number in [1, 3] {
        assert_eq!(recall_toy(&home.store, number).1, Recall::Reused);
    }
    drop(living);
    home.store.collect(&everything()).unwrap();
    assert_eq!((entries(&home), blobs(&home)), (0, 0));
    assert_eq!(files_below(&home.root().join("pins")), [] as [PathBuf; 0]);
}

#[test]
fn the_pin_of_a_killed_process_holds_nothing() {
    let home = Home::new();
    let mut child = children::holding("pin", &home.root());
    assert_eq!(home.store.collect(&everything()).unwrap().kinds.len(), 0);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(kind(&home.store.collect(&everything()).unwrap(), "toy"), 1);
    assert_eq!(files_below(&home.root().join("pins")), [] as [PathBuf; 0]);
}

#[test]
fn a_checkpoint_stays_while_it_is_young_or_somebody_is_at_it() {
    let home = Home::new();
    let fingerprint = recipe(1).fingerprint();
    let folder = home.store.unfinished(&fingerprint);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("step-1.checkpoint"), "weights").unwrap();
    let since = SystemTime::now() - Duration::from_secs(86_400);
    assert_eq!(home.store.unfinished_after(since).unwrap(), [fingerprint]);
    assert_eq!(
        home.store
            .collect(&GcLimits { unfinished_since: since, ..everything() })
            .unwrap()
            .unfinished
            .files,
        0
    );
    let claim = home.store.claim(fingerprint).unwrap();
    assert_eq!(home.store.collect(&everything()).unwrap().unfinished.files, 0);
    drop(claim);
    assert_eq!(home.store.collect(&everything()).unwrap().unfinished.files, 1);
    assert!(!folder.exists());
}

#[test]
fn what_was_set_aside_goes() {
    let home = Home::new();
    let (entry, _) = recall_toy(&home.store, 1);
    flip(&home.store.path(&entry.artifact.0["big"]), 7);
    home.store.usable(&entry.artifact).unwrap();
    let gone = home.store.collect(&nothing()).unwrap();
    assert_eq!((gone.bad.files, gone.bad.bytes), (1, 10_000));
    assert_eq!(files_below(&home.root().join("bad")), [] as [PathBuf; 0]);
}

#[test]
fn a_pin_of_another_host_counts_without_its_lock_until_it_is_a_day_old() {
    let home = Home::new();
    let (entry, _) = recall_toy(&home.store, 1);
    let pins = home.root().join("pins");
    let pin = |name: &str, age: Duration| {
        fs::create_dir_all(&pins).unwrap();
        fs::write(pins.join(name), entry.fingerprint.as_bytes()).unwrap();
        let file = fs::File::options().write(true).open(pins.join(name)).unwrap();
        file.set_modified(std::time::SystemTime::now() - age).unwrap();
    };
    let (hour, day) = (Duration::from_secs(3600), Duration::from_secs(86400));
    let is_there = || home.store.get(&[entry.fingerprint]).unwrap()[0].is_some();
    pin("00000000000000aa-0123456789abcdef", 20 * hour);
    home.store.collect(&everything()).unwrap();
    assert!(is_there() && files_below(&pins).len() == 1);
    // One whose last beat is too long ago, and one of a program of before, which wrote no place.
    pin("00000000000000aa-0123456789abcdef", day + hour);
    pin("00000000000000bb", hour);
    home.store.collect(&everything()).unwrap();
    assert!(!is_there() && files_below(&pins).is_empty());
}

/// Everything may go at any moment, but for what the publishers and readers, who hold pins, just
/// got: that must be readable for as long as they live.
#[test]
fn publishers_and_readers_are_never_robbed_by_a_gc_beside_them() {
    let home = Home::new();
    let root = home.root();
    let over = AtomicBool::new(false);
    let (collected, made) = std::thread::scope(|scope| {
        let collector = scope.spawn(|| {
            let store = Store::open(&root).unwrap();
            let mut collected = 0;
            while !over.load(Ordering::SeqCst) {
                collected += kind(&store.collect(&everything()).unwrap(), "toy");
            }
            collected
        });
        let users: Vec<_> = (0..3)
            .map(|user| {
                scope.spawn({
                    let root = &root;
                    move || use_store(root, user)
                })
            })
            .collect();
        let made: u64 = users.into_iter().map(|user| user.join().unwrap()).sum();
        over.store(true, Ordering::SeqCst);
        (collector.join().unwrap(), made)
    });
    assert!(collected > 0 && made > 0, "{collected} collected, {made} made: nobody raced");
    assert_eq!(home.store.verify(2, &|_, _| ()).unwrap(), []);
}

/// Opens the store again and again as short-lived programs do, recalls, and reads it all at the
/// end.
fn use_store(root: &Path, user: u32) -> u64 {
    let mut made = 0;
    for round in 0..12 {
        let store = Store::open(root).unwrap();
        store.hold().unwrap();
        let numbers: Vec<u32> = (0..4).map(|step| (round + step * (user + 1)) % 6).collect();
        let got: Vec<(u32, Entry)> = numbers
            .into_iter()
            .map(|number| {
                let (entry, recall) = recall_toy(&store, number);
                made += u64::from(recall == Recall::Made);
                (number, entry)
            })
            .collect();
        let (stage, _) = recall_stage(&store, 100 + user, &[round % 6]);
        assert_eq!(store.usable(&stage.artifact).unwrap(), [] as [&str; 0]);
        got.iter().for_each(|(number, entry)| assert_toy(&store, entry, *number));
    }
    made
}

#[test]
fn a_gc_that_is_killed_leaves_a_true_store() {
    for delay_ms in [5, 15, 30, 60] {
        let home = Home::new();
        (0..40).for_each(|number| drop(recall_toy(&home.store, number)));
        let mut child = children::command("gc", &home.root()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(delay_ms));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(home.store.verify(2, &|_, _| ()).unwrap(), []);
        (0..40)
            .for_each(|number| assert_toy(&home.store, &recall_toy(&home.store, number).0, number));
    }
}

/// Everything, for a process of its own.
pub fn collect_everything(store: &Store) {
    store.collect(&everything()).unwrap();
}
