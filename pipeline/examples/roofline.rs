//! A roofline of trainings on graphics cards, on paper: for each training of the workflows its
//! operations, traffic and launches for a step, and for some cards the patches a second with their
//! limit.
//!
//!     cargo run --example roofline -- WORKFLOW.yaml[=LAUNCHES]...
//!
//! LAUNCHES are the operations of a step as a pretend device counts them (docs/gpu.md); without
//! them launches are no limit. Images of one channel and a background with one label are assumed,
//! which changes the first and the last convolution only.
#![allow(clippy::print_stdout)]

use std::path::Path;
use voxflow::workflow::Workflow;
use voxflow_stages::KINDS;
use voxflow_stages::Stage;
use voxflow_stages::kinds::train::Train;
use voxflow_stages::model::cost::{self, Cost};

/// A graphics card, as its maker's data sheet has it.
struct Card {
    name: &'static str,
    /// Operations a second on matrices of 16 bits, sums in 32, without sparsity.
    flops: f64,
    /// Bytes a second to and from its memory.
    bandwidth: f64,
}

const CARDS: [Card; 4] = [
    Card { name: "H100 SXM", flops: 989e12, bandwidth: 3.35e12 },
    Card { name: "A100 SXM 80 GB", flops: 312e12, bandwidth: 2.04e12 },
    Card { name: "RTX 4090", flops: 165e12, bandwidth: 1.01e12 },
    Card { name: "T4", flops: 65e12, bandwidth: 0.32e12 },
];

/// Shares of the data sheet that convolutions and copies reach, and the seconds that the host needs
/// for a launch: assumptions, to be replaced by measurements.
const FLOP_SHARE: f64 = 0.5;
const BANDWIDTH_SHARE: f64 = 0.8;
const LAUNCH_SECONDS: f64 = 5e-6;

const INPUTS: usize = 1;
const OUTPUTS: usize = 2;

fn main() -> Result<(), String> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.is_empty() {
        return Err("usage: cargo run --example roofline -- WORKFLOW.yaml[=LAUNCHES]...".into());
    }
    let cards: Vec<&str> = CARDS.iter().map(|card| card.name).collect();
    println!(
        "| workflow | patch | patches a step | TFLOP | GB | launches | {} |",
        cards.join(" | ")
    );
    println!("|---|---|---:|---:|---:|---:|{}", "---:|".repeat(CARDS.len()));
    for word in &words {
        let (file, launches) = match word.split_once('=') {
            Some((file, launches)) => {
                (file, Some(launches.parse::<f64>().map_err(|error| error.to_string())?))
            }
            None => (word.as_str(), None),
        };
        let bytes = std::fs::read(file).map_err(|error| format!("{file}: {error}"))?;
        let given = |name: &str| std::env::var(name).ok().or(Some(".".to_string()));
        let workflow = Workflow::parse(file, &bytes, &[], KINDS, &given)
            .map_err(|mistakes| format!("{file}: {} mistakes: 'voxflow check'", mistakes.len()))?;
        for stage in workflow.stages.iter().filter(|stage| stage.kind.name == Train::NAME) {
            let train: Train = serde_json::from_value(stage.params.clone())
                .map_err(|error| format!("{file}: {error}"))?;
            let name = Path::new(file).file_stem().unwrap_or_default().to_string_lossy();
            print(&name, &train, launches);
        }
    }
    Ok(())
}

/// Prints a training's row: for each card the patches a second, and what limits them.
fn print(name: &str, train: &Train, launches: Option<f64>) {
    let mut each = Cost::default();
    let graph = train.network.graph(INPUTS, OUTPUTS);
    cost::of_nodes(&graph, train.patch).iter().for_each(|node| each += node.training);
    let patches = (train.volumes_per_step * train.patches_per_volume) as f64;
    let bytes = train.precision.bytes() as f64 * each.values;
    let shape = train.patch.map(|side| side.to_string()).join("×");
    let by_launches = launches.map(|launches| patches / (launches * LAUNCH_SECONDS));
    let limits: Vec<String> =
        CARDS.iter().map(|card| limit(card, (each.flop, bytes), by_launches)).collect();
    println!(
        "| {name} | {shape} | {patches} | {:.3} | {:.2} | {} | {} |",
        each.flop * patches / 1e12,
        bytes * patches / 1e9,
        launches.map_or("-".to_string(), |launches| launches.to_string()),
        limits.join(" | ")
    );
}

/// "4313, memory": the patches a second on a card. Convolutions and copies take turns there;
/// launches go on beside both.
fn limit(card: &Card, (flop, bytes): (f64, f64), by_launches: Option<f64>) -> String {
    let in_operations = flop / (card.flops * FLOP_SHARE);
    let in_memory = bytes / (card.bandwidth * BANDWIDTH_SHARE);
    let by_card = 1.0 / (in_operations + in_memory);
    match by_launches.filter(|launches| *launches < by_card) {
        Some(launches) => format!("{launches:.0}, launches"),
        None if in_operations > in_memory => format!("{by_card:.0}, operations"),
        None => format!("{by_card:.0}, memory"),
    }
}
