//! A training that was killed on a device goes on there, elsewhere on another device, and ends as
//! one that was never interrupted.

use crate::lab::pretend_cuda;
use crate::lab::{Lab, Record};
use crate::{VOLUMES, metrics, run, training};
use std::time::{Duration, Instant};

/// Checkpoints of the training, by file.
fn checkpoints(lab: &Lab) -> usize {
    fn files(folder: &std::path::Path) -> usize {
        let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
        let each = entries.flatten().map(|entry| entry.path());
        each.map(|path| if path.is_dir() { files(&path) } else { 1 }).sum()
    }
    files(&lab.path(".voxflow/store-v1/unfinished"))
}

/// Starts the training on a device and kills the program after its second checkpoint.
fn kill_in_training(lab: &Lab, volumes: &str, stages: &str, device: &str) {
    lab.write("workflow.yaml", &format!("{volumes}{stages}"));
    let mut child = lab.spawn(&["run", "workflow.yaml", "--threads", "1", "--device", device]);
    let patience = Instant::now() + Duration::from_secs(120);
    while checkpoints(lab) < 2 {
        assert!(child.try_wait().unwrap().is_none(), "the training ended before it was killed");
        assert!(Instant::now() < patience, "no checkpoint in two minutes");
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

fn resumed(record: &Record) -> bool {
    record.events().iter().any(|event| event["message"]["say"] == "resumed")
}

#[test]
fn killed_on_a_device_a_training_ends_with_the_same_bytes_there_and_close_to_them_elsewhere() {
    let stages = training(30, r#"{ "checkpoint_every": 1, "validate_every": 10 }"#);
    let Some(whole) = pretend_cuda::lab() else { return };
    let whole = run(&whole, &stages, "cuda:0");
    for (first, then) in [("cuda:0", "cuda:0"), ("cuda:0", "cpu"), ("cpu", "cuda:1")] {
        let Some(mut lab) = pretend_cuda::lab() else { return };
        lab.set("PRETEND_CUDA_DEVICES", "2");
        kill_in_training(&lab, VOLUMES, &stages, first);
        let ended = run(&lab, &stages, then);
        assert!(resumed(&ended), "{first}, then {then}: it began anew");
        if first == then {
            assert_eq!(ended.stage("model")["digest"], whole.stage("model")["digest"]);
        }
        let (found, wanted) = (metrics(&ended), metrics(&whole));
        assert_eq!(found.keys().collect::<Vec<_>>(), wanted.keys().collect::<Vec<_>>());
        for (key, wanted) in wanted.iter().filter(|(key, _)| key.contains("loss")) {
            let found = found[key];
            let off = (found - wanted).abs();
            assert!(off <= 1e-4, "{first}, then {then}: {key} is {found}, not {wanted}");
        }
    }
}

/// The lines of a run about its training's volumes.
fn placement(record: &Record) -> String {
    let events = record.events();
    let words = events.iter().map(|event| event["message"].to_string());
    words.filter(|words| words.contains("training volumes")).collect()
}

#[test]
fn a_resumed_training_keeps_its_volumes_where_they_were_though_more_memory_is_free_now() {
    let stages = training(30, r#"{ "checkpoint_every": 1, "validate_every": 10 }"#);
    let fine = VOLUMES.replace("[6, 6, 6]", "[4, 4, 4]");
    let Some(mut lab) = pretend_cuda::lab() else { return };
    lab.set("VOXFLOW_TRAINING_VOLUMES", "");
    lab.set("PRETEND_CUDA_MEMORY", (3u64 << 20).to_string());
    kill_in_training(&lab, &fine, &stages, "cuda:0");
    lab.set("PRETEND_CUDA_MEMORY", (4u64 << 30).to_string());
    let flags = ["--device", "cuda:0", "--threads", "1"];
    let ended = lab.run(&format!("{fine}{stages}"), &flags, 0);
    assert!(resumed(&ended));
    let words = placement(&ended);
    assert!(words.contains("threads make patches"), "{words}");
}
