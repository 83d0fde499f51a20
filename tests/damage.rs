//! Every kind of file of a store and its runs, damaged in every way: it is noticed and said in
//! words, or hurts nobody, and what comes out is right. How often is `VOXFLOW_TORTURE_FLIPS`, the
//! seed `VOXFLOW_TORTURE_SEED`.

mod lab;

use lab::chance::Chance;
use lab::cubes::{CUBES, Dataset};
use lab::damage::{Damage, EVERY};
use lab::{Lab, Record, TINY, tally};
use std::fs;
use std::path::{Path, PathBuf};

/// The files of the store, by the folder below it.
const IN_STORE: [&str; 6] = ["blobs", "entries", "index", "claims", "gc.lock", "pins"];

/// The files of a run.
const IN_RUN: [&str; 8] = [
    "run.json",
    "events.jsonl",
    "metrics.parquet",
    "stages.parquet",
    "params.parquet",
    "seal.json",
    "workflow.yaml",
    "resolved.yaml",
];

/// Every file at or below a path, sorted.
fn below(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_path_buf()];
    }
    let inside = fs::read_dir(path).into_iter().flatten().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = inside.flat_map(|path| below(&path)).collect();
    files.sort();
    files
}

/// How often a text says that something is damaged.
fn complaints(words: &str) -> usize {
    words.lines().filter(|line| line.contains("damaged")).count()
}

/// What a run came to: fingerprints and digests of all stages, and all metrics.
fn essence(run: &Record) -> Vec<String> {
    let stages = ["dataset", "split", "volumes", "cache"].map(|stage| {
        let stage = run.stage(stage);
        format!("{} {} {}", stage["stage"], stage["fingerprint"], stage["digest"])
    });
    stages.into_iter().chain(run.sorted_metrics()).collect()
}

/// Damages one file of the store and runs the workflow again: what the run reads is noticed, what
/// it does not read is found by `cache verify`; either way it is told once and the run is right.
fn hurt_store(lab: &Lab, below: &Path, damage: Damage, chance: &mut Chance, expected: &[String]) {
    let files = self::below(below);
    if files.is_empty() {
        return;
    }
    let story =
        format!("{}, seed {}", damage.to(&files[chance.below(files.len())], chance), chance.seed);
    let mut said = 0;
    if chance.below(2) == 0 {
        said += verify(lab, &story);
    }
    let shown = lab.voxflow(&["run", "workflow.yaml", "--verify"]);
    assert_eq!(shown.code, 0, "{story}: {}", shown.err);
    said += complaints(&shown.err) + verify(lab, &story);
    let must = ["blobs", "entries"].iter().any(|name| below.ends_with(name));
    assert_eq!(said, usize::from(must), "how often it was said; {story}: {}", shown.err);
    assert_eq!(essence(&lab.last_run()), expected, "{story}");
    assert_eq!(verify(lab, &story), 0, "{story}");
}

/// How many files `cache verify` finds damaged.
fn verify(lab: &Lab, story: &str) -> usize {
    let shown = lab.voxflow(&["cache", "verify"]);
    let bad = shown.out.lines().count();
    assert_eq!(shown.code, if bad == 0 { 0 } else { 3 }, "{story}: {}{}", shown.out, shown.err);
    bad
}

/// Damages one file of the last run: who reads it says so or shows what was shown before, what is
/// still bad then is found by `cache verify`, once, and the next run is right.
fn hurt_run(lab: &Lab, name: &str, damage: Damage, chance: &mut Chance, expected: &[String]) {
    let run = lab.last_run().folder;
    let id = run.file_name().unwrap().to_string_lossy().into_owned();
    let reader = [["show", id.as_str()], ["report", id.as_str()]][chance.below(2)];
    let before = lab.voxflow(&reader);
    let story = format!("{}, seed {}", damage.to(&run.join(name), chance), chance.seed);
    let after = lab.voxflow(&reader);
    let told = complaints(&after.err);
    match after.code {
        0 => assert_eq!(after.out, before.out, "{story}"),
        _ => assert!(told == 1 && after.err.contains(name), "{story}: {}", after.err),
    }
    let mended = name.ends_with(".parquet") && told == 1;
    assert_eq!(verify(lab, &story), usize::from(!mended), "{story}");
    assert_eq!(verify(lab, &story), 0, "it is reported once; {story}");
    assert_eq!(essence(&lab.run(TINY, &[], 0)), expected, "{story}");
}

#[test]
fn whatever_file_is_damaged_it_is_noticed_or_hurts_nobody_and_the_next_run_is_right() {
    let mut chance = Chance::of_the_environment("VOXFLOW_TORTURE_SEED");
    let lab = Lab::new();
    let expected = essence(&lab.run(TINY, &[], 0));
    let store = lab.path(".voxflow/store-v1");
    let kinds = IN_STORE.len() + IN_RUN.len();
    let rounds = tally::wanted("VOXFLOW_TORTURE_FLIPS", 2 * kinds).div_ceil(kinds);
    let first = chance.below(EVERY.len());
    for round in first..first + rounds {
        let damage = EVERY[round % EVERY.len()];
        // What a process that was killed leaves.
        fs::write(store.join("pins/left-over"), [7; 64]).unwrap();
        for name in IN_STORE {
            hurt_store(&lab, &store.join(name), damage, &mut chance, &expected);
        }
        for name in IN_RUN {
            hurt_run(&lab, name, damage, &mut chance, &expected);
        }
    }
    tally::tell(
        "flips",
        rounds * kinds,
        &format!("of {kinds} kinds of file, seed {}", chance.seed),
    );
}

#[test]
fn a_damaged_summary_or_sweep_table_changes_no_comparison() {
    let mut chance = Chance::of_the_environment("VOXFLOW_TORTURE_SEED");
    let lab = Lab::new();
    lab.write("workflow.yaml", TINY);
    let shown = lab.voxflow(&["sweep", "workflow.yaml", "--over", "split.seed=1,2"]);
    assert_eq!(shown.code, 0, "{}", shown.err);
    let compare = ["compare", "sweep", "--each", "--format", "csv"];
    let expected = lab.voxflow(&compare);
    assert!(
        expected.code == 0 && expected.out.lines().count() == 3,
        "{}{}",
        expected.out,
        expected.err
    );
    let run = lab.last_run().folder;
    let table = fs::read(run.join("sweep.parquet")).unwrap();
    for damage in EVERY {
        for name in ["summary", "sweep.parquet"] {
            let story =
                format!("{}, seed {}", damage.to(&run.join(name), &mut chance), chance.seed);
            assert_eq!(lab.voxflow(&compare).out, expected.out, "{story}");
            assert_eq!(verify(&lab, &story), usize::from(name == "sweep.parquet"), "{story}");
            assert_eq!(verify(&lab, &story), 0, "it is reported once; {story}");
            assert_eq!(fs::read(run.join("sweep.parquet")).unwrap(), table, "{story}");
        }
    }
    tally::tell(
        "flips",
        2 * EVERY.len(),
        &format!("of summaries and sweep tables, seed {}", chance.seed),
    );
}

#[test]
fn a_damaged_checkpoint_is_left_aside_and_the_training_ends_as_ever() {
    let mut chance = Chance::of_the_environment("VOXFLOW_TORTURE_SEED");
    let workflow = CUBES.replace("epochs: 2", "epochs: 4\n      checkpoint_every: 1");
    let flags = ["--threads", "1", "--until", "model"];
    let lab = Lab::new();
    Dataset::write(&lab.path("data"), 7, 0);
    let expected = lab.run(&workflow, &flags, 0);
    let (fingerprint, digest) = (expected.fingerprint("model"), &expected.stage("model")["digest"]);
    let entry =
        lab.path(&format!(".voxflow/store-v1/entries/{}/{fingerprint}.json", &fingerprint[..2]));
    let unfinished =
        lab.path(&format!(".voxflow/store-v1/unfinished/{}/{fingerprint}", &fingerprint[..2]));
    fs::remove_file(&entry).unwrap();
    let mut child = lab.spawn(&["run", "workflow.yaml", "--threads", "1"]);
    lab.wait("two checkpoints", |_| below(&unfinished).len() >= 2);
    child.kill().unwrap();
    child.wait().unwrap();
    let kept: Vec<(PathBuf, Vec<u8>)> = below(&unfinished)
        .into_iter()
        .map(|path| (path.clone(), fs::read(&path).unwrap()))
        .collect();
    let kept: Vec<_> = kept
        .into_iter()
        .filter(|(path, _)| path.extension().is_some_and(|e| e == "checkpoint"))
        .collect();
    for damage in EVERY {
        fs::create_dir_all(&unfinished).unwrap();
        kept.iter().for_each(|(path, bytes)| fs::write(path, bytes).unwrap());
        let _ = fs::remove_file(&entry);
        let newest = &kept.last().expect("a checkpoint").0;
        let story = format!("{}, seed {}", damage.to(newest, &mut chance), chance.seed);
        // Whoever reads it first says so: `cache verify`, which sets it aside, or the training.
        let verified = if chance.below(2) == 0 { verify(&lab, &story) } else { 0 };
        let arguments: Vec<&str> = ["run", "workflow.yaml"].iter().chain(&flags).copied().collect();
        let shown = lab.voxflow(&arguments);
        assert_eq!(shown.code, 0, "{story}: {}", shown.err);
        assert_eq!(complaints(&shown.err) + verified, 1, "{story}: {}", shown.err);
        assert_eq!(lab.last_run().stage("model")["digest"], *digest, "{story}");
    }
    tally::tell("flips", EVERY.len(), &format!("of checkpoints, seed {}", chance.seed));
}
