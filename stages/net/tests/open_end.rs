//! Trainings with `epochs: auto`: their end, decided by validation, also over stops and by several
//! processes.

mod support;

use serde_json::{Value, json};
use support::bench::{Bench, Heard, done, finish, hear, hear_and, read, signal, start};
use voxflow_stages::{Metric, Reply, Task};

/// Validated after every epoch; 12 epochs before the rate must fall, 18 in all.
fn params(more: Value) -> Value {
    let mut params = json!({
        "epochs": { "at_least": 9, "at_most": 18, "decay": 0.5 }, "validate_every": 1,
        "patch": [8, 8, 8], "volumes_per_step": 2, "patches_per_volume": 2,
        "network": { "channels": [4, 8], "strides": [2], "norm": "instance" },
        "loss": { "batch": false }, "learning_rate": 0.01, "checkpoint_every": 1,
        "augmentation": { "flip": { "probability": 0.5 } },
    });
    params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    params
}

fn card(task: &Task) -> Value {
    serde_json::from_slice(&read(task.draft.join("model.json"))).unwrap()
}

/// Rows that equal recipes repeat.
fn repeated(heard: &Heard) -> Vec<Metric> {
    heard.metrics.iter().filter(|row| !row.measured).cloned().collect()
}

#[test]
fn a_training_that_gains_nothing_ends_early_and_its_rate_falls_to_nearly_nothing() {
    let bench = Bench::new();
    let params = params(json!({
        "epochs": { "at_least": 4, "at_most": 60, "decay": 0.5 }, "learning_rate": 1e-12,
        "optimizer": { "name": "sgd" },
    }));
    let task = bench.task("flat", "train", &params, None);
    let heard = finish(&task);
    // A line needs eight validations, and the first of nine is left out.
    let rates = heard.values("learning_rate");
    assert_eq!(rates.len(), 14, "9 epochs, and half of them again");
    assert!(rates[..9].iter().all(|rate| *rate == 1e-12), "{rates:?}");
    assert!(rates[8..].windows(2).all(|pair| pair[1] < pair[0]), "{rates:?}");
    assert!(rates[13] < 0.1e-12, "{rates:?}");
    assert_eq!(heard.values("last_epoch"), [14.0]);
    let [gain] = heard.values("expected_gain")[..] else { panic!("one forecast") };
    assert!(gain.abs() < 1e-9, "{gain}");
    assert_eq!(heard.values("dice").len(), 14);
    let decay = json!({ "from_epoch": 9, "to_epoch": 14, "reason": "plateau" });
    let training = &card(&task)["training"];
    assert_eq!((&training["decay"], &training["epochs"]), (&decay, &json!(14)));
}

#[test]
fn a_training_that_ends_by_validation_is_stopped_and_killed_anywhere_and_ends_the_same() {
    let bench = Bench::new();
    let whole = bench.task("whole", "train", &params(json!({})), None);
    let undisturbed = finish(&whole);
    let decay = card(&whole)["training"]["decay"].clone();
    let from = decay["from_epoch"].as_u64().unwrap();
    assert!((9..=12).contains(&from), "{decay}");
    // Rows before the decision, and with it.
    let decided =
        undisturbed.metrics.iter().position(|row| row.metric == "last_epoch").unwrap() + 1;
    for stop_at in [30, decided - 3, decided, decided + 1, decided + 12] {
        for name in ["TERM", "KILL"] {
            let broken =
                bench.task(&format!("{name} {stop_at}"), "train", &params(json!({})), None);
            let first = hear_and(start(&broken), Some(stop_at), |pid| signal(name, pid));
            assert_ne!(first.reply, done(), "{name} {stop_at}");
            let second = hear(start(&broken), None);
            assert_eq!(second.reply, done(), "{name} {stop_at}");
            assert!(second.resumed.unwrap().0 >= 1, "{name} {stop_at}");
            assert_eq!(repeated(&second), repeated(&undisturbed), "{name} {stop_at}");
            for file in ["best.safetensors", "last.safetensors", "model.json"] {
                let [found, wanted] = [&broken, &whole].map(|task| read(task.draft.join(file)));
                assert!(found == wanted, "{name} {stop_at}: {file}");
            }
        }
    }
}

#[test]
fn several_processes_decide_as_one() {
    let bench = Bench::new();
    let flat = json!({ "optimizer": { "name": "sgd" }, "learning_rate": 1e-12 });
    let learning = json!({ "optimizer": { "name": "sgd" } });
    let task = |name: &str, ranks: usize, more: &Value| {
        let name = format!("{name} of {ranks}");
        Task { ranks, ..bench.task(&name, "train", &params(more.clone()), None) }
    };
    let [one, two] = [1, 2].map(|ranks| task("flat", ranks, &flat));
    let [wanted, found] = [&one, &two].map(finish);
    assert_eq!(found.values("last_epoch"), wanted.values("last_epoch"));
    assert_eq!(card(&two)["training"]["decay"], card(&one)["training"]["decay"]);
    // A score that differs in its last digits may move the decision, but for all alike.
    let heard = finish(&task("learning", 2, &learning));
    let [last] = heard.values("last_epoch")[..] else { panic!("one decision") };
    assert_eq!(heard.values("loss").len(), last as usize);
}

#[test]
fn an_end_by_validation_without_validation_cases_is_refused_with_the_way_out() {
    let bench = Bench::new();
    let mut task = bench.task("unvalidated", "train", &params(json!({})), None);
    let cache = &mut task.inputs.get_mut("cache").unwrap()[0];
    let list = cache.path("validation/part.json").unwrap().to_path_buf();
    let mut described: Value = serde_json::from_slice(&read(list.clone())).unwrap();
    described["cases"] = json!([]);
    std::fs::write(&list, described.to_string()).unwrap();
    let Some(Reply::Failed { error, .. }) = hear(start(&task), None).reply else {
        panic!("it should have failed")
    };
    assert!(error.contains("there are no validation cases; give 'split' some"), "{error}");
}
