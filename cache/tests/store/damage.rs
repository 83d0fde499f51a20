//! Damage: what the stat shows is noticed before it is used, and nothing ever changes a result.

use super::*;
use std::time::Duration;
use voxflow_cache::{Artifact, Blob, CheckDepth, FileStat, Presence};

fn only_entry(home: &Home) -> PathBuf {
    files_below(&home.root().join("entries")).remove(0)
}

#[test]
fn a_flipped_bit_anywhere_in_an_entry_makes_it_absent_and_it_is_made_again() {
    let home = Home::new();
    let (entry, _) = recall_toy(&home.store, 1);
    let length = || fs::metadata(only_entry(&home)).unwrap().len() as usize;
    for position in (0..length()).step_by(7).chain([usize::MAX]) {
        // An entry made again may be shorter by a digit of its time.
        flip(&only_entry(&home), position.min(length() - 1));
        assert_eq!(home.store.get(&[entry.fingerprint]).unwrap(), [None], "byte {position}");
        assert!(!home.store.entry_is_there(&entry));
        assert_eq!(recall_toy(&home.store, 1).1, Recall::Made);
    }
}

trait EntryIsThere {
    fn entry_is_there(&self, entry: &Entry) -> bool;
}

impl EntryIsThere for Store {
    fn entry_is_there(&self, entry: &Entry) -> bool {
        files_below(&self.root().join("entries"))
            .iter()
            .any(|path| path.to_string_lossy().contains(&entry.fingerprint.to_hex()))
    }
}

#[test]
fn a_truncated_or_empty_entry_is_absent() {
    let home = Home::new();
    let (entry, _) = recall_toy(&home.store, 1);
    let path = only_entry(&home);
    let text = fs::read(&path).unwrap();
    for length in [0, 1, 50, 85, 86, text.len() - 2, text.len() - 1] {
        fs::write(&path, &text[..length]).unwrap();
        assert_eq!(home.store.get(&[entry.fingerprint]).unwrap(), [None], "{length} bytes");
    }
    fs::write(&path, &text).unwrap();
    assert_eq!(home.store.get(&[entry.fingerprint]).unwrap(), [Some(entry)]);
}

#[test]
fn an_entry_under_another_name_is_not_believed() {
    let home = Home::new();
    recall_toy(&home.store, 1);
    let (second, _) = recall_toy(&home.store, 2);
    let paths = files_below(&home.root().join("entries"));
    let (mine, other): (Vec<_>, Vec<_>) = paths
        .into_iter()
        .partition(|path| path.to_string_lossy().contains(&second.fingerprint.to_hex()));
    fs::copy(&other[0], &mine[0]).unwrap();
    assert_eq!(home.store.get(&[second.fingerprint]).unwrap(), [None]);
}

#[test]
fn a_flipped_bit_in_a_blob_is_noticed_by_its_stat_and_the_blob_is_made_again() {
    for reopen in [false, true] {
        let mut home = Home::new();
        let (entry, _) = recall_toy(&home.store, 1);
        if reopen {
            home = home.reopened();
        }
        flip(&home.store.path(&entry.artifact.0["big"]), 4000);
        assert_eq!(home.store.usable(&entry.artifact).unwrap(), ["big"]);
        assert_eq!(files_below(&home.root().join("bad")).len(), 1);
        let (again, recall) = recall_toy(&home.store, 1);
        assert_eq!(recall, Recall::Made);
        assert_toy(&home.store, &again, 1);
    }
}

#[test]
fn a_truncated_blob_is_noticed() {
    let home = Home::new();
    let (entry, _) = recall_toy(&home.store, 1);
    let path = home.store.path(&entry.artifact.0["big"]);
    fs::remove_file(&path).unwrap();
    fs::write(&path, "1 1 1").unwrap();
    assert_eq!(home.store.usable(&entry.artifact).unwrap(), ["big"]);
}

#[test]
fn a_blob_that_was_only_touched_is_read_and_found_good() {
    let home = Home::new();
    let (entry, _) = recall_toy(&home.store, 1);
    let path = home.store.path(&entry.artifact.0["big"]);
    let text = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(&path, text).unwrap();
    assert_eq!(home.store.usable(&entry.artifact).unwrap(), [] as [&str; 0]);
    assert_eq!(recall_toy(&home.store, 1).1, Recall::Reused);
}

#[test]
fn rot_that_no_stat_shows_is_found_by_reading_when_asked() {
    let home = Home::new();
    let (entry, _) = recall_toy(&home.store, 1);
    let path = home.store.path(&entry.artifact.0["big"]);
    // Silent rot: the index believes in a content that is not there.
    let home = home.reopened();
    flip(&path, 9);
    let policy = RecallPolicy { verify: true, ..RecallPolicy::new(&never) };
    let (again, recall) =
        home.store.recall(&recipe(1), &policy, |draft| make_toy(draft, 1)).unwrap();
    assert_eq!(recall, Recall::Made);
    assert_toy(&home.store, &again, 1);
}

#[test]
fn a_referenced_file_stays_where_it_is_and_is_missing_once_changed() {
    let home = Home::new();
    let file = home.folder.path().join("archive.tar");
    fs::write(&file, "archive").unwrap();
    let blob: Blob = home.store.refer(&file).unwrap();
    let make = |draft: &Draft| {
        draft.adopt("archive", &home.store.refer(&file)?);
        Ok::<_, Error>((Value::Null, vec![]))
    };
    let (entry, _) = home.store.recall(&recipe(1), &RecallPolicy::new(&never), make).unwrap();
    assert_eq!(entry.artifact.0["archive"], blob);
    assert_eq!(home.store.path(&blob), file);
    assert_eq!(files_below(&home.root().join("blobs")), [] as [PathBuf; 0]);
    assert_eq!(
        home.store.recall(&recipe(1), &RecallPolicy::new(&never), make).unwrap().1,
        Recall::Reused
    );

    fs::write(&file, "changed").unwrap();
    assert_eq!(home.store.usable(&entry.artifact).unwrap(), ["archive"]);
    let (again, recall) = home.store.recall(&recipe(1), &RecallPolicy::new(&never), make).unwrap();
    assert_eq!(recall, Recall::Made);
    assert_ne!(again.artifact.digest(), entry.artifact.digest());
    assert_eq!(
        home.store.get(&[entry.fingerprint]).unwrap(),
        [Some(again)],
        "the entry with lost bytes is replaced"
    );

    fs::remove_file(&file).unwrap();
    assert_eq!(home.store.usable(&entry.artifact).unwrap(), ["archive"]);
}

#[test]
fn the_digest_of_an_outside_file_follows_its_content() {
    let home = Home::new();
    let file = home.folder.path().join("image.nii");
    for content in ["one", "two", "333"] {
        fs::write(&file, content).unwrap();
        assert_eq!(
            home.store.digest_of(&file).unwrap(),
            voxflow_cache::Digest::of(content.as_bytes())
        );
    }
    assert!(matches!(
        home.store.digest_of(&home.folder.path().join("none")),
        Err(Error::Outside { .. })
    ));
}

#[test]
fn only_a_file_that_has_settled_is_remembered() {
    let home = Home::new();
    let file = home.folder.path().join("image.nii");
    fs::write(&file, "content").unwrap();
    home.store.digest_of(&file).unwrap();
    home.store.flush();
    assert!(
        !home.root().join("index").exists(),
        "changed a moment ago: it may change again unseen"
    );
    std::thread::sleep(Duration::from_millis(2100));
    home.store.digest_of(&file).unwrap();
    home.store.flush();
    assert!(home.root().join("index").exists());
}

/// Ways to spoil the index while nobody has it open.
fn spoil(index: &Path, way: &str) {
    match way {
        "deleted" => fs::remove_dir_all(index).unwrap(),
        "a file" => {
            fs::remove_dir_all(index).unwrap();
            fs::write(index, "not a folder").unwrap();
        }
        "garbage" => {
            files_below(index).iter().for_each(|path| fs::write(path, [0xa5; 5000]).unwrap())
        }
        "empty files" => files_below(index).iter().for_each(|path| fs::write(path, "").unwrap()),
        way => {
            let position: usize = way.strip_prefix("flipped ").unwrap().parse().unwrap();
            let file = index.join("db");
            let length = fs::metadata(&file).unwrap().len() as usize;
            flip(&file, position % length);
        }
    }
}

#[test]
fn no_state_of_the_index_changes_a_result() {
    let mut ways: Vec<String> =
        ["deleted", "a file", "garbage", "empty files"].map(String::from).to_vec();
    ways.extend((0..24).map(|step| format!("flipped {}", step * 61)));
    for way in ways {
        let home = Home::new();
        let made: Vec<Entry> = (0..3).map(|number| recall_toy(&home.store, number).0).collect();
        let Home { folder, store } = home;
        drop(store);
        let root = folder.path().join("store-v1");
        spoil(&root.join("index"), &way);
        let home = Home { store: Store::open(&root).unwrap(), folder };
        for (number, entry) in (0..).zip(&made) {
            assert_eq!(recall_toy(&home.store, number), (entry.clone(), Recall::Reused), "{way}");
        }
        assert_eq!(recall_toy(&home.store, 9).1, Recall::Made, "{way}");
        let home = home.reopened();
        assert!(home.root().join("index").is_dir(), "{way}");
        assert_eq!(recall_toy(&home.store, 9).1, Recall::Reused, "{way}");
    }
}

#[test]
fn an_index_that_somebody_holds_for_ever_costs_a_moment_and_nothing_else() {
    let home = Home::new();
    recall_toy(&home.store, 1);
    let home = home.reopened();
    let lock = fs::File::open(home.root().join("index.lock")).unwrap();
    lock.lock().unwrap();
    let start = std::time::Instant::now();
    assert_eq!(recall_toy(&home.store, 1).1, Recall::Reused);
    assert_eq!(recall_toy(&home.store, 2).1, Recall::Made);
    drop(home.store);
    assert!(start.elapsed() < Duration::from_secs(4));
}

#[test]
fn a_run_that_makes_nothing_new_opens_the_index_once() {
    let home = Home::new();
    recall_toy(&home.store, 1);
    let home = home.reopened();
    recall_toy(&home.store, 1);
    let lock = fs::File::open(home.root().join("index.lock")).unwrap();
    lock.lock().unwrap();
    let start = std::time::Instant::now();
    recall_toy(&home.store, 1);
    drop(home.store);
    assert!(
        start.elapsed() < Duration::from_millis(500),
        "a second session would wait for the lock"
    );
}

#[test]
fn a_program_without_an_index_sees_the_same_and_makes_none() {
    let home = Home::new();
    let store = Store::open_without_index(&home.root()).unwrap();
    let (entry, _) = recall_toy(&store, 1);
    assert_eq!(recall_toy(&store, 1), (entry, Recall::Reused));
    drop(store);
    assert!(!home.root().join("index").exists());
}

#[test]
fn a_folder_that_cannot_be_written_is_an_error_that_names_it() {
    let home = Home::new();
    fs::remove_dir_all(home.root().join("blobs")).unwrap();
    fs::write(home.root().join("blobs"), "in the way").unwrap();
    let error = home
        .store
        .recall(&recipe(1), &RecallPolicy::new(&never), |draft| make_toy(draft, 1))
        .unwrap_err();
    assert!(
        matches!(&error, Error::Io { path, .. } if path.starts_with(home.root().join("blobs"))),
        "{error}"
    );
}

#[test]
fn a_reference_that_cannot_be_looked_at_is_a_missing_one() {
    let home = Home::new();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("image");
    fs::write(&file, b"voxels").unwrap();
    let mut blob = home.store.refer(&file).unwrap();
    // A link to itself fails as a private folder or a lost mount does, for root as well.
    fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink(&file, &file).unwrap();
    for verify in [false, true] {
        let missing = home.store.presence([("image", &blob)], CheckDepth::of(verify)).unwrap();
        assert_eq!(missing, [("image".to_string(), Presence::Absent)]);
    }
    blob.reference.as_mut().unwrap().path = folder.path().join("a".repeat(300));
    let missing = home.store.presence([("image", &blob)], CheckDepth::Stat).unwrap();
    assert_eq!(missing, [("image".to_string(), Presence::Absent)]);
    assert!(home.store.refer(&file).is_err(), "a person's own file is still an error");
}

#[test]
fn a_change_that_left_the_stat_as_it_was_is_forgotten_once_it_is_read() {
    let home = Home::new();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("label");
    fs::write(&file, b"before").unwrap();
    let mut old = None;
    write_through_a_mapping(&file, b"after!", || {
        std::thread::sleep(Duration::from_millis(2600));
        old = Some(home.store.refer(&file).unwrap());
    });
    let old = old.unwrap();
    if home.store.refer(&file).unwrap().digest != old.digest {
        // This file system shows such a change at once.
        return;
    }
    let moved = home.store.presence([("label", &old)], CheckDepth::Read).unwrap();
    assert_eq!(moved, [("label".to_string(), Presence::Moved)]);
    let new = home.store.refer(&file).unwrap();
    assert_ne!(new.digest, old.digest);
    let again = Store::open(&home.root()).unwrap();
    assert_eq!(again.refer(&file).unwrap().digest, new.digest);
}

#[test]
fn a_file_that_was_touched_moved_away_and_back_or_mounted_elsewhere_is_still_the_same() {
    let home = Home::new();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("image");
    fs::write(&file, b"voxels").unwrap();
    let blob = home.store.refer(&file).unwrap();
    let artifact = Artifact([("image".to_string(), blob.clone())].into());
    let is_there = |store: &Store, artifact: &Artifact| {
        let unusable = store.usable(artifact).unwrap();
        let by_stat = store.presence(artifact.part(""), CheckDepth::Stat).unwrap();
        assert_eq!(by_stat.is_empty(), unusable.is_empty());
        unusable.is_empty()
    };
    assert!(is_there(&home.store, &artifact));
    // The same file system under another number, as after a mount or on another host.
    let mut elsewhere = blob;
    let reference = elsewhere.reference.as_mut().unwrap();
    (reference.stat.device, reference.fresh) = (reference.stat.device + 1, false);
    assert!(is_there(&home.store, &Artifact([("image".to_string(), elsewhere)].into())));
    fs::File::open(&file).unwrap().set_modified(std::time::SystemTime::now()).unwrap();
    fs::copy(&file, folder.path().join("copy")).unwrap();
    fs::rename(folder.path().join("copy"), &file).unwrap();
    assert!(is_there(&home.store, &artifact), "its bytes are the same");
    fs::write(&file, b"VOXELS").unwrap();
    assert!(!is_there(&home.store, &artifact));
    fs::write(&file, b"voxels and more").unwrap();
    assert!(!is_there(&home.store, &artifact));
    fs::remove_file(&file).unwrap();
    assert!(!is_there(&home.store, &artifact));
}

#[test]
fn a_device_counts_only_where_the_times_of_a_file_are_whole_seconds() {
    let stat = |device: u64, nanoseconds: i64| FileStat {
        device,
        inode: 2,
        size: 3,
        mtime_ns: 1_700_000_000_000_000_000 + nanoseconds,
        ctime_ns: 1_700_000_000_000_000_000,
    };
    assert_eq!(stat(1, 5), stat(2, 5));
    // Files of two images of file systems that were made with fixed times.
    assert_ne!(stat(1, 0), stat(2, 0));
    assert_eq!(stat(1, 0), stat(1, 0));
    assert_ne!(stat(1, 5), stat(1, 6));
}

#[test]
fn a_blob_of_the_store_is_lost_where_it_is_gone_or_has_another_size() {
    let home = Home::new();
    let (entry, _) = recall_toy(&home.store, 1);
    let lost = || home.store.presence(entry.artifact.part(""), CheckDepth::Stat).unwrap();
    let found = |presence| vec![("sub/small".to_string(), presence)];
    assert_eq!(lost(), []);
    let path = home.store.path(&entry.artifact.0["sub/small"]);
    let bytes = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    assert_eq!(lost(), found(Presence::Absent));
    fs::write(&path, &bytes[1..]).unwrap();
    assert_eq!(lost(), found(Presence::Damaged));
    fs::write(&path, &bytes).unwrap();
    assert_eq!(lost(), []);
}

/// Overwrites a file's bytes through a mapping whose page is dirty already, as `np.memmap` does:
/// the first write moves the times, the later ones do not. `between` runs after the first.
fn write_through_a_mapping(path: &Path, bytes: &[u8], between: impl FnOnce()) {
    use std::os::fd::AsRawFd;
    let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let (access, null) = (libc::PROT_READ | libc::PROT_WRITE, std::ptr::null_mut());
    // SAFETY: a new mapping of an open file, of the file's length, unmapped below; nothing else in
    // this process maps the file.
    unsafe {
        let fd = file.as_raw_fd();
        let start = libc::mmap(null, bytes.len(), access, libc::MAP_SHARED, fd, 0);
        assert_ne!(start, libc::MAP_FAILED);
        let mapped = start.cast::<u8>();
        mapped.write_volatile(mapped.read_volatile());
        between();
        std::ptr::copy_nonoverlapping(bytes.as_ptr(), mapped, bytes.len());
        libc::munmap(start, bytes.len());
    }
}
