//! Trainings with `epochs: auto` that go on by `extend`: from the state before the learning rate
//! fell.

mod support;

use serde_json::{Value, json};
use support::bench::{Bench, Heard, done, finish, hear, hear_and, read, signal, start};
use tch::Tensor;
use voxflow_net::{checkpoint, weights};
use voxflow_stages::{Metric, Reply, Task};

const FILES: [&str; 3] = ["best.safetensors", "last.safetensors", "training.checkpoint"];

/// A rule whose rate falls between `at_least` and two thirds of `at_most`.
fn rule(at_least: u32, at_most: u32) -> Value {
    json!({ "at_least": at_least, "at_most": at_most, "decay": 0.5 })
}

fn params(epochs: Value, more: &Value) -> Value {
    let mut params = json!({
        "epochs": epochs, "validate_every": 1, "patch": [8, 8, 8], "volumes_per_step": 2,
        "patches_per_volume": 2, "network": { "channels": [4, 8], "strides": [2] },
        "learning_rate": 0.01, "checkpoint_every": 1, "keep_state": true,
        "augmentation": { "flip": { "probability": 0.5 } },
    });
    params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    params
}

fn extension(bench: &Bench, name: &str, params: &Value, of: &Task) -> Task {
    let mut params = params.clone();
    params["extend"] = json!(true);
    bench.task(name, "train", &params, Some(("start", of)))
}

fn training(task: &Task) -> Value {
    let card: Value = serde_json::from_slice(&read(task.draft.join("model.json"))).unwrap();
    card["training"].clone()
}

/// The last epoch before the rate fell.
fn high(task: &Task) -> u32 {
    training(task)["decay"]["from_epoch"].as_u64().unwrap() as u32
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

fn error(task: &Task) -> String {
    match hear(start(task), None).reply {
        Some(Reply::Failed { error, stopped: false, .. }) => error,
        other => panic!("it should have failed: {other:?}"),
    }
}

#[test]
fn the_high_rate_goes_on_as_if_it_had_not_fallen_also_in_two_pieces() {
    for more in [
        json!({}),
        json!({ "precision": "fp16", "optimizer": { "name": "adam" }, "ema": 0.9 }),
        json!({ "optimizer": { "name": "sgd", "momentum": 0.9 }, "best_by": "last" }),
    ] {
        let bench = Bench::new();
        let begin = |name: &str, epochs| bench.task(name, "train", &params(epochs, &more), None);
        let (short, whole) = (begin("short", rule(9, 18)), begin("whole", rule(18, 30)));
        let (_, undisturbed) = (finish(&short), finish(&whole));
        let longer =
            |name: &str, epochs, of: &Task| extension(&bench, name, &params(epochs, &more), of);
        let at_once = longer("at once", rule(18, 30), &short);
        let heard = finish(&at_once);
        check_same(&at_once, &whole, "at once");
        assert_eq!(heard.warnings, [""; 0]);
        assert_eq!(repeated(&heard, 0), repeated(&undisturbed, high(&short)), "its own epochs");
        let first = longer("first", rule(14, 24), &short);
        finish(&first);
        assert!((14..=16).contains(&high(&first)), "{}", training(&first));
        let second = longer("second", rule(18, 30), &first);
        finish(&second);
        check_same(&second, &whole, "in two pieces");
        let found = training(&second);
        assert_eq!(found["extends"]["epochs"], json!(high(&first)));
        assert_eq!(found["decay"], training(&whole)["decay"]);
        let parent = voxflow_cache::Digest::of(&read(first.draft.join("last.safetensors")));
        assert_eq!(found["extends"]["last_weights"], json!(parent.to_string()));
    }
}

#[test]
fn a_branch_is_killed_anywhere_and_ends_the_same_and_so_is_what_it_goes_on_from() {
    let bench = Bench::new();
    let short = bench.task("short", "train", &params(rule(9, 18), &json!({})), None);
    let heard = finish(&short);
    let decided = |heard: &Heard| heard.metrics.iter().position(|row| row.metric == "last_epoch");
    let killed = |task: Task, at: usize, wanted: &Task| {
        let first = hear_and(start(&task), Some(at), |pid| signal("KILL", pid));
        assert_ne!(first.reply, done(), "killed at row {at}");
        assert_eq!(hear(start(&task), None).reply, done(), "killed at row {at}");
        check_same(&task, wanted, &format!("killed at row {at}"));
    };
    let at = decided(&heard).unwrap();
    for at in [at - 2, at + 1, at + 12] {
        let name = format!("short {at}");
        killed(bench.task(&name, "train", &params(rule(9, 18), &json!({})), None), at, &short);
    }
    let other = json!({
        "learning_rate": 0.004, "clip_gradients": 1.0,
        "augmentation": { "noise": { "probability": 0.5, "std": 0.1 } },
    });
    let branch =
        |name: &str, epochs, of: &Task| extension(&bench, name, &params(epochs, &other), of);
    let whole = branch("whole", rule(18, 30), &short);
    let at = decided(&finish(&whole)).unwrap();
    for at in [1, at / 2, at - 1, at + 2, at + 15] {
        killed(branch(&format!("branch {at}"), rule(18, 30), &short), at, &whole);
    }
    let first = branch("first", rule(14, 24), &short);
    finish(&first);
    let second = branch("second", rule(18, 30), &first);
    finish(&second);
    check_same(&second, &whole, "in two pieces");
}

#[test]
fn a_branch_begins_with_the_weights_before_the_rate_fell() {
    let bench = Bench::new();
    let sgd = json!({ "optimizer": { "name": "sgd", "momentum": 0.0 } });
    let short = bench.task("short", "train", &params(rule(9, 18), &sgd), None);
    finish(&short);
    let mut still = params(json!(high(&short) + 1), &sgd);
    still["learning_rate"] = json!(1e-30);
    let still = extension(&bench, "still", &still, &short);
    finish(&still);
    let found = weights::read(&still.draft.join("last.safetensors")).unwrap();
    let is_weight = |name: &str| name.ends_with("weight") || name.ends_with("bias");
    let kept = checkpoint::read::<Value>(&short.draft.join("training.checkpoint")).unwrap();
    assert_eq!(kept.state["epoch"], json!(high(&short)));
    assert_eq!((&kept.state["length"]["decay"], kept.state.get("kept")), (&Value::Null, None));
    let equal = |from: &dyn Fn(&str) -> Tensor| {
        found.iter().filter(|(name, _)| is_weight(name)).all(|(name, own)| from(name) == *own)
    };
    assert!(equal(&|name| kept.tensors[&format!("weights/{name}")].shallow_clone()));
    let last = weights::read(&short.draft.join("last.safetensors")).unwrap();
    assert!(!equal(&|name| last[name].shallow_clone()), "it trained on while the rate fell");
}

#[test]
fn a_number_of_epochs_goes_on_from_there_and_a_rule_goes_on_from_a_number() {
    let bench = Bench::new();
    let more = json!({ "schedule": { "decay_last": 0.0, "warmup": 1 } });
    let begin = |name: &str, epochs| bench.task(name, "train", &params(epochs, &more), None);
    let (open, number) = (begin("open", rule(9, 18)), begin("number", json!(20)));
    finish(&open);
    finish(&number);
    let longer = extension(&bench, "to a number", &params(json!(20), &more), &open);
    finish(&longer);
    check_same(&longer, &number, "20 epochs");

    let flat = json!({ "optimizer": { "name": "sgd" }, "learning_rate": 1e-12,
                       "network": { "channels": [4, 8], "strides": [2], "norm": "instance" } });
    let short = bench.task("three", "train", &params(json!(3), &flat), None);
    finish(&short);
    let longer = extension(&bench, "to a plateau", &params(rule(4, 60), &flat), &short);
    finish(&longer);
    // A line needs eight validations, and those of the first training are not known.
    let decay = json!({ "from_epoch": 11, "to_epoch": 17, "reason": "plateau" });
    assert_eq!(training(&longer)["decay"], decay);
}

#[test]
fn a_rule_that_ends_the_high_rate_at_once_is_a_warning_and_one_that_has_ended_an_error() {
    let bench = Bench::new();
    let flat = json!({ "optimizer": { "name": "sgd" }, "learning_rate": 1e-12,
                       "network": { "channels": [4, 8], "strides": [2], "norm": "instance" } });
    let short = bench.task("short", "train", &params(rule(4, 60), &flat), None);
    finish(&short);
    assert_eq!(high(&short), 9);
    let again = extension(&bench, "again", &params(rule(4, 60), &flat), &short);
    let warnings = finish(&again).warnings.join("");
    assert!(warnings.contains("raise 'epochs.at_least' above 9"), "{warnings}");
    check_same(&again, &short, "the same rule");
    let limit = params(json!({ "at_least": 9, "at_most": 14, "decay": 0.5 }), &flat);
    let warnings = finish(&extension(&bench, "limit", &limit, &short)).warnings.join("");
    assert!(warnings.contains("at once, from epoch 9 on"), "{warnings}");
    let long = bench.task("long", "train", &params(rule(12, 60), &flat), None);
    finish(&long);
    let ended = params(json!({ "at_least": 1, "at_most": 11, "decay": 0.01 }), &flat);
    let words = error(&extension(&bench, "ended", &ended, &long));
    let wanted = format!("has done {} epochs already, and 'epochs.at_most'", high(&long));
    assert!(words.contains(&wanted), "{words}");
    let mut nothing = params(rule(4, 60), &flat);
    nothing["keep_state"] = json!(false);
    let nothing = bench.task("nothing", "train", &nothing, None);
    finish(&nothing);
    assert!(!nothing.draft.join("training.checkpoint").exists());
    let words = error(&extension(&bench, "of nothing", &params(rule(12, 60), &flat), &nothing));
    assert!(words.contains("give that training 'keep_state: true'"), "{words}");
}
