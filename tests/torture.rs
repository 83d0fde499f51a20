//! Runs that are killed again and again, at random moments and at every named place of publishing,
//! and then finished: byte by byte they end as a run that was never interrupted. The number of
//! kills is `VOXFLOW_TORTURE_KILLS`, the seed `VOXFLOW_TORTURE_SEED`; both are printed.
#![allow(clippy::print_stdout)]

mod lab;

use lab::chance::Chance;
use lab::cubes::{CUBES, Dataset};
use lab::{Lab, Record, TINY, tally};
use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};
use voxflow_cache::crash::{CHECKPOINT_SITES, SITES, VARIABLE};

/// Kills in one home before its run is left to finish.
const IN_ONE_HOME: usize = 5;

/// A training with a checkpoint after each epoch.
fn training() -> String {
    CUBES
        .replace("epochs: 2", "epochs: 6")
        .replace("validate_every: 1", "validate_every: 2\n      checkpoint_every: 1")
}

fn lab(workflow: &str) -> Lab {
    let lab = Lab::new();
    Dataset::write(&lab.path("data"), 7, 0);
    lab.write("workflow.yaml", workflow);
    lab
}

const RUN: [&str; 4] = ["run", "workflow.yaml", "--threads", "1"];

/// Nothing of a run but times may tell that it was interrupted.
fn assert_same(run: &Record, expected: &Record, lab: &Lab, story: &str) {
    for (stage, other) in run.value["stages"]
        .as_array()
        .unwrap()
        .iter()
        .zip(expected.value["stages"].as_array().unwrap())
    {
        for field in ["stage", "fingerprint", "digest", "artifact"] {
            assert_eq!(
                without_stats(&stage[field]),
                without_stats(&other[field]),
                "{field} of {}: {story}",
                stage["stage"]
            );
        }
    }
    assert_eq!(run.sorted_metrics(), expected.sorted_metrics(), "{story}");
    let verified = lab.voxflow(&["cache", "verify"]);
    assert_eq!(verified.code, 0, "{}{}: {story}", verified.out, verified.err);
    let drafts = std::fs::read_dir(lab.path(".voxflow/store-v1/drafts")).unwrap().count();
    assert_eq!(drafts, 0, "left-over drafts: {story}");
}

/// An artifact without where and when its referenced files lie: each laboratory has its own.
fn without_stats(artifact: &serde_json::Value) -> serde_json::Value {
    let mut artifact = artifact.clone();
    for (_, blob) in artifact.as_object_mut().into_iter().flatten() {
        blob.as_object_mut().map(|blob| blob.remove("reference"));
    }
    artifact
}

/// Runs the workflow in `lab` until it is killed at a moment or site of chance. True if it was.
fn kill_once(lab: &mut Lab, chance: &mut Chance, whole: Duration) -> bool {
    let at_site = chance.below(3) == 0;
    let site = format!("{}:{}", SITES[chance.below(SITES.len())], 1 + chance.below(12));
    lab.set(VARIABLE, if at_site { site } else { String::new() });
    let mut child = lab.spawn(&RUN);
    if !at_site {
        std::thread::sleep(whole.mul_f64(chance.below(1000) as f64 / 1000.0));
        child.kill().unwrap();
    }
    let output = child.wait_with_output().unwrap();
    lab.set(VARIABLE, "");
    let killed = output.status.signal().is_some();
    assert!(killed || output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    killed
}

/// Kills, lets the run finish, compares; in new homes until there were `kills`. Returns the homes.
/// How long a whole run takes is measured again and again, since the machine may get busy or calm:
/// kills that come after the end are none.
fn storm(workflow: &str, kills: usize, chance: &mut Chance) -> usize {
    let (_kept, expected, mut whole) = calm(workflow);
    let (mut done, mut homes) = (0, 0);
    while done < kills {
        let mut lab = lab(workflow);
        homes += 1;
        if homes % 4 == 0 {
            whole = calm(workflow).2;
        }
        let in_this = (0..IN_ONE_HOME.min(kills - done))
            .filter(|_| kill_once(&mut lab, chance, whole))
            .count();
        done += in_this;
        let run = lab.run(workflow, &RUN[2..], 0);
        assert_same(
            &run,
            &expected,
            &lab,
            &format!("after {in_this} kills in home {homes}, seed {}", chance.seed),
        );
    }
    homes
}

/// A run that is never interrupted, its laboratory, and how long it takes.
fn calm(workflow: &str) -> (Lab, Record, Duration) {
    let lab = lab(workflow);
    let started = Instant::now();
    let run = lab.run(workflow, &RUN[2..], 0);
    (lab, run, started.elapsed())
}

#[test]
fn killed_runs_end_as_if_nothing_had_happened() {
    let kills = tally::wanted("VOXFLOW_TORTURE_KILLS", 40);
    let seed = Chance::of_the_environment("VOXFLOW_TORTURE_SEED").seed;
    // First, so that a failure can be repeated.
    println!("seed {seed}");
    let started = Instant::now();
    let trained = kills / 2;
    let homes = std::thread::scope(|scope| {
        let trainings = scope.spawn(|| storm(&training(), trained, &mut Chance::new(seed)));
        storm(TINY, kills - trained, &mut Chance::new(!seed))
            + trainings.join().expect("a storm that ends well")
    });
    let seconds = started.elapsed().as_secs();
    let words = format!(
        "of whole runs, {trained} of them with a training, in {homes} homes, in {seconds} s, seed {seed}"
    );
    tally::tell("kills", kills, &words);
}

#[test]
fn a_run_that_dies_at_any_site_of_publishing_is_finished_by_the_next() {
    let calm = lab(TINY);
    let expected = calm.run(TINY, &[], 0);
    for site in SITES {
        let mut lab = lab(TINY);
        lab.set(VARIABLE, *site);
        let output = lab.spawn(&["run", "workflow.yaml"]).wait_with_output().unwrap();
        assert_eq!(output.status.signal(), Some(6), "the run should die at '{site}'");
        lab.set(VARIABLE, "");
        assert_same(&lab.run(TINY, &[], 0), &expected, &lab, site);
    }
    tally::tell("kills", SITES.len(), "one at each named site of publishing");
}

#[test]
fn a_training_that_dies_at_any_site_of_a_checkpoint_is_finished_by_the_next_run() {
    let (_kept, expected, _) = calm(&training());
    for site in CHECKPOINT_SITES {
        let mut lab = lab(&training());
        lab.set(VARIABLE, format!("{site}:2"));
        let shown = lab.voxflow(&RUN);
        assert!(
            shown.code == 1 && shown.err.contains("died of signal 6"),
            "the worker should die at '{site}'"
        );
        lab.set(VARIABLE, "");
        let run = lab.run(&training(), &RUN[2..], 0);
        let journal = std::fs::read_to_string(run.folder.join("events.jsonl")).unwrap();
        assert!(journal.contains("\"resumed\""), "'{site}': the first checkpoint is whole");
        assert_same(&run, &expected, &lab, site);
    }
    tally::tell(
        "kills",
        CHECKPOINT_SITES.len(),
        "one at each named site of a training's second checkpoint",
    );
}
