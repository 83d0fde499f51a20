//! Every mistake of a workflow is found before any work, all at once, with its place and the way
//! out.

mod lab;

use lab::Lab;
use lab::cubes::{CUBES, Dataset};

/// What `voxflow check` says of a workflow that must be wrong.
fn complaints(text: &str) -> String {
    let lab = Lab::new();
    lab.write("wrong.yaml", text);
    let shown = lab.voxflow(&["check", "wrong.yaml"]);
    assert_eq!(shown.code, 2, "{}", shown.err);
    shown.err
}

/// The number of the first line of `text` that holds `part`.
fn line_of(text: &str, part: &str) -> usize {
    text.lines().position(|line| line.contains(part)).expect("the line is there") + 1
}

#[track_caller]
fn tells(text: &str, at: &str, words: &[&str]) {
    let complaint = complaints(text);
    let place = format!("wrong.yaml:{}", line_of(text, at));
    assert!(complaint.contains(&place), "'{place}' is missing in:\n{complaint}");
    for word in words {
        assert!(complaint.contains(word), "'{word}' is missing in:\n{complaint}");
    }
}

#[test]
fn an_unknown_key_is_told_with_the_nearest_right_one() {
    tells(
        &CUBES.replace("learning_rate:", "learning_rat:"),
        "learning_rat:",
        &["model", "learning_rat", "'learning_rate'"],
    );
}

#[test]
fn an_unknown_kind_is_told_with_the_nearest_right_one() {
    tells(
        &CUBES.replace("uses: preprocess", "uses: preproces"),
        "uses: preproces",
        &["volumes", "'preprocess'"],
    );
}

#[test]
fn a_misspelt_stage_in_needs_is_told_with_the_nearest_right_one() {
    tells(
        &CUBES.replace("needs: [cache, model] }\n  final", "needs: [cache, modle] }\n  final"),
        "modle",
        &["score", "'model'"],
    );
}

#[test]
fn a_cycle_is_told_with_its_stages() {
    let start = |from: &str| format!("needs: {{ cache: cache, start: {from} }}");
    let second = format!(
        "  second: {{ uses: train, {}, with: {{ epochs: 1, patch: [16, 16, 16] }} }}\n",
        start("model")
    );
    let text = CUBES.replace(
        "uses: train\n    needs: [cache]",
        &format!("uses: train\n    {}", start("second")),
    ) + &second;
    let complaint = complaints(&text.replace("[cache, model]", "{ cache: cache, model: model }"));
    assert!(complaint.contains("cycle: model needs second needs model"), "{complaint}");
}

#[test]
fn a_wrong_type_is_told() {
    tells(
        &CUBES.replace("epochs: 2", "epochs: many"),
        "epochs: many",
        &["model", "epochs", "many"],
    );
}

#[test]
fn a_value_out_of_range_is_told() {
    tells(
        &CUBES.replace("learning_rate: 0.002", "learning_rate: -1"),
        "learning_rate: -1",
        &["model", "learning_rate"],
    );
    tells(
        &CUBES.replace("patch: [16, 16, 16]", "patch: [16, 18, 16]"),
        "patch:",
        &["model", "18", "16"],
    );
}

#[test]
fn two_stages_of_one_name_are_told() {
    tells(&CUBES.replace("  final:", "  score:"), "uses: test", &["score"]);
}

#[test]
fn all_mistakes_come_at_once() {
    let text = CUBES
        .replace("learning_rate:", "learning_rat:")
        .replace("uses: preprocess", "uses: preproces")
        .replace("epochs: 2", "epochs: many")
        .replace("training: 4", "trainin: 4");
    let complaint = complaints(&text);
    for word in ["learning_rat", "preproces", "many", "trainin"] {
        assert!(complaint.contains(word), "'{word}' is missing in:\n{complaint}");
    }
}

#[test]
fn run_finds_mistakes_before_any_work() {
    let lab = Lab::new();
    Dataset::write(&lab.path("data"), 7, 0);
    lab.write("wrong.yaml", &CUBES.replace("learning_rate:", "learning_rat:"));
    let shown = lab.voxflow(&["run", "wrong.yaml"]);
    assert_eq!(shown.code, 2, "{}", shown.err);
    assert!(lab.runs().is_empty());
}

#[test]
fn the_plan_of_the_spleen_workflow_says_what_runs_and_what_cannot_be_known_yet() {
    let lab = Lab::new();
    let shown =
        lab.voxflow(&["plan", concat!(env!("CARGO_MANIFEST_DIR"), "/../workflows/spleen.yaml")]);
    assert_eq!(shown.code, 0, "{}", shown.err);
    let begins = |stage: &str| {
        let line = shown.out.lines().find(|line| line.starts_with(stage));
        line.unwrap_or_else(|| panic!("no '{stage}' in:\n{}", shown.out))
    };
    assert!(begins("archive").contains("run because not made before"), "{}", shown.out);
    assert!(begins("dataset").contains("follows archive"), "{}", shown.out);
    assert!(begins("model").contains("follows"), "{}", shown.out);
    assert!(!lab.path(".voxflow").exists(), "a plan leaves nothing behind");
}
