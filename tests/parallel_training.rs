//! A training on several cards, through the program: without cards it runs as so many processes on
//! the processor.

mod lab;

use lab::{Lab, Record, TINY};

/// A workflow with a training and its score. `resources` is written after the stage's parameters.
fn workflow(resources: &str) -> String {
    format!(
        "{TINY}  model:
    uses: train
    needs: [cache]
    with:
      {{ epochs: 4, patch: [16, 16, 16], patches_per_volume: 2, validate_every: 2,
        network: {{ channels: [4, 8], strides: [2], norm: instance }}, loss: {{ batch: false }} }}
{resources}  score: {{ uses: validate, needs: [cache, model] }}
"
    )
}

const TWO: &str = "    resources: { gpus: 2 }\n";

/// The device of the model, as it was told.
fn device(record: &Record) -> String {
    let events = record.events();
    let said = events
        .iter()
        .find(|event| event["stage"] == "model" && event["message"]["say"] == "device");
    said.unwrap()["message"]["name"].as_str().unwrap().to_string()
}

#[test]
fn a_training_for_two_cards_is_made_by_two_processes_and_reused_by_whoever_asks_for_one() {
    let lab = Lab::new();
    let two = lab.run(&workflow(TWO), &["--device", "cpu", "--threads", "2"], 0);
    assert_eq!(device(&two), "cpu, 2 ranks (shared memory)");
    assert_eq!(two.stage("model")["maker"]["device"], "cpu, 2 ranks (shared memory)");
    let one = lab.run(&workflow(""), &["--device", "cpu"], 0);
    assert!(one.made().is_empty(), "the number of cards is not in the recipe: {:?}", one.made());
    assert_eq!(one.fingerprint("model"), two.fingerprint("model"));
    let other = Lab::new();
    let alone = other.run(&workflow(""), &["--device", "cpu"], 0);
    assert_eq!(device(&alone), "cpu");
    let loss = |record: &Record| {
        let of_loss =
            |row: &&serde_json::Value| row[1]["metric"] == "loss" && row[1]["split"] == "training";
        let rows = record.metrics();
        rows.iter().filter(of_loss).filter_map(|row| row[1]["value"].as_f64()).collect::<Vec<_>>()
    };
    let (found, wanted) = (loss(&two), loss(&alone));
    assert_eq!((found.len(), wanted.len()), (4, 4));
    for (found, wanted) in found.iter().zip(&wanted) {
        assert!((found - wanted).abs() <= 1e-5, "a loss of {found}, not {wanted}");
    }
}
