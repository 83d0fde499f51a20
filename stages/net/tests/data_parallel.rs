//! A training of several processes is the training of one, also over stops, and one that loses a
//! process ends with a word about it.

mod support;

use serde_json::{Value, json};
use std::collections::BTreeMap;
use support::bench::{Bench, Heard, done, finish, hear, hear_and, signal, start, start_with};
use support::distance;
use tch::Tensor;
use voxflow_net::{checkpoint, weights};
use voxflow_stages::{Reply, Task};

/// Batches of 4 patches, and 2 in the last batch of an epoch; nothing that looks at a whole batch.
fn params(more: Value) -> Value {
    let mut params = json!({
        "epochs": 3, "patch": [8, 8, 8], "volumes_per_step": 2, "patches_per_volume": 2,
        "network": { "channels": [4, 8], "strides": [2], "norm": "instance" },
        "loss": { "batch": false }, "validate_every": 2, "learning_rate": 0.01,
        "augmentation": { "flip": { "probability": 0.5 }, "noise": { "probability": 0.5, "std": 0.1 } },
    });
    params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    params
}

fn task(bench: &Bench, name: &str, ranks: usize, params: &Value) -> Task {
    Task { ranks, ..bench.task(name, "train", params, None) }
}

/// The last weights of a finished training.
fn last(task: &Task) -> BTreeMap<String, Tensor> {
    weights::read(&task.draft.join("last.safetensors")).unwrap()
}

fn check_same(found: (&Task, &Heard), wanted: (&Task, &Heard), words: &str) {
    let (losses, wanted_losses) = (found.1.values("loss"), wanted.1.values("loss"));
    assert_eq!(losses.len(), wanted_losses.len(), "{words}");
    for (loss, wanted) in losses.iter().zip(&wanted_losses) {
        assert!((loss - wanted).abs() <= 1e-6, "{words}: a loss of {loss}, not {wanted}");
    }
    let weights = last(found.0);
    for (name, wanted) in last(wanted.0) {
        let off = distance(&weights[&name], &wanted);
        assert!(off <= 1e-6, "{words}, {name}: {off:e}");
    }
    let (dice, wanted_dice) = (found.1.values("dice"), wanted.1.values("dice"));
    assert_eq!(dice.len(), wanted_dice.len(), "{words}");
    for (dice, wanted) in dice.iter().zip(&wanted_dice) {
        assert!((dice - wanted).abs() <= 1e-3, "{words}: a Dice of {dice}, not {wanted}");
    }
}

#[test]
fn two_and_four_processes_train_the_weights_of_one_by_every_optimizer() {
    let bench = Bench::new();
    let settings = [
        (
            "sgd",
            json!({
                "optimizer": { "name": "sgd", "momentum": 0.9, "nesterov": true, "weight_decay": 0.01 },
                "accumulate": 2,
            }),
        ),
        (
            "adam",
            json!({
                "optimizer": { "name": "adam" }, "learning_rate": 1e-3, "clip_gradients": 0.1, "ema": 0.9,
            }),
        ),
        (
            "adamw",
            json!({
                "optimizer": { "name": "adamw", "weight_decay": 0.1 }, "learning_rate": 1e-3,
                "keep_last_batch": false,
            }),
        ),
        (
            "novograd",
            json!({
                "learning_rate": 1e-3,
                "network": { "channels": [4, 8], "strides": [2], "norm": "instance", "dropout": 0.2 },
            }),
        ),
    ];
    for (optimizer, more) in settings {
        let params = params(more);
        let one = task(&bench, &format!("{optimizer}-1"), 1, &params);
        let wanted = finish(&one);
        assert_eq!(wanted.device.as_deref(), Some("cpu"));
        for ranks in [2, 4] {
            let name = format!("{optimizer}-{ranks}");
            let several = task(&bench, &name, ranks, &params);
            let heard = finish(&several);
            let device = format!("cpu, {ranks} ranks (shared memory)");
            assert_eq!(heard.device, Some(device));
            check_same((&several, &heard), (&one, &wanted), &name);
        }
    }
}

/// Whether gradients overflow depends on the share, so that one process may skip other steps. The
/// ranks must agree: otherwise their weights differ, and the training fails.
#[test]
fn steps_that_overflow_in_half_precision_are_skipped_by_all_ranks() {
    let bench = Bench::new();
    let params = params(json!({
        "precision": "fp16", "loss": { "batch": false, "weights": [50, 50] }, "checkpoint_every": 1,
    }));
    let task = task(&bench, "fp16", 2, &params);
    assert_eq!(finish(&task).values("loss").len(), 3);
    let state = checkpoint::newest::<Value>(&task.unfinished).0.unwrap().state;
    let scale = state["scaler"]["scale"].as_f64().unwrap();
    assert!(scale < 65_536.0, "no step overflowed: the scale is {scale}");
    let session = &state["stretches"][0];
    assert_eq!((&session["ranks"], &session["backend"]), (&json!(2), &json!("shared memory")));
}

#[test]
fn batch_norm_over_the_whole_batch_trains_the_weights_of_one_process() {
    let bench = Bench::new();
    let network = json!({ "channels": [4, 8], "strides": [2], "norm": "batch" });
    let params = params(json!({
        "network": network, "sync_batch_norm": true, "optimizer": { "name": "sgd" },
    }));
    let (one, two) = (task(&bench, "one", 1, &params), task(&bench, "two", 2, &params));
    let (wanted, found) = (finish(&one), finish(&two));
    check_same((&two, &found), (&one, &wanted), "sync_batch_norm");
}

#[test]
fn a_model_that_depends_on_the_number_of_processes_carries_a_warning_that_says_so() {
    let bench = Bench::new();
    let network = json!({ "channels": [4, 8], "strides": [2], "norm": "batch" });
    let params = params(json!({ "network": network, "loss": { "batch": true } }));
    let of = |ranks| finish(&task(&bench, &format!("of {ranks}"), ranks, &params)).warnings;
    assert_eq!(of(1), Vec::<String>::new());
    let warnings = of(2).join("");
    for word in ["2 ranks", "batch norm and Dice", "sync_batch_norm: true", "batch: false"] {
        assert!(warnings.contains(word), "{warnings}");
    }
}

#[test]
fn a_training_that_was_stopped_goes_on_with_another_number_of_processes() {
    let bench = Bench::new();
    let params =
        params(json!({ "epochs": 6, "optimizer": { "name": "sgd" }, "checkpoint_every": 1 }));
    let whole = task(&bench, "whole", 1, &params);
    let undisturbed = finish(&whole);
    let broken = bench.task("broken", "train", &params, None);
    let stopped = |ranks, rows| {
        let heard = hear(start(&Task { ranks, ..broken.clone() }), Some(rows));
        let is_stopped = matches!(heard.reply, Some(Reply::Failed { stopped: true, .. }));
        assert!(is_stopped, "{:?}", heard.reply);
        heard.resumed
    };
    assert_eq!(stopped(2, 5), None);
    let (epoch, _) = stopped(4, 16).unwrap();
    assert!(epoch >= 1);
    let rest = hear(start(&broken), None);
    assert_eq!(rest.reply, done());
    assert!(rest.resumed.unwrap().0 > epoch);
    check_same((&broken, &rest), (&whole, &undisturbed), "after two stops");
}

/// The processes that a process started.
fn children(pid: u32) -> Vec<u32> {
    let folders = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = folders.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let parent = |pid: &u32| -> Option<u32> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
        line.trim().parse().ok()
    };
    pids.filter(|known| parent(known) == Some(pid)).collect()
}

#[test]
fn a_process_that_dies_or_hangs_ends_the_training_with_one_line_and_it_goes_on_later() {
    let bench = Bench::new();
    let params = params(json!({ "epochs": 2000, "checkpoint_every": 1 }));
    for (name, ranks, words) in [
        ("KILL", 2, "rank 1 of 2: it was killed (SIGKILL); most likely memory ran out"),
        ("STOP", 3, "rank 2 of 3: its process has not moved for 2 s"),
    ] {
        let task = task(&bench, name, ranks, &params);
        let child = start_with(&task, &[("VOXFLOW_RANK_SILENCE_MS", "2000")]);
        let pid = child.id();
        let heard = hear_and(child, Some(12), |pid| {
            let mut ranks = children(pid);
            ranks.sort_unstable();
            signal(name, *ranks.last().unwrap());
        });
        let Some(Reply::Failed { error, stopped: false, .. }) = heard.reply else {
            panic!("{name}: {:?}", heard.reply)
        };
        assert!(error.starts_with(words) && !error.contains('\n'), "{name}: {error}");
        assert!(error.contains("run again to go on from the last checkpoint"), "{error}");
        assert_eq!(children(pid), [0; 0], "no process is left");
        let again = hear(start(&Task { ranks: 2, ..task }), Some(heard.metrics.len() + 6));
        assert!(again.resumed.unwrap().0 >= 1, "{name}");
    }
}

#[test]
fn the_other_processes_die_with_the_first() {
    let bench = Bench::new();
    let task = task(&bench, "orphans", 3, &params(json!({ "epochs": 2000 })));
    let ranks = std::cell::RefCell::new(vec![]);
    let heard = hear_and(start(&task), Some(6), |pid| {
        ranks.replace(children(pid));
        signal("KILL", pid);
    });
    assert!(heard.reply.is_none());
    let ranks = ranks.into_inner();
    assert_eq!(ranks.len(), 2);
    let lives = |pid: &u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        !status.is_empty() && !status.contains("State:\tZ")
    };
    for _ in 0..500 {
        if !ranks.iter().any(lives) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("ranks outlive the first: {ranks:?}");
}

#[test]
fn batches_that_are_too_small_for_the_ranks_are_refused_with_the_way_out() {
    let bench = Bench::new();
    let batch_norm = json!({
        "network": { "channels": [4, 8, 16], "strides": [2, 4] }, "patches_per_volume": 1,
    });
    for (name, ranks, more, words) in [
        ("few", 5, json!({}), "training: a batch of 4 patches cannot be shared by 5 ranks; raise"),
        ("norm", 2, batch_norm, "patch: a batch of one patch [8, 8, 8] leaves one voxel"),
    ] {
        let task = task(&bench, name, ranks, &params(more));
        let Some(Reply::Failed { error, stopped: false, .. }) = hear(start(&task), None).reply
        else {
            panic!("{name} should have failed")
        };
        assert!(error.starts_with(words), "{name}: {error}");
    }
}
