//! A broken kernel and the end of memory at the Nth operation of each stage that uses the device:
//! one clear error, a whole checkpoint, and the same bytes from the same command afterwards.

use crate::lab::pretend_cuda::{self, Counts};
use crate::lab::{Lab, Record};
use crate::{USES, VOLUMES, is_whole_matrix, training};

/// Stages, and how many operations of each fail in turn in `make test`.
const STAGES: [(&str, u64); 4] = [("model", 4), ("score", 2), ("tested", 2), ("predicted", 2)];

/// A training of everything that touches the device, with checkpoints and validations.
fn stages() -> String {
    let more = r#"{ "precision": "fp16", "ema": 0.9, "clip_gradients": 1.0, "checkpoint_every": 1,
        "validate_every": 1, "augmentation": { "flip": { "probability": 0.5 } } }"#;
    format!("{}{USES}", training(2, more))
}

/// Makes a stage anew, with the fault of `fail` or none.
fn make(lab: &mut Lab, stage: &str, fail: &str, code: i32) -> Record {
    lab.set("PRETEND_CUDA_FAIL", fail);
    let flags = ["--device", "cuda:0", "--threads", "1", "--until", stage, "--force", stage];
    lab.run(&format!("{VOLUMES}{}", stages()), &flags, code)
}

/// The operations of a stage, every one or a sample that has the first and the last.
fn sample(all: u64, count: u64) -> Vec<u64> {
    if is_whole_matrix() {
        return (1..=all).collect();
    }
    (0..count).map(|index| 1 + index * (all - 1) / (count - 1)).collect()
}

/// Asserts that an error has a cause and a way out, in one line for each case.
fn check(error: &str, what: &str, memory: bool) {
    let cause = if memory { "memory ran out (CUDA out of memory" } else { "unspecified launch" };
    let ways_out: &[&str] = if memory { &["lower '"] } else { &["run again", "nvidia-smi"] };
    assert!(error.contains(cause), "{what}: {error}");
    assert!(ways_out.iter().all(|words| error.contains(words)), "{what}: {error}");
    assert!(error.lines().all(|line| line.len() < 700) && error.lines().count() <= 3, "{error}");
    for never in ["panic", "assertion", "frame #", "scoped thread"] {
        assert!(!error.contains(never), "{what}: {error}");
    }
}

/// Fails operations of one stage in turn.
fn fail_in_turn(stage: &str, count: u64) {
    let Some(mut lab) = pretend_cuda::lab() else { return };
    make(&mut lab, stage, "", 0);
    Counts::take(&lab);
    let wanted = make(&mut lab, stage, "", 0);
    let counts = Counts::take(&lab);
    let items = counts.0.get(&("wait".into(), "item".into())).copied().unwrap_or(0);
    let all = counts.of("operation") + counts.of("copy") + items;
    assert!(all > 100, "{stage} used the device {all} times");
    for nth in sample(all, count) {
        for memory in [false, true] {
            let fail = format!("any:{nth}{}", if memory { ":memory" } else { "" });
            let what = format!("{stage}, {fail} of {all}");
            let failed = make(&mut lab, stage, &fail, 1);
            check(failed.stage(stage)["error"].as_str().unwrap_or_default(), &what, memory);
            let ended = make(&mut lab, stage, "", 0);
            let warnings = ended.stage(stage)["warnings"].to_string();
            assert!(!warnings.contains("checkpoint"), "{what}: {warnings}");
            assert_eq!(ended.stage(stage)["digest"], wanted.stage(stage)["digest"], "{what}");
        }
    }
}

#[test]
fn whatever_operation_fails_in_a_training_is_told_and_the_next_run_ends_with_the_same_bytes() {
    fail_in_turn("model", STAGES[0].1);
}

#[test]
fn whatever_operation_fails_in_validating_testing_and_predicting_is_told_with_its_case() {
    STAGES[1..].iter().for_each(|(stage, count)| fail_in_turn(stage, *count));
}
