//! Devices with little memory: each fallback is taken, gives the same numbers, and is told.

use crate::lab::pretend_cuda::{self, Counts};
use crate::lab::{Lab, Record};
use crate::{VOLUMES, metrics, training};

/// Runs a training over finer volumes on a device of so many MiB, which decides where they live.
fn train(mebibytes: u64, more: &str, code: i32) -> Option<(Lab, Record)> {
    let mut lab = pretend_cuda::lab()?;
    lab.set("VOXFLOW_TRAINING_VOLUMES", "");
    lab.set("PRETEND_CUDA_MEMORY", (mebibytes << 20).to_string());
    let volumes = VOLUMES.replace("[6, 6, 6]", "[4, 4, 4]");
    assert_ne!(volumes, VOLUMES);
    let workflow = format!("{volumes}{}", training(1, more));
    let record = lab.run(&workflow, &["--device", "cuda:0", "--threads", "1"], code);
    Some((lab, record))
}

/// The lines of a run about its training's volumes.
fn said(record: &Record) -> String {
    let events = record.events();
    let words = events.iter().map(|event| event["message"].to_string());
    words.filter(|words| words.contains("training volumes")).collect()
}

#[test]
fn volumes_and_sums_that_do_not_fit_stay_in_memory_and_give_the_same_numbers() {
    let more = r#"{ "best_by": "last" }"#;
    let Some((large, on_device)) = train(4096, more, 0) else { return };
    let Some((small, in_memory)) = train(3, more, 0) else { return };
    let (device_words, memory_words) = (said(&on_device), said(&in_memory));
    assert!(device_words.contains("where patches are cut and varied"), "{device_words}");
    assert!(memory_words.contains("threads make patches"), "{memory_words}");
    let (found, wanted) = (metrics(&in_memory), metrics(&on_device));
    assert_eq!(found.keys().collect::<Vec<_>>(), wanted.keys().collect::<Vec<_>>());
    for (key, wanted) in wanted.iter().filter(|(key, _)| key.contains("loss")) {
        assert!((found[key] - wanted).abs() <= 1e-5, "{key} is {}, not {wanted}", found[key]);
    }
    // Each batch of windows goes to the device, and its scores come back.
    let (few, many) = (Counts::take(&large).of("copy"), Counts::take(&small).of("copy"));
    assert!(many > few + 20, "{many} copies where sums are kept in memory, {few} where not");
}

#[test]
fn a_device_without_room_for_a_step_says_what_takes_less() {
    let Some((_lab, record)) = train(3, r#"{ "patches_per_volume": 64 }"#, 1) else { return };
    let error = record.stage("model")["error"].as_str().unwrap_or_default();
    assert!(error.starts_with("memory ran out (CUDA out of memory. Tried to allocate"), "{error}");
    for words in ["lower 'patch'", "'precision: fp16'", "VOXFLOW_TRAINING_VOLUMES=memory"] {
        assert!(error.contains(words) && error.lines().count() == 1, "{error}");
    }
}
