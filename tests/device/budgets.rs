//! Operations, copies and waits of a step, a validation and a checkpoint, as ceilings. A new wait
//! of the host, or a kernel for each tensor of a list, is seen here before a card is at hand.

use crate::lab::Lab;
use crate::lab::pretend_cuda::{self, Counts};
use crate::{run, training};

/// Batches of an epoch.
const BATCHES: u64 = 3;

/// Counts of a training of `epochs` epochs.
fn counts(lab: &Lab, epochs: u32, more: &str) -> Counts {
    run(lab, &training(epochs, more), "cuda:0");
    Counts::take(lab)
}

/// Counts of a kind for each step, from trainings of 2 and of 12 epochs.
struct Steps {
    short: Counts,
    long: Counts,
    steps: u64,
}

impl Steps {
    fn new(lab: &Lab, more: &str, accumulate: u64) -> Steps {
        let (short, long) = (counts(lab, 2, more), counts(lab, 12, more));
        Steps { short, long, steps: 10 * BATCHES.div_ceil(accumulate) }
    }

    fn of(&self, kind: &str) -> f64 {
        (self.long.of(kind) as f64 - self.short.of(kind) as f64) / self.steps as f64
    }

    /// Asserts that a step costs at most so many of a kind.
    fn at_most(&self, name: &str, kind: &str, most: f64) {
        let found = self.of(kind);
        let each = self.long.above(&self.short);
        assert!(found <= most, "{name}: {found:.1} of '{kind}' a step, not {most}: {each:#?}");
    }
}

#[test]
fn a_step_waits_for_nothing_and_keeps_within_its_operations() {
    let augmented = r#""augmentation": { "affine": { "probability": 0.9,
        "rotation_degrees": [20, 10, 30], "scale": [0.2, 0.1, 0.2] } }"#;
    let table = [
        ("fp32", String::new(), 118.0),
        (
            "fp16 with average, augmented",
            format!(r#""precision": "fp16", "ema": 0.9, {augmented}"#),
            178.0,
        ),
        (
            "the hippocampus' recipe in fp16",
            format!(
                r#""precision": "fp16", "ema": 0.99, {augmented}, "patch": [16, 16, 16],
                "network": {{ "channels": [16, 32, 64, 128], "strides": [2, 2, 2],
                    "residual_units": 2 }}, "loss": {{ "name": "dice_ce" }},
                "optimizer": {{ "name": "novograd" }}"#
            ),
            266.0,
        ),
    ];
    for (name, more, operations) in table {
        let Some(lab) = pretend_cuda::lab() else { return };
        let steps = Steps::new(&lab, &format!("{{{more}}}"), 1);
        // The losses are read once an epoch, and at most every 0.4 s besides.
        steps.at_most(name, "wait", 2.0 / BATCHES as f64);
        steps.at_most(name, "soft wait", 0.0);
        steps.at_most(name, "operation", operations);
        steps.at_most(name, "slow list", 0.0);
    }
}

#[test]
fn batches_of_loader_threads_come_by_two_copies_from_pinned_memory_that_is_used_in_turn() {
    let Some(mut lab) = pretend_cuda::lab() else { return };
    lab.set("VOXFLOW_TRAINING_VOLUMES", "memory");
    let steps = Steps::new(&lab, "{}", 1);
    steps.at_most("loader", "soft wait", 0.0);
    steps.at_most("loader", "copy", 3.0);
    steps.at_most("loader", "wait", 2.0 / BATCHES as f64);
    steps.at_most("loader", "pinned", 0.5);
    lab.set("PRETEND_CUDA_PINNED", "0");
    run(&lab, &training(3, "{}"), "cuda:0");
    assert!(Counts::take(&lab).of("soft wait") > 0, "without pinned memory, copies are waited for");
}

#[test]
fn a_validation_and_a_checkpoint_keep_within_their_waits() {
    let Some(lab) = pretend_cuda::lab() else { return };
    let plain = counts(&lab, 6, "{}");
    let difference = |more: &str, times: u64| {
        let found = counts(&lab, 6, more);
        let waits = found.of("wait").saturating_sub(plain.of("wait")) / times;
        (waits, found.above(&plain))
    };
    // Five more validations, of which some keep their weights; five checkpoints.
    let (validation, each) = difference(r#"{ "validate_every": 1, "best_by": "last" }"#, 5);
    assert!(validation <= 8, "{validation} waits for a validation: {each:#?}");
    let (checkpoint, each) = difference(r#"{ "checkpoint_every": 1 }"#, 5);
    assert!(checkpoint <= 8, "{checkpoint} waits for a checkpoint: {each:#?}");
}
