//! The store kept in order through the program: what takes space, what is damaged, what may go, and
//! that a run afterwards makes again only what went.

mod lab;

use lab::{Lab, TINY};
use std::fs;
use std::path::PathBuf;

/// The files below a folder of the store.
fn stored(lab: &Lab, below: &str) -> Vec<PathBuf> {
    let fans = fs::read_dir(lab.path(".voxflow/store-v1").join(below)).unwrap();
    let mut files: Vec<PathBuf> = fans
        .flat_map(|fan| fs::read_dir(fan.unwrap().path()).unwrap())
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    files
}

fn json(lab: &Lab, arguments: &[&str]) -> Vec<serde_json::Value> {
    let shown = lab.voxflow(&[arguments, &["--format", "json"]].concat());
    assert_eq!(shown.code, 0, "{}", shown.err);
    serde_json::from_str(&shown.out).unwrap()
}

fn bytes(rows: &[serde_json::Value], of: &str, name: &str) -> u64 {
    let row =
        rows.iter().find(|row| row["of"] == of && row["name"].as_str().unwrap().contains(name));
    row.unwrap_or_else(|| panic!("no row {of} {name}"))["bytes"].as_u64().unwrap()
}

#[test]
fn size_tells_what_takes_space_and_what_could_go() {
    let lab = Lab::new();
    let first = lab.run(TINY, &[], 0);
    lab.run(TINY, &["--set", "volumes.spacing=[16, 16, 16]"], 0);
    let rows = json(&lab, &["cache", "size"]);
    let all = bytes(&rows, "store", "all blobs");
    assert!(bytes(&rows, "kind", "synthesize") > 0 && bytes(&rows, "kind", "preprocess") > 0);
    assert_eq!(bytes(&rows, "workflow", "tiny"), all);
    assert_eq!(bytes(&rows, "could go", "of no run"), 0);
    fs::remove_dir_all(&first.folder).unwrap();
    let rows = json(&lab, &["cache", "size"]);
    let free = bytes(&rows, "could go", "of no run");
    assert!(free > 0 && free < all, "the volumes of the first spacing are of no run now");
    assert_eq!(free + bytes(&rows, "workflow", "tiny"), all);
}

#[test]
fn gc_keeps_the_newest_run_and_a_run_after_it_makes_only_what_went() {
    let lab = Lab::new();
    let old = lab.run(TINY, &["--set", "volumes.spacing=[16, 16, 16]"], 0);
    lab.run(TINY, &[], 0);
    let before = stored(&lab, "blobs").len();
    let would = lab.voxflow(&["cache", "gc", "--keep-runs", "1", "--dry-run"]);
    assert!(would.err.contains("would go"), "{}", would.err);
    assert_eq!(stored(&lab, "blobs").len(), before);
    let shown = lab.voxflow(&["cache", "gc", "--keep-runs", "1"]);
    assert_eq!((shown.code, &shown.out), (0, &would.out), "{}", shown.err);
    assert!(stored(&lab, "blobs").len() < before);
    let again = lab.run(TINY, &[], 0);
    assert_eq!(again.made(), [] as [&str; 0], "the kept run's things stay");
    let back = lab.run(TINY, &["--set", "volumes.spacing=[16, 16, 16]"], 0);
    assert_eq!(back.made(), ["volumes", "cache"]);
    assert_eq!(back.items("volumes"), (7, 0));
    assert_eq!(back.stage("cache")["digest"], old.stage("cache")["digest"]);
}

#[test]
fn gc_by_size_and_age_lets_go_of_all_that_no_kept_run_needs() {
    let lab = Lab::new();
    lab.run(TINY, &["--set", "volumes.spacing=[16, 16, 16]"], 0);
    lab.run(TINY, &[], 0);
    assert!(lab.voxflow(&["cache", "gc", "--older-than", "1d"]).err.starts_with("0 B gone"));
    assert!(lab.voxflow(&["cache", "gc", "--max-size", "10GB"]).err.starts_with("0 B gone"));
    let shown = lab.voxflow(&["cache", "gc", "--max-size", "1kB"]);
    assert!(shown.err.contains("more than was asked for"), "{}", shown.err);
    assert_eq!(lab.run(TINY, &[], 0).made(), [] as [&str; 0]);
    lab.voxflow(&["cache", "gc", "--older-than", "0s", "--keep-runs", "0"]);
    assert_eq!((stored(&lab, "blobs").len(), stored(&lab, "entries").len()), (0, 0));
    let shown = lab.voxflow(&["cache", "gc", "--max-size", "20 parsecs"]);
    assert_eq!(shown.code, 2);
    assert!(shown.err.contains("sizes are in B, kB"), "{}", shown.err);
}

#[test]
fn gc_refuses_where_it_cannot_know_what_a_run_needs() {
    let lab = Lab::new();
    let run = lab.run(TINY, &[], 0);
    let before = stored(&lab, "entries");
    fs::write(run.folder.join("run.json"), "{").unwrap();
    let shown = lab.voxflow(&["cache", "gc", "--keep-runs", "1"]);
    assert_eq!(shown.code, 3);
    assert!(shown.err.contains("cannot be known"), "{}", shown.err);
    assert_eq!(stored(&lab, "entries"), before);
}

#[test]
fn verify_sets_a_damaged_file_aside_and_the_next_run_makes_it_again() {
    let lab = Lab::new();
    let first = lab.run(TINY, &[], 0);
    assert!(lab.voxflow(&["cache", "verify"]).err.contains("nothing is damaged"));
    let digest = first.stage("split")["artifact"]["split.json"]["digest"].as_str().unwrap();
    let bad = lab.path(&format!(".voxflow/store-v1/blobs/{}/{digest}", &digest[..2]));
    let mut content = fs::read(&bad).unwrap();
    content[5] ^= 4;
    fs::remove_file(&bad).unwrap();
    fs::write(&bad, content).unwrap();
    let shown = lab.voxflow(&["cache", "verify", "--threads", "2"]);
    assert_eq!(shown.code, 3, "{}", shown.err);
    assert!(
        shown.out.contains(digest) && shown.err.contains("1 bad file set aside"),
        "{}{}",
        shown.out,
        shown.err
    );
    assert_eq!(lab.voxflow(&["cache", "verify"]).code, 0, "it is reported once");
    let again = lab.run(TINY, &["--set", "cache.background_above=0.5"], 0);
    assert_eq!(again.stage("split")["outcome"], "made");
    assert_eq!(again.stage("split")["digest"], first.stage("split")["digest"]);
}

#[test]
fn a_rebuilt_index_changes_nothing() {
    let lab = Lab::new();
    lab.run(TINY, &[], 0);
    let shown = lab.voxflow(&["cache", "rebuild"]);
    assert_eq!(shown.code, 0, "{}", shown.err);
    assert_eq!(lab.run(TINY, &[], 0).made(), [] as [&str; 0]);
    let lab = Lab::new();
    let shown = lab.voxflow(&["cache", "size"]);
    assert_eq!(shown.code, 2);
    assert!(shown.err.contains("no store in '.voxflow/store-v1' yet"), "{}", shown.err);
}
