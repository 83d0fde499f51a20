//! A disk that is full or broken at one moment of a run: exit code 3 and the system's words,
//! nothing damaged, and the same command afterwards finishes. `VOXFLOW_TORTURE_STEP` is how many
//! operations lie between two faults; 1 is every one.

mod lab;

use lab::cubes::{CUBES, Dataset};
use lab::{Lab, Record, TINY, tally};
use std::os::unix::process::CommandExt;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use voxflow_cache::fault::{FREE, MARK, VARIABLE};

/// How a run ended in which an operation failed.
enum Ended {
    /// It had fewer operations.
    Untouched,
    /// The operation was one of those that only tidy up, or the index's, which is but a hint.
    Unhurt,
    /// With exit code 3.
    OnProgress,
}

/// Fails one operation of a run, and then lets the same command finish.
fn fail(number: usize, how: &str, expected: &Record) -> Ended {
    let mut lab = Lab::new();
    lab.write("workflow.yaml", TINY);
    lab.set(VARIABLE, format!("{number}:{how}"));
    lab.set(MARK, lab.path("failed").display().to_string());
    let shown = lab.voxflow(&["run", "workflow.yaml", "--threads", "1"]);
    let story = format!("{how} at operation {number}: {}", shown.err);
    if !lab.path("failed").exists() {
        assert_eq!(shown.code, 0, "{story}");
        return Ended::Untouched;
    }
    assert!([0, 3].contains(&shown.code), "exit code {}: {story}", shown.code);
    if shown.code == 3 {
        let words = ["os error 28", "os error 5", "os error 30"];
        assert!(words.iter().any(|word| shown.err.contains(word)), "{story}");
        assert!(shown.err.contains(".voxflow/"), "what is full or broken is named: {story}");
    }
    lab.set(VARIABLE, "");
    let run = lab.run(TINY, &[], 0);
    assert_eq!(run.sorted_metrics(), expected.sorted_metrics(), "{story}");
    for stage in ["dataset", "split", "volumes", "cache"] {
        assert_eq!(run.stage(stage)["digest"], expected.stage(stage)["digest"], "{story}");
    }
    assert_eq!(lab.voxflow(&["cache", "verify"]).code, 0, "{story}");
    if shown.code == 3 { Ended::OnProgress } else { Ended::Unhurt }
}

#[test]
fn a_disk_that_fails_once_is_an_error_of_the_disk_and_the_same_command_finishes() {
    let step = tally::wanted("VOXFLOW_TORTURE_STEP", 23);
    let calm = Lab::new();
    let expected = calm.run(TINY, &[], 0);
    let (next, told, unhurt) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    let work = || {
        loop {
            let turn = next.fetch_add(1, Relaxed);
            match fail(1 + turn * step, ["ENOSPC", "EIO", "EROFS"][turn % 3], &expected) {
                Ended::Untouched => break,
                Ended::Unhurt => unhurt.fetch_add(1, Relaxed),
                Ended::OnProgress => told.fetch_add(1, Relaxed),
            };
        }
    };
    std::thread::scope(|scope| (0..2).for_each(|_| drop(scope.spawn(work))));
    let (told, unhurt) = (told.into_inner(), unhurt.into_inner());
    assert!(told > 0, "no fault was told");
    tally::tell(
        "faults",
        told + unhurt,
        &format!("every {step} operations, {told} of them with exit code 3"),
    );
}

/// A training with a checkpoint after each epoch.
fn training() -> String {
    CUBES
        .replace("epochs: 2", "epochs: 3\n      checkpoint_every: 1")
        .split("  score:")
        .next()
        .unwrap()
        .to_string()
}

/// The laboratory of a training whose worker, and nothing else, meets a fault.
fn with_a_worker_that_meets(fault: &str) -> Lab {
    let mut lab = Lab::new();
    Dataset::write(&lab.path("data"), 7, 0);
    lab.write("workflow.yaml", &training());
    let worker =
        std::path::Path::new(env!("CARGO_BIN_EXE_voxflow")).with_file_name("voxflow-worker");
    let script = format!("#!/bin/sh\n{VARIABLE}={fault} exec '{}' \"$@\"\n", worker.display());
    let path = lab.write("worker.sh", &script);
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    lab.set("VOXFLOW_WORKER", path.display().to_string());
    lab
}

#[test]
fn a_disk_that_fails_while_a_checkpoint_is_kept_is_told_and_the_training_goes_on_from_the_one_before()
 {
    let step = tally::wanted("VOXFLOW_TORTURE_STEP", 23).min(3);
    let calm = Lab::new();
    Dataset::write(&calm.path("data"), 7, 0);
    let expected = calm.run(&training(), &["--threads", "1"], 0);
    let (mut number, mut told) = (1, 0);
    loop {
        let mut lab =
            with_a_worker_that_meets(&format!("{number}:{}", ["ENOSPC", "EIO"][number % 2]));
        let shown = lab.voxflow(&["run", "workflow.yaml", "--threads", "1"]);
        let story = format!("operation {number} of the worker: {}", shown.err);
        assert!([0, 3].contains(&shown.code), "exit code {}: {story}", shown.code);
        if shown.code == 0 {
            break;
        }
        assert!(shown.err.contains("os error 28") || shown.err.contains("os error 5"), "{story}");
        assert!(shown.err.contains(".voxflow/"), "what is full or broken is named: {story}");
        lab.set("VOXFLOW_WORKER", "");
        let run = lab.run(&training(), &["--threads", "1"], 0);
        assert_eq!(run.stage("model")["digest"], expected.stage("model")["digest"], "{story}");
        assert_eq!(run.sorted_metrics(), expected.sorted_metrics(), "{story}");
        (number, told) = (number + step, told + 1);
    }
    assert!(told > 1, "the checkpoints have {number} operations");
    tally::tell(
        "faults",
        told,
        &format!("in a worker that trains, every {step} operations, all with exit code 3"),
    );
}

#[test]
fn files_that_may_not_grow_are_a_full_disk() {
    let lab = Lab::new();
    lab.write("workflow.yaml", TINY);
    let mut command = lab.command(&["run", "workflow.yaml"]);
    // SAFETY: between fork and exec only two system calls are made, both safe there.
    unsafe {
        command.pre_exec(|| {
            libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
            let limit = libc::rlimit { rlim_cur: 8_000, rlim_max: 8_000 };
            if libc::setrlimit(libc::RLIMIT_FSIZE, &limit) == 0 {
                Ok(())
            } else {
                Err(std::io::Error::last_os_error())
            }
        });
    }
    let output = command.output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "{words}");
    assert!(words.contains("File too large"), "{words}");
    lab.run(TINY, &[], 0);
    assert_eq!(lab.voxflow(&["cache", "verify"]).code, 0);
}

#[test]
fn a_home_where_nothing_can_be_made_is_named() {
    let lab = Lab::new();
    lab.write("workflow.yaml", TINY);
    lab.write("file", "");
    let shown = lab.voxflow(&["run", "workflow.yaml", "--home", "file/home"]);
    assert_eq!(shown.code, 3);
    assert!(shown.err.contains("file/home"), "{}", shown.err);
}

#[test]
fn a_disk_that_is_likely_too_small_is_said_before_the_work() {
    let mut lab = Lab::new();
    lab.set(FREE, "20000");
    lab.write("workflow.yaml", TINY);
    let shown = lab.voxflow(&["run", "workflow.yaml"]);
    assert_eq!(shown.code, 0, "it is a warning: {}", shown.err);
    let words = "space may not suffice: 20.0 kB are free, and about";
    assert!(
        shown.err.contains(words) && shown.err.contains("'dataset' about 290 kB"),
        "{}",
        shown.err
    );
    assert!(shown.err.find(words) < shown.err.find("dataset  "), "before any stage: {}", shown.err);
    assert!(
        !lab.voxflow(&["run", "workflow.yaml"]).err.contains("space"),
        "nothing is to be made any more"
    );
    lab.set(FREE, "1000000000");
    let shown = lab.voxflow(&["run", "workflow.yaml", "--force", "dataset"]);
    assert!(!shown.err.contains("space"), "{}", shown.err);
}

#[test]
fn volumes_are_foreseen_by_the_headers_of_their_images() {
    let mut lab = Lab::new();
    lab.run(TINY, &["--until", "dataset"], 0);
    lab.set(FREE, "0");
    lab.write("workflow.yaml", TINY);
    let finer =
        ["run", "workflow.yaml", "--until", "volumes", "--set", "volumes.spacing=[8, 8, 8]"];
    let shown = lab.voxflow(&finer);
    let line = shown
        .err
        .lines()
        .find(|line| line.contains("space may not suffice"))
        .unwrap_or_default()
        .to_string();
    let foreseen: f64 =
        line.split("'volumes' about ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    let blobs = lab.last_run().stage("volumes")["artifact"].clone();
    let written: u64 =
        blobs.as_object().unwrap().values().map(|blob| blob["bytes"].as_u64().unwrap()).sum();
    let ratio = foreseen * 1e6 / written as f64;
    assert!((0.9..1.1).contains(&ratio), "{foreseen} MB foreseen, {written} bytes written: {line}");
}

#[test]
fn an_image_that_may_not_be_read_is_a_failed_case_and_no_error_of_the_disk() {
    let lab = Lab::new();
    Dataset::write(&lab.path("data"), 7, 0);
    // Nobody can read it, root included: a link that leads to itself.
    std::fs::remove_file(lab.path("data/imagesTr/case_02.nii.gz")).unwrap();
    std::os::unix::fs::symlink("case_02.nii.gz", lab.path("data/imagesTr/case_02.nii.gz")).unwrap();
    lab.write("workflow.yaml", CUBES);
    let shown = lab.voxflow(&["run", "workflow.yaml", "--until", "volumes"]);
    assert!([1, 2].contains(&shown.code), "{}", shown.err);
    assert!(
        shown.err.contains("imagesTr/case_02.nii.gz") && !shown.err.contains("panic"),
        "{}",
        shown.err
    );
}

#[test]
fn a_home_that_may_not_be_written_is_named_and_can_still_be_looked_at() {
    let mut lab = Lab::new();
    let before = lab.run(TINY, &[], 0);
    for how in ["EROFS", "EACCES"] {
        lab.set(VARIABLE, format!("1:{how}"));
        let shown = lab.voxflow(&["run", "workflow.yaml", "--force", "split"]);
        assert_eq!(shown.code, 3, "{how}: {}", shown.err);
        assert!(shown.err.contains(".voxflow"), "{how}: {}", shown.err);
        lab.set(VARIABLE, "");
        assert_eq!(lab.run(TINY, &[], 0).stage("cache")["digest"], before.stage("cache")["digest"]);
    }
}
