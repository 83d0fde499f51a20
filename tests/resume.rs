//! Killed in the middle of volumes and of training, a run ends as one that was never interrupted.

mod lab;

use lab::cubes::{CUBES, Dataset};
use lab::{Lab, Record};
use std::process::Child;
use std::time::{Duration, Instant};

fn workflow() -> String {
    CUBES
        .replace("epochs: 2", "epochs: 12")
        .replace("validate_every: 1", "validate_every: 2\n      checkpoint_every: 1")
}

fn lab() -> Lab {
    let lab = Lab::new();
    Dataset::write(&lab.path("data"), 7, 0);
    lab.write("workflow.yaml", &workflow());
    lab
}

/// Waits until `happened`, then kills the program; returns false if it ended before.
fn kill_when(mut child: Child, happened: impl Fn() -> bool) -> bool {
    let patience = Instant::now() + Duration::from_secs(120);
    while Instant::now() < patience {
        if child.try_wait().expect("waiting").is_some() {
            return false;
        }
        if happened() {
            child.kill().expect("SIGKILL");
            child.wait().expect("waiting");
            return true;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().expect("SIGKILL");
    panic!("nothing happened in two minutes");
}

fn files_under(folder: &std::path::Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries
        .flatten()
        .map(|entry| if entry.path().is_dir() { files_under(&entry.path()) } else { 1 })
        .sum()
}

fn model_digests(run: &Record) -> Vec<String> {
    let folder = run.folder.join("outputs/model");
    ["best.safetensors", "last.safetensors"]
        .iter()
        .map(|name| {
            voxflow_cache::Digest::of_file(&folder.join(name)).expect("weights").to_string()
        })
        .collect()
}

#[test]
fn a_killed_run_goes_on_where_it_was_and_ends_the_same() {
    let whole = lab();
    let expected = whole.run(&workflow(), &["--threads", "1"], 0);

    let lab = lab();
    let store = lab.path(".voxflow/store-v1");
    let entries = |count: usize| {
        let store = store.clone();
        move || files_under(&store.join("entries")) >= count
    };
    let killed = kill_when(lab.spawn(&["run", "workflow.yaml", "--threads", "1"]), entries(4));
    assert!(killed, "the run was still at its volumes");
    let unfinished = store.join("unfinished");
    let killed = kill_when(lab.spawn(&["run", "workflow.yaml", "--threads", "1"]), || {
        files_under(&unfinished) >= 2
    });
    assert!(killed, "the run was training");

    let run = lab.run(&workflow(), &["--threads", "1"], 0);
    assert_eq!(run.stage("volumes")["outcome"], "reused");
    assert_eq!(run.stage("model")["outcome"], "made");
    let events = std::fs::read_to_string(run.folder.join("events.jsonl")).expect("the journal");
    assert!(events.contains("\"resumed\""), "training went on from a checkpoint");
    assert_eq!(run.sorted_metrics(), expected.sorted_metrics());
    assert_eq!(model_digests(&run), model_digests(&expected));
}

#[test]
fn a_checkpoint_by_time_is_gone_on_from_in_the_midst_of_an_epoch() {
    let by_time = CUBES.replace("epochs: 2", "epochs: 12");
    let whole = lab();
    let expected = whole.run(&by_time, &["--threads", "1", "--until", "model"], 0);
    let mut lab = lab();
    lab.write("workflow.yaml", &by_time);
    // Due before every step; those by epoch come after 20, which are not reached.
    lab.set("VOXFLOW_CHECKPOINT_MS", "0");
    let unfinished = lab.path(".voxflow/store-v1/unfinished");
    let child = lab.spawn(&["run", "workflow.yaml", "--threads", "1", "--until", "model"]);
    assert!(kill_when(child, || files_under(&unfinished) >= 2), "the run was training");
    lab.set("VOXFLOW_CHECKPOINT_MS", "300000");
    let run = lab.run(&by_time, &["--threads", "1", "--until", "model"], 0);
    let events = std::fs::read_to_string(run.folder.join("events.jsonl")).expect("the journal");
    assert!(events.contains("\"resumed\""), "training went on from a checkpoint");
    assert_eq!(run.sorted_metrics(), expected.sorted_metrics());
    assert_eq!(model_digests(&run), model_digests(&expected));
}

#[test]
fn a_killed_training_ends_by_validation_where_the_whole_one_does() {
    let open = "epochs: { at_least: 9, at_most: 18, decay: 0.5 }\n      checkpoint_every: 1";
    let open = CUBES.replace("epochs: 2", open);
    let whole = lab();
    let expected = whole.run(&open, &["--threads", "1", "--until", "model"], 0);
    let said = std::fs::read_to_string(expected.folder.join("events.jsonl")).expect("the journal");
    assert!(said.contains("the learning rate falls from epoch"), "the decision is told");
    let lab = lab();
    lab.write("workflow.yaml", &open);
    let unfinished = lab.path(".voxflow/store-v1/unfinished");
    let child = lab.spawn(&["run", "workflow.yaml", "--threads", "1", "--until", "model"]);
    assert!(kill_when(child, || files_under(&unfinished) >= 2), "the run was training");
    let run = lab.run(&open, &["--threads", "1", "--until", "model"], 0);
    let events = std::fs::read_to_string(run.folder.join("events.jsonl")).expect("the journal");
    assert!(events.contains("\"resumed\""), "training went on from a checkpoint");
    assert_eq!(run.sorted_metrics(), expected.sorted_metrics());
    assert_eq!(model_digests(&run), model_digests(&expected));
}

#[test]
fn a_finished_training_is_extended_over_a_kill_and_its_state_is_seen_and_paid_for_once() {
    let first = CUBES.replace("epochs: 2", "epochs: 4\n      keep_state: true");
    let model = first.split("  model:\n").nth(1).and_then(|rest| rest.split("  score:").next());
    let more = model.expect("the training").replace("needs: [cache]", "needs: [cache, model]");
    let more =
        more.replace("epochs: 4", "epochs: 16\n      checkpoint_every: 1\n      extend: true");
    let both = format!("{first}  more:\n{more}");
    let flags = ["--threads", "1", "--until", "more"];

    let whole = lab();
    let direct = CUBES.replace("epochs: 2", "epochs: 16\n      keep_state: true");
    let direct = whole.run(&direct, &["--threads", "1", "--until", "model"], 0);

    let lab = lab();
    lab.run(&first, &["--threads", "1", "--until", "model"], 0);
    let sizes = lab.voxflow(&["cache", "size"]).out;
    assert!(sizes.contains("train, of these kept states"), "{sizes}");
    lab.write("workflow.yaml", &both);
    let unfinished = lab.path(".voxflow/store-v1/unfinished");
    let child = lab.spawn(&[&["run", "workflow.yaml"], &flags[..]].concat());
    assert!(kill_when(child, || files_under(&unfinished) >= 2), "the extension was training");
    let run = lab.run(&both, &flags, 0);
    assert_eq!(run.stage("model")["outcome"], "reused", "the first epochs are not made again");
    let events = std::fs::read_to_string(run.folder.join("events.jsonl")).expect("the journal");
    assert!(events.contains("\"resumed\""), "the extension went on from a checkpoint");
    for file in ["best.safetensors", "last.safetensors", "training.checkpoint"] {
        let digest = |run: &Record, stage: &str| {
            let path = run.folder.join("outputs").join(stage).join(file);
            voxflow_cache::Digest::of_file(&path).expect("a file of a model")
        };
        assert_eq!(digest(&run, "more"), digest(&direct, "model"), "{file}");
    }
}

#[test]
fn ctrl_c_ends_with_a_checkpoint_and_code_130_and_leaves_no_child() {
    let lab = lab();
    lab.write("workflow.yaml", &workflow().replace("epochs: 12", "epochs: 5000"));
    let mut child = lab.spawn(&["run", "workflow.yaml"]);
    let unfinished = lab.path(".voxflow/store-v1/unfinished");
    let patience = Instant::now() + Duration::from_secs(120);
    while files_under(&unfinished) == 0 {
        assert!(Instant::now() < patience, "training began");
        std::thread::sleep(Duration::from_millis(10));
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("SIGINT");
    let status = child.wait().expect("waiting");
    assert_eq!(status.code(), Some(130));
    assert!(files_under(&unfinished) > 0, "the checkpoint is kept");
    let run = lab.last_run();
    assert_eq!(run.value["outcome"], "interrupted");
    assert_eq!(run.stage("volumes")["outcome"], "made");
}
