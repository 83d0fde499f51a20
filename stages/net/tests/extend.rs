//! Finished trainings that go on by `extend`.

mod support;

use serde_json::{Value, json};
use std::collections::BTreeMap;
use support::bench::{Bench, Heard, done, finish, hear, hear_and, read, signal, start};
use tch::Tensor;
use voxflow_net::{checkpoint, weights};
use voxflow_stages::{Metric, Reply, Task};

const FILES: [&str; 3] = ["best.safetensors", "last.safetensors", "training.checkpoint"];

/// A training whose course does not depend on its end. It is validated every 2 epochs, and after
/// its last.
fn params(epochs: u32, more: Value) -> Value {
    let mut params = json!({
        "epochs": epochs, "patch": [8, 8, 8], "volumes_per_step": 2, "patches_per_volume": 2,
        "network": { "channels": [4, 8], "strides": [2], "dropout": 0.1 },
        "augmentation": { "intensity_shift": { "offset": 0.1, "probability": 0.5 } },
        "schedule": { "name": "step", "every": 2, "factor": 0.5, "warmup": 1 },
        "ema": 0.9, "validate_every": 2, "checkpoint_every": 1, "keep_state": true,
    });
    params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    params
}

fn extension(bench: &Bench, name: &str, params: &Value, of: &Task) -> Task {
    let mut params = params.clone();
    params["extend"] = json!(true);
    bench.task(name, "train", &params, Some(("start", of)))
}

fn check_same(found: &Task, wanted: &Task, words: &str) {
    for file in FILES {
        let [found, wanted] = [found, wanted].map(|task| read(task.draft.join(file)));
        assert!(found == wanted, "{words}: {file}");
    }
}

/// Rows after `epoch` that equal recipes repeat.
fn repeated(heard: &Heard, epoch: u32) -> Vec<Metric> {
    let rows = heard.metrics.iter().filter(|row| !row.measured && row.epoch > Some(epoch));
    rows.cloned().collect()
}

fn training(task: &Task) -> Value {
    let card: Value = serde_json::from_slice(&read(task.draft.join("model.json"))).unwrap();
    card["training"].clone()
}

fn error(task: &Task) -> String {
    match hear(start(task), None).reply {
        Some(Reply::Failed { error, stopped: false, .. }) => error,
        other => panic!("it should have failed: {other:?}"),
    }
}

#[test]
fn three_epochs_and_three_more_are_six_also_in_two_pieces() {
    for more in [
        json!({}),
        json!({ "precision": "fp16", "optimizer": { "name": "adam" }, "accumulate": 2 }),
        json!({ "optimizer": { "name": "sgd", "momentum": 0.9 }, "ema": null, "best_by": "last" }),
    ] {
        let bench = Bench::new();
        let task =
            |name: &str, epochs| bench.task(name, "train", &params(epochs, more.clone()), None);
        let (whole, short) = (task("whole", 6), task("short", 3));
        let (undisturbed, _) = (finish(&whole), finish(&short));
        let longer = |name: &str, epochs, of: &Task| {
            extension(&bench, name, &params(epochs, more.clone()), of)
        };
        let at_once = longer("at once", 6, &short);
        let heard = finish(&at_once);
        check_same(&at_once, &whole, "at once");
        assert_eq!(repeated(&heard, 0), repeated(&undisturbed, 3), "its own epochs alone");
        let first = longer("first", 5, &short);
        finish(&first);
        let second = longer("second", 6, &first);
        finish(&second);
        check_same(&second, &whole, "in two pieces");
        let found = training(&second);
        assert_eq!((&found["epochs"], &found["extends"]["epochs"]), (&json!(6), &json!(5)));
        let parent = voxflow_cache::Digest::of(&read(first.draft.join("last.safetensors")));
        assert_eq!(found["extends"]["last_weights"], json!(parent.to_string()));
    }
}

#[test]
fn an_extension_is_stopped_and_killed_anywhere_and_ends_the_same() {
    let bench = Bench::new();
    let short = bench.task("short", "train", &params(3, json!({})), None);
    finish(&short);
    let params = params(12, json!({}));
    let whole = extension(&bench, "whole", &params, &short);
    let undisturbed = finish(&whole);
    for stop_at in [1, 6, 14, 20] {
        for name in ["TERM", "KILL"] {
            let broken = extension(&bench, &format!("{name} {stop_at}"), &params, &short);
            let first = hear_and(start(&broken), Some(stop_at), |pid| signal(name, pid));
            assert_ne!(first.reply, done(), "{name} {stop_at}");
            let second = hear(start(&broken), None);
            assert_eq!(second.reply, done(), "{name} {stop_at}");
            check_same(&broken, &whole, &format!("{name} {stop_at}"));
            assert_eq!(repeated(&second, 0), repeated(&undisturbed, 0), "{name} {stop_at}");
        }
    }
}

#[test]
fn a_branch_trains_on_at_a_rate_of_its_own() {
    let bench = Bench::new();
    let sgd = json!({ "optimizer": { "name": "sgd", "momentum": 0.0 }, "ema": null });
    let short = bench.task("short", "train", &params(3, sgd.clone()), None);
    finish(&short);
    let branch = |name: &str, rate: f64, augmentation: Value| -> BTreeMap<String, Tensor> {
        let mut params = params(4, sgd.clone());
        params["learning_rate"] = json!(rate);
        params["augmentation"] = augmentation;
        let task = extension(&bench, name, &params, &short);
        finish(&task);
        weights::read(&task.draft.join("last.safetensors")).unwrap()
    };
    let parent = weights::read(&short.draft.join("last.safetensors")).unwrap();
    let is_weight = |name: &str| name.ends_with("weight") || name.ends_with("bias");
    let moved = |found: &BTreeMap<String, Tensor>, from: &BTreeMap<String, Tensor>| {
        let weights = found.iter().filter(|(name, _)| is_weight(name));
        weights.filter(|(name, tensor)| from[name.as_str()] != **tensor).count()
    };
    let still = branch("still", 1e-30, json!({}));
    assert_eq!(moved(&still, &parent), 0, "they begin where the last epoch ended");
    let [plain, flipped] = [json!({}), json!({ "flip": { "probability": 0.5 } })];
    let plain = branch("plain", 0.1, plain);
    assert!(moved(&plain, &parent) > 0);
    assert!(moved(&branch("flipped", 0.1, flipped), &plain) > 0);
}

#[test]
fn without_keep_state_nothing_is_kept_and_nothing_is_extended() {
    let bench = Bench::new();
    let short = bench.task("short", "train", &params(3, json!({ "keep_state": false })), None);
    finish(&short);
    assert!(!short.draft.join("training.checkpoint").exists());
    let words = error(&extension(&bench, "more", &params(6, json!({})), &short));
    assert!(words.contains("give that training 'keep_state: true'"), "{words}");
    let mut alone = params(6, json!({}));
    alone["extend"] = json!(true);
    let words = error(&bench.task("alone", "train", &alone, None));
    assert!(words.contains("name its stage in 'needs'"), "{words}");
}

#[test]
fn what_cannot_go_on_is_refused_with_the_way_out() {
    let bench = Bench::new();
    let settings = json!({ "optimizer": { "name": "adam" }, "ema": null });
    let short = bench.task("short", "train", &params(3, settings.clone()), None);
    finish(&short);
    let troubles = [
        (json!({ "epochs": 3 }), "has done 3 epochs already"),
        (json!({ "volumes_per_step": 1 }), "took 9 steps in 3 epochs, and here they are 15"),
        (json!({ "optimizer": { "name": "sgd" } }), "give 'optimizer.name' and 'freeze' the same"),
        (json!({ "freeze": ["model.0.*"] }), "give 'optimizer.name' and 'freeze' the same"),
        (json!({ "ema": 0.9 }), "leave 'ema' out"),
    ];
    for (number, (more, wanted)) in troubles.into_iter().enumerate() {
        let mut params = params(6, settings.clone());
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let words = error(&extension(&bench, &format!("trouble {number}"), &params, &short));
        assert!(words.contains(wanted) && !words.contains('\n'), "{words}");
    }
}

#[test]
fn a_patience_that_has_run_out_before_the_first_epoch_is_refused() {
    let bench = Bench::new();
    let flat = json!({
        "network": { "channels": [4, 8], "strides": [2], "norm": "instance" },
        "optimizer": { "name": "sgd" }, "learning_rate": 1e-30, "ema": null,
    });
    let short = bench.task("short", "train", &params(4, flat.clone()), None);
    finish(&short);
    let mut impatient = params(8, flat);
    impatient["stop_after"] = json!(2);
    let words = error(&extension(&bench, "impatient", &impatient, &short));
    assert!(words.contains("'stop_after' would end it at once"), "{words}");
    impatient["stop_after"] = json!(4);
    finish(&extension(&bench, "patient", &impatient, &short));
}

#[test]
fn what_is_kept_has_no_times_and_no_rows() {
    let bench = Bench::new();
    let short = bench.task("short", "train", &params(3, json!({})), None);
    finish(&short);
    let path = short.draft.join("training.checkpoint");
    let state = checkpoint::read::<Value>(&path).unwrap().state;
    assert_eq!(
        (&state["epoch"], &state["step"], &state["batch"]),
        (&json!(3), &json!(9), &json!(0))
    );
    for (key, wanted) in [("metrics", json!([])), ("stretches", json!([]))] {
        assert_eq!(state[key], wanted, "{key}");
    }
    assert_eq!((&state["train_seconds"], &state["best"][0]), (&json!(0.0), &json!(2)));
}
