//! The program `voxflow-worker` through its task file, its pipe and its signals.

mod support;

use serde_json::{Value, json};
use std::process::Command;
use support::bench::{Bench, done, finish, hear, read, start};
use voxflow_stages::protocol::{Build, PROTOCOL, WorkerLine, WorkerOrder};
use voxflow_stages::{Metric, Reply};

fn params(epochs: u32) -> Value {
    json!({
        "epochs": epochs, "patch": [8, 8, 8], "volumes_per_step": 2, "patches_per_volume": 2,
        "network": { "channels": [4, 8], "strides": [2], "dropout": 0.1 },
        "augmentation": { "intensity_shift": { "offset": 0.1, "probability": 0.5 } },
        "ema": 0.9, "validate_every": 2, "checkpoint_every": 1,
    })
}

/// Rows that equal recipes repeat.
fn repeated(rows: &[Metric]) -> Vec<Metric> {
    rows.iter().filter(|row| !row.measured).cloned().collect()
}

#[test]
fn a_training_that_was_stopped_goes_on_and_ends_as_if_it_had_not_been() {
    for precision in ["fp32", "fp16"] {
        let bench = Bench::new();
        let mut settings = params(6);
        settings["precision"] = json!(precision);
        let whole = bench.task("whole", "train", &settings, None);
        let undisturbed = finish(&whole);
        assert_eq!(undisturbed.resumed, None);

        let broken = bench.task("broken", "train", &settings, None);
        let first = hear(start(&broken), Some(7));
        assert!(
            matches!(first.reply, Some(Reply::Failed { stopped: true, .. })),
            "{:?}",
            first.reply
        );
        assert!(!broken.draft.join("model.json").exists());
        let second = hear(start(&broken), None);
        assert_eq!(second.reply, done());
        assert!(second.resumed.unwrap().0 >= 1);

        assert_eq!(repeated(&second.metrics), repeated(&undisturbed.metrics));
        assert_eq!(undisturbed.values("loss").len(), 6);
        assert_eq!(undisturbed.validation_losses().len(), undisturbed.values("dice").len());
        for file in ["best.safetensors", "last.safetensors", "model.json"] {
            assert_eq!(
                read(whole.draft.join(file)),
                read(broken.draft.join(file)),
                "{precision}, {file}"
            );
        }
    }
}

#[test]
fn a_ball_is_learned_and_validate_agrees_with_the_training_about_it() {
    let bench = Bench::new();
    let mut settings = params(40);
    settings["ema"] = Value::Null;
    settings["network"]["dropout"] = json!(0.0);
    settings["learning_rate"] = json!(0.01);
    let train = bench.task("train", "train", &settings, None);
    finish(&train);
    let card: Value = serde_json::from_slice(&read(train.draft.join("model.json"))).unwrap();
    let best = card["training"]["best_dice"].as_f64().unwrap();
    assert!(best > 0.8, "validation Dice {best}");

    let validate = bench.task("score", "validate", &json!({}), Some(("model", &train)));
    let [mean] = finish(&validate).values("dice")[..] else { panic!("one mean") };
    assert!((mean - best).abs() < 1e-12);
}

#[test]
fn a_learning_rate_that_breaks_the_training_ends_it_with_a_word_about_where() {
    let bench = Bench::new();
    let mut settings = params(20);
    settings["optimizer"] = json!({ "name": "sgd" });
    settings["network"]["norm"] = json!("instance");
    settings["learning_rate"] = json!(1e30);
    let Some(Reply::Failed { error, stopped: false, storage: false, .. }) =
        hear(start(&bench.task("bad", "train", &settings, None)), None).reply
    else {
        panic!("the training should have failed")
    };
    assert!(error.starts_with("training: the "), "{error}");
    assert!(
        error.contains("in epoch 1, step ") && error.contains("lower 'learning_rate'"),
        "{error}"
    );
    assert!(!error.contains('\n'), "{error}");
}

#[test]
fn a_device_that_is_not_there_is_refused_with_the_way_out() {
    let bench = Bench::new();
    let mut task = bench.task("cuda", "train", &params(1), None);
    task.device = "cuda:99".into();
    let Some(Reply::Failed { error, .. }) = hear(start(&task), None).reply else {
        panic!("it should have failed")
    };
    assert!(error.starts_with("device 'cuda:99': ") && error.contains("--device cpu"), "{error}");
}

/// What the worker says to a task file with this JSON, besides its first line.
fn reply_to(bench: &Bench, name: &str, change: impl Fn(&mut Value)) -> Reply {
    let task = bench.task(name, "train", &params(1), None);
    let mut order = serde_json::to_value(WorkerOrder::new(&task)).unwrap();
    change(&mut order);
    let path = task.draft.join("../task.json");
    std::fs::write(&path, order.to_string()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_voxflow-worker"));
    let output = command.arg(path).output().unwrap();
    let lines: Vec<&str> = std::str::from_utf8(&output.stdout).unwrap().lines().collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    let first: WorkerLine = serde_json::from_str(lines[0]).unwrap();
    assert_eq!(first, WorkerLine::Hello(Build::own()), "it says first who it is");
    assert!(!task.draft.join("model.json").exists());
    match WorkerLine::read(lines[1].as_bytes()).unwrap() {
        WorkerLine::End(reply) => reply,
        other => panic!("it ends with a reply, not {other:?}"),
    }
}

#[test]
fn a_worker_makes_nothing_in_another_version_or_for_another_build() {
    let bench = Bench::new();
    let other = format!("speaks protocol 7, not {PROTOCOL}; 'cargo build' builds both");
    for (name, pointer, value, words) in [
        ("version", "/recipe/version", json!(99), "version 99 of 'train' is asked for"),
        ("older", "/recipe/version", json!(1), "version 1 of 'train' is asked for"),
        ("kind", "/recipe/kind", json!("preprocess"), "'preprocess' is not made by"),
        ("protocol", "/protocol", json!(7), other.as_str()),
        ("build", "/build", json!("00"), "is build 00, not"),
        ("kinds", "/kinds/test", json!(1), "makes version 1 of 'test', not"),
    ] {
        let change = |order: &mut Value| *order.pointer_mut(pointer).unwrap() = value.clone();
        let Reply::Failed { error, stopped: false, storage: false, .. } =
            reply_to(&bench, name, change)
        else {
            panic!("{name}: it should have failed")
        };
        assert!(error.contains(words) && error.lines().count() == 1, "{name}: {error}");
    }
    let silent = |order: &mut Value| {
        ["protocol", "version", "build", "kinds"].iter().for_each(|key| {
            order.as_object_mut().unwrap().remove(*key);
        });
    };
    let Reply::Failed { error, .. } = reply_to(&bench, "silent", silent) else { panic!("made") };
    let wanted = format!("speaks protocol 0, not {PROTOCOL}");
    assert!(error.contains(&wanted), "a program from before: {error}");
}

#[test]
fn the_version_is_one_line_of_json_that_names_libtorch() {
    let output =
        Command::new(env!("CARGO_BIN_EXE_voxflow-worker")).arg("--version").output().unwrap();
    let versions: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(versions["libtorch"], json!("2.11.0"));
    assert_eq!(versions["build"], json!(Build::own().build));
    assert_eq!(versions["kinds"]["train"], json!(Build::own().kinds["train"]));
}
