//! Training and inference on a pretend CUDA device: equal to the processor, within its budgets of
//! operations, copies and waits, and with an error for whatever breaks.
//!
//! `make test-device` takes all recipes and every operation; `make test` samples both.

mod budgets;
mod failures;
mod itself;
#[path = "../lab/mod.rs"]
mod lab;
mod memory;
mod messages;
mod precision;
mod recipes;
mod resume;

use lab::{Lab, Record};
use std::collections::BTreeMap;

/// The volumes of all tests: 6 cases, of which 3 are for training. Each has several windows.
const VOLUMES: &str = "name: device
seed: 0
stages:
  dataset: { uses: synthesize, with: { cases: 6, unlabelled: 1, shape: [24, 24, 24] } }
  split: { uses: split, needs: [dataset], with: { training: 3, validation: 1, testing: 2 } }
  volumes: { uses: preprocess, needs: [dataset], with: { spacing: [6, 6, 6], intensity: { window: [-57, 164] } } }
  cache: { uses: cache, needs: [dataset, volumes, split] }
";

/// The stages that use a model.
const USES: &str = "  score: { uses: validate, needs: [model, cache] }
  tested: { uses: test, needs: [model, cache, dataset] }
  predicted: { uses: predict, needs: [model, dataset], with: { probabilities: true } }
";

/// True under `make test-device`.
fn is_whole_matrix() -> bool {
    std::env::var_os("VOXFLOW_TEST_DEVICE").is_some()
}

/// A training's stage: parameters of a small one, replaced or completed by `more`, which is JSON.
fn training(epochs: u32, more: &str) -> String {
    let mut with = serde_json::json!({
        "epochs": epochs, "patch": [16, 16, 16], "volumes_per_step": 1, "patches_per_volume": 2,
        "validate_every": 1000, "checkpoint_every": 1000, "learning_rate": 0.002,
        "network": { "channels": [4, 8], "strides": [2], "residual_units": 1, "norm": "batch" },
        "inference": { "roi": [16, 16, 16], "overlap": 0.25 },
    });
    let more: serde_json::Value = serde_json::from_str(more).expect("JSON");
    with.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    format!("  model: {{ uses: train, needs: [cache], with: {with} }}\n")
}

/// Runs a workflow on a device with one thread.
fn run(lab: &Lab, stages: &str, device: &str) -> Record {
    lab.run(&format!("{VOLUMES}{stages}"), &["--device", device, "--threads", "1"], 0)
}

/// Runs a workflow whose training must fail, and returns the training's error.
fn run_to_failure(lab: &Lab, stages: &str, device: &str) -> String {
    let workflow = format!("{VOLUMES}{stages}");
    let record = lab.run(&workflow, &["--device", device, "--threads", "1"], 1);
    record.stage("model")["error"].as_str().unwrap_or_default().to_string()
}

/// The values of all metrics that are no measurements, by stage, name, epoch, case and label.
fn metrics(record: &Record) -> BTreeMap<String, f64> {
    let mut values = BTreeMap::new();
    for row in record.metrics() {
        let message = row[1].as_object().unwrap();
        let value = message.get("value").and_then(serde_json::Value::as_f64);
        let key = |name: &str| message.get(name).map(ToString::to_string).unwrap_or_default();
        let name = ["metric", "split", "epoch", "case", "label"].map(key).join(" ");
        value.map(|value| values.insert(format!("{} {name}", row[0]), value));
    }
    values
}
