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
fn a_precision_that_is_none_or_only_a_trainings_is_told_with_those_that_there_are() {
    let with = |params: &str| {
        let uses =
            format!("  used: {{ uses: test, needs: [dataset, cache, model], with: {params} }}");
        format!("{CUBES}{uses}\n")
    };
    let words = ["used", "precision", "'fp32', 'tf32', 'bf16' or 'fp16'"];
    tells(&with("{ precision: fp8 }"), "fp8", &words);
    let words = ["inference.precision", "'training' is for the inference of 'train'"];
    tells(&with("{ inference: { precision: training } }"), "precision: training", &words);
}

#[test]
fn a_list_of_transforms_is_held_to_their_names_and_parameters() {
    let with =
        |list: &str| CUBES.replace("learning_rate: 0.002", &format!("augmentation: [{list}]"));
    for (list, words) in [
        (
            "{name: nois, probability: 1, std: 1}",
            "key 'augmentation.0.name': must be 'spatial', 'flip', ",
        ),
        ("{name: nois, probability: 1, std: 1}", "did you mean 'noise'?"),
        ("{name: noise, probability: 1, sdt: 1}", "'augmentation.0.sdt': there is no such key"),
        ("{name: noise, probability: 1, sdt: 1}", "did you mean 'std'?"),
        ("{name: noise, probability: 1}", "'augmentation.0': needs the key 'std': a number"),
        ("{probability: 1}", "'augmentation.0': needs the key 'name': 'spatial', 'flip', "),
        ("noise", "'augmentation.0': must be a mapping with 'name': 'spatial', 'flip', "),
        ("{name: flip, probability: 2}", "'augmentation.0.probability': 2 is not between 0 and 1"),
    ] {
        tells(&with(list), "augmentation:", &[words]);
    }
}

#[test]
fn what_lacks_its_quotes_is_told_with_them() {
    for (from, to, words) in [
        ("path: data", "path: ${D}", "needs quotes: \"${D}\""),
        (
            "path: data",
            "path: data, exclude: [12]",
            "12 is a number to YAML; put it in quotes: '12'",
        ),
        ("path: data", "path: data, exclude: [1e3]", "put it in quotes: '1e3'"),
        ("path: data", "path: data, exclude: [a, 0x1F ]", "put it in quotes: '0x1F'"),
        ("path: data", "path: data, exclude: [true]", "true is a truth value to YAML"),
        ("name: cubes", "name: 2024", "put it in quotes: '2024'"),
    ] {
        tells(&CUBES.replace(from, to), to, &[words]);
    }
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
    assert!(begins("archive").contains("run because first run of this workflow"), "{}", shown.out);
    assert!(begins("dataset").contains("depends on archive"), "{}", shown.out);
    assert!(begins("model").contains("depends on"), "{}", shown.out);
    assert!(!lab.path(".voxflow").exists(), "a plan leaves nothing behind");
}

#[test]
fn what_a_run_could_not_end_with_is_refused_before_any_work() {
    let lab = Lab::new();
    Dataset::write(&lab.path("data"), 7, 0);
    let more = "  predictions: { uses: predict, needs: [dataset, model] }
  fine:
    uses: train
    needs: { cache: cache, start: model }
    with: { epochs: 1, patch: [16, 16, 16], network: { channels: [4, 8, 16], strides: [2, 2], residual_units: 1 } }
";
    lab.write("w.yaml", &format!("{CUBES}{more}"));
    for command in ["check", "plan", "run"] {
        let shown = lab.voxflow(&[command, "w.yaml"]);
        let all = format!("{}{}", shown.out, shown.err);
        assert_eq!(shown.code, 2, "{command}: {all}");
        for words in [
            "stage 'predictions': dataset 'Cubes' has no images without labels; 'cases: all'",
            "stage 'fine': the network of its start 'model' is another one ('channels' is [4,8,8] \
             there, [4,8,16] here)",
        ] {
            assert!(all.contains(words), "{command}: '{words}' in {all}");
        }
    }
    assert!(lab.runs().is_empty());
    let set = ["--set", "predictions.cases=all", "--set", "fine.network.channels=[4, 8, 8]"];
    for command in ["check", "plan"] {
        let shown = lab.voxflow(&[&[command, "w.yaml"], &set[..]].concat());
        assert_eq!(shown.code, 0, "{command}: {}{}", shown.out, shown.err);
    }
}

#[test]
fn a_patch_beyond_the_memory_of_the_machine_is_refused_at_once() {
    if std::path::Path::new("/dev/nvidiactl").exists() {
        return;
    }
    let lab = Lab::new();
    Dataset::write(&lab.path("data"), 7, 0);
    lab.write("w.yaml", CUBES);
    let shown = lab.voxflow(&["run", "w.yaml", "--set", "model.patch=[4096, 4096, 4096]"]);
    assert_eq!(shown.code, 2, "{}", shown.err);
    for words in [
        "stage 'model': key 'patch': 2 patches of 4096 x 4096 x 4096 voxels take 4398.0 GB",
        "no volume is larger than 20 x 18 x 16",
        "lower 'patch', 'volumes_per_step' or 'patches_per_volume'",
    ] {
        assert!(shown.err.contains(words), "'{words}' in {}", shown.err);
    }
    assert!(lab.runs().is_empty());
}
