//! Finished trainings that go on with another number of processes: one that none of them changes
//! goes on as a single process would, and the same number repeats bit by bit.

mod support;

use serde_json::{Value, json};
use std::collections::BTreeMap;
use support::bench::{Bench, Heard, done, finish, hear, hear_and, read, signal, start};
use support::distance;
use tch::Tensor;
use voxflow_net::{checkpoint, weights};
use voxflow_stages::Task;

const FILES: [&str; 3] = ["best.safetensors", "last.safetensors", "training.checkpoint"];

/// Batches of 4 patches, and 2 in the last batch of an epoch.
fn params(epochs: u32, more: &Value) -> Value {
    let mut params = json!({
        "epochs": epochs, "patch": [8, 8, 8], "volumes_per_step": 2, "patches_per_volume": 2,
        "network": { "channels": [4, 8], "strides": [2], "norm": "instance" },
        "loss": { "batch": false }, "validate_every": 2, "learning_rate": 1e-3,
        "augmentation": { "flip": { "probability": 0.5 } }, "checkpoint_every": 1,
        "keep_state": true,
    });
    params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    params
}

/// A training of `ranks` processes, after that of another task if one is given.
fn task(bench: &Bench, (name, ranks): (&str, usize), params: &Value, of: Option<&Task>) -> Task {
    let mut params = params.clone();
    params["extend"] = json!(of.is_some());
    let start = of.map(|of| ("start", of));
    Task { ranks, ..bench.task(name, "train", &params, start) }
}

fn check_near(found: (&Task, &Heard), wanted: (&Task, &Heard), words: &str) {
    let read = |task: &Task, file: &str| -> BTreeMap<String, Tensor> {
        weights::read(&task.draft.join(file)).unwrap()
    };
    let ours = read(found.0, "last.safetensors");
    for (name, wanted) in read(wanted.0, "last.safetensors") {
        let off = distance(&ours[&name], &wanted);
        assert!(off <= 1e-6, "{words}, {name}: {off:e}");
    }
    let (losses, wanted) = (found.1.values("loss"), wanted.1.values("loss"));
    let later = &wanted[wanted.len() - losses.len()..];
    assert_eq!(losses.len(), 3, "{words}: the epochs of the extension alone");
    for (loss, wanted) in losses.iter().zip(later) {
        assert!((loss - wanted).abs() <= 1e-6, "{words}: a loss of {loss}, not {wanted}");
    }
}

fn check_same(found: &Task, wanted: &Task, words: &str) {
    for file in FILES {
        let [found, wanted] = [found, wanted].map(|task| read(task.draft.join(file)));
        assert!(found == wanted, "{words}: {file}");
    }
}

#[test]
fn another_number_of_processes_goes_on_with_the_training_of_one() {
    let batch_norm = json!({ "channels": [4, 8], "strides": [2], "norm": "batch" });
    for (name, more) in [
        ("adam", json!({ "optimizer": { "name": "adam" }, "ema": 0.9, "accumulate": 2 })),
        (
            "sgd",
            json!({ "optimizer": { "name": "sgd", "momentum": 0.9 },
                        "network": batch_norm, "sync_batch_norm": true }),
        ),
        ("novograd", json!({ "clip_gradients": 0.1 })),
    ] {
        let bench = Bench::new();
        let (first, all) = (params(3, &more), params(6, &more));
        let whole = task(&bench, ("whole", 1), &all, None);
        let undisturbed = finish(&whole);
        let short = [1, 2].map(|ranks| {
            let short = task(&bench, (&format!("short of {ranks}"), ranks), &first, None);
            finish(&short);
            short
        });
        for (of, ranks) in [(0, 2), (1, 1), (1, 3)] {
            let words = format!("{name}, {} then {ranks}", short[of].ranks);
            let longer = task(&bench, (&words, ranks), &all, Some(&short[of]));
            let heard = finish(&longer);
            check_near((&longer, &heard), (&whole, &undisturbed), &words);
            let kept = checkpoint::read::<Value>(&longer.draft.join("training.checkpoint"));
            assert_eq!(kept.unwrap().state["stretches"], json!([]), "{words}");
        }
    }
}

/// Running statistics, and Dice of a whole batch, are those of a rank's share: equal for equal
/// numbers of processes alone.
#[test]
fn the_same_number_of_processes_repeats_bit_by_bit_in_pieces_and_after_a_kill() {
    let bench = Bench::new();
    let more = json!({
        "network": { "channels": [4, 8], "strides": [2], "norm": "batch" },
        "loss": { "batch": true }, "ema": 0.9,
    });
    let (first, all) = (params(3, &more), params(6, &more));
    let (short, whole) =
        (task(&bench, ("short", 2), &first, None), task(&bench, ("whole", 2), &all, None));
    finish(&short);
    finish(&whole);
    let at_once = task(&bench, ("at once", 2), &all, Some(&short));
    finish(&at_once);
    check_same(&at_once, &whole, "at once");
    let middle = task(&bench, ("middle", 2), &params(5, &more), Some(&short));
    finish(&middle);
    let last = task(&bench, ("last", 2), &all, Some(&middle));
    finish(&last);
    check_same(&last, &whole, "in two pieces");
    for at in [1, 8] {
        let broken = task(&bench, (&format!("killed at {at}"), 2), &all, Some(&short));
        let heard = hear_and(start(&broken), Some(at), |pid| signal("KILL", pid));
        assert_ne!(heard.reply, done(), "killed at row {at}");
        assert_eq!(hear(start(&broken), None).reply, done(), "killed at row {at}");
        check_same(&broken, &whole, &format!("killed at row {at}"));
    }
}

#[test]
fn an_end_decided_by_validation_goes_on_with_two_processes_from_before_the_fall() {
    let bench = Bench::new();
    let flat = |at_least: u32| {
        let epochs = json!({ "at_least": at_least, "at_most": 60, "decay": 0.5 });
        params(
            0,
            &json!({ "epochs": epochs, "validate_every": 1, "learning_rate": 1e-12,
                           "optimizer": { "name": "sgd" } }),
        )
    };
    let card = |task: &Task| -> Value {
        serde_json::from_slice(&read(task.draft.join("model.json"))).unwrap()
    };
    for (before, after) in [(1, 2), (2, 1)] {
        let name = |word: &str| format!("{word} {before} {after}");
        let short = task(&bench, (&name("short"), before), &flat(4), None);
        finish(&short);
        let longer = task(&bench, (&name("longer"), after), &flat(12), Some(&short));
        assert_eq!(finish(&longer).values("loss").len(), 18 - 9);
        let found = &card(&longer)["training"];
        let decay = json!({ "from_epoch": 12, "to_epoch": 18, "reason": "plateau" });
        assert_eq!((&found["decay"], &found["extends"]["epochs"]), (&decay, &json!(9)));
    }
}
