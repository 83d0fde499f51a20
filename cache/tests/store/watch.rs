//! A person's own files that are watched while something is made of them.

use super::Home;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use voxflow_cache::{Digest, Error, FileStat, FilesCheck, OwnFile, Watch};

fn written(home: &Home, name: &str, text: &str) -> PathBuf {
    let path = home.folder.path().join(name);
    fs::write(&path, text).unwrap();
    path
}

fn watch<'h>(home: &'h Home, path: &Path, text: &str) -> Result<Watch<'h>, Error> {
    home.store.watch(vec![OwnFile::new(path, Digest::of(text.as_bytes()))])
}

#[test]
fn a_file_that_is_left_alone_is_unchanged() {
    let home = Home::new();
    let path = written(&home, "a", "one");
    let watched = watch(&home, &path, "one").unwrap();
    assert_eq!(watched.look_again().unwrap(), FilesCheck::Unchanged);
    let blob = home.store.refer(&path).unwrap();
    let watched = home.store.watch(OwnFile::of(&blob).into_iter().collect()).unwrap();
    assert_eq!(watched.look_again().unwrap(), FilesCheck::Unchanged);
}

#[test]
fn another_content_is_an_error_before_and_after() {
    let home = Home::new();
    let path = written(&home, "a", "one");
    let error = watch(&home, &path, "two").err().expect("refused").to_string();
    assert!(error.contains("a: was changed during the run"), "{error}");
    let watched = watch(&home, &path, "one").unwrap();
    written(&home, "a", "two");
    let error = watched.look_again().unwrap_err();
    assert!(matches!(error, Error::Changed { .. }) && !error.is_storage(), "{error}");
    let watched = watch(&home, &path, "two").unwrap();
    fs::remove_file(&path).unwrap();
    assert!(watched.look_again().unwrap_err().to_string().contains("is gone"));
    assert!(watch(&home, &path, "two").err().expect("refused").to_string().contains("is gone"));
}

#[test]
fn a_file_that_was_written_and_put_back_was_touched() {
    let home = Home::new();
    let path = written(&home, "a", "one");
    let kept = home.folder.path().join("kept");
    fs::copy(&path, &kept).unwrap();
    let watched = watch(&home, &path, "one").unwrap();
    // In place, with the old time of change; and by another file's name.
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    wait_for_the_clock(&path);
    written(&home, "a", "two");
    written(&home, "a", "one");
    fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
    assert_eq!(watched.look_again().unwrap(), FilesCheck::Touched(path.clone()));
    let watched = watch(&home, &path, "one").unwrap();
    fs::rename(&kept, &path).unwrap();
    assert_eq!(watched.look_again().unwrap(), FilesCheck::Touched(path));
}

/// Returns once a change would have another time than the file has.
fn wait_for_the_clock(path: &Path) {
    let stat = FileStat::of(path).unwrap().unwrap();
    let probe = path.with_extension("probe");
    loop {
        fs::write(&probe, "x").unwrap();
        if FileStat::of(&probe).unwrap().unwrap().ctime_ns > stat.ctime_ns {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
#[allow(clippy::print_stderr)] // a test that is skipped says so
fn a_change_that_leaves_the_stat_as_it_was_is_found_by_the_bytes() {
    let home = Home::new();
    let path = written(&home, "a", "one");
    for _ in 0..1000 {
        written(&home, "a", "one");
        let watched = watch(&home, &path, "one").unwrap();
        let blob = home.store.refer(&path).unwrap();
        let before = FileStat::of(&path).unwrap();
        written(&home, "a", "two");
        if FileStat::of(&path).unwrap() != before {
            continue;
        }
        assert!(matches!(watched.look_again(), Err(Error::Changed { .. })));
        let artifact = voxflow_cache::Artifact([("a".to_string(), blob)].into());
        assert_eq!(home.store.usable(&artifact).unwrap(), ["a"], "nor is the reference believed");
        return;
    }
    eprintln!("skipped: the clock of this file system is too fine for two writes at one time");
}

#[test]
fn a_reference_to_a_file_at_rest_is_believed_by_its_stat() {
    let home = Home::new();
    let path = written(&home, "a", "one");
    assert!(home.store.refer(&path).unwrap().reference.unwrap().fresh);
    let old = SystemTime::now() - Duration::from_secs(60);
    fs::File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
    std::thread::sleep(Duration::from_millis(2100));
    assert!(!home.store.refer(&path).unwrap().reference.unwrap().fresh);
}
