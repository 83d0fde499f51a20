//! Stories of workflows, told with toy kinds.

use super::toys::{GOOD, parse};
use super::*;
use serde_json::Value;

fn mistakes(text: &str) -> Vec<String> {
    parse(text, &[]).map(|_| ()).unwrap_err()
}

#[test]
fn a_good_workflow_is_sorted_and_filled_in() {
    let workflow = parse(GOOD, &[]).unwrap();
    let ids: Vec<&str> = workflow.stages.iter().map(|stage| stage.id.as_str()).collect();
    assert_eq!(ids, ["data", "model", "split"]);
    assert_eq!(workflow.stage("data").unwrap().params["url"], "/data/a$b");
    assert_eq!(workflow.stage("model").unwrap().needs["dataset"], ["data"]);
}

#[test]
fn merge_keys_bring_what_is_written_once_and_mistakes_keep_their_places() {
    let text = "x-fast: &fast { epochs: 3, rate: 0.5 }
stages:
  data: { uses: source }
  a: &a { uses: train, needs: [data], with: { <<: *fast, rate: 0.25 } }
  b: { <<: *a, with: *fast }
";
    let workflow = parse(text, &["b.epochs=7"]).unwrap();
    let params = |id: &str| {
        let params = &workflow.stage(id).unwrap().params;
        (params["epochs"].as_u64(), params["rate"].as_f64())
    };
    assert_eq!(params("a"), (Some(3), Some(0.25)));
    assert_eq!(params("b"), (Some(7), Some(0.5)), "set for b alone");
    let wrong = text.replace("0.5", "fast").replace("x-fast", "fast");
    assert_eq!(
        mistakes(&wrong),
        [
            "w.yaml:1:1: key 'fast': there is no such key; known are 'name', 'seed', 'folds', 'stages', 'sweep' or 'extends'",
            "w.yaml:1:32: stage 'b': key 'rate': must be a number, but is the text 'fast'",
        ]
    );
    let scalar = text.replace("<<: *fast", "<<: 3");
    let words = "w.yaml:4:51: stage 'a': '<<' takes a mapping";
    let found = mistakes(&scalar);
    assert!(found.iter().any(|mistake| mistake.starts_with(words)), "{found:?}");
}

#[test]
fn a_byte_order_mark_and_the_line_ends_of_windows_change_nothing() {
    let marked = format!("\u{feff}{}", GOOD.replace('\n', "\r\n"));
    let (one, other) = (parse(GOOD, &[]).unwrap(), parse(&marked, &[]).unwrap());
    let params = |workflow: &Workflow| -> Vec<Value> {
        workflow.stages.iter().map(|stage| stage.params.clone()).collect()
    };
    assert_eq!(params(&one), params(&other));
}

#[test]
fn the_seed_is_the_default_of_every_seed_but_the_splits() {
    let workflow = parse(GOOD, &["data.seed=9"]).unwrap();
    let seed = |id| workflow.stage(id).unwrap().params["seed"].as_u64().unwrap();
    assert_eq!((seed("data"), seed("model"), seed("split")), (9, 7, 0));
}

#[test]
fn every_mistake_is_found_at_once_with_its_line_and_the_nearest_word() {
    let text = "name: toy
stagse: {}
stages:
  data: { uses: sorce }
  model:
    uses: train
    needs: [dta]
    with: { epoch: 3, rate: fast }
  mix: { uses: mix, needs: [model], wiht: {} }
";
    assert_eq!(
        mistakes(text),
        [
            "w.yaml:2:1: key 'stagse': there is no such key; known are 'name', 'seed', 'folds', 'stages', 'sweep' or 'extends'; did you mean 'stages'?",
            "w.yaml:4:17: stage 'data': key 'uses': there is no kind 'sorce'; kinds are 'source', 'split', 'train', 'mix' or 'pair'; did you mean 'source'?",
            "w.yaml:7:13: stage 'model': key 'needs.0': there is no stage 'dta'; did you mean 'data'?",
            "w.yaml:8:11: stage 'model': key 'with': needs the key 'epochs': a whole number",
            "w.yaml:8:13: stage 'model': key 'epoch': there is no such key; did you mean 'epochs'?",
            "w.yaml:8:29: stage 'model': key 'rate': must be a number, but is the text 'fast'",
            "w.yaml:9:37: stage 'mix': key 'wiht': there is no such key; known are 'uses', 'needs', 'with' or 'resources'; did you mean 'with'?",
        ]
    );
}

#[test]
fn a_circle_and_two_stages_of_one_name_are_mistakes() {
    let circle = "stages:
  data: { uses: source }
  a: { uses: train, needs: [data, b], with: { epochs: 1 } }
  b: { uses: train, needs: [data, a], with: { epochs: 1 } }
";
    let found = mistakes(circle);
    assert_eq!(found.len(), 1);
    assert!(
        found[0].ends_with("stages need each other in a cycle: a needs b needs a"),
        "{found:?}"
    );
    let twice = "stages:\n  data: { uses: source }\n  data: { uses: source }\n";
    assert_eq!(
        mistakes(twice),
        ["w.yaml:3:3: two stages are called 'data', the first in line 2; give each its own name"]
    );
}

#[test]
fn an_ambiguous_need_names_both_and_a_map_settles_it() {
    let text = |needs: &str| {
        format!(
            "stages:
  data: {{ uses: source }}
  a: {{ uses: train, needs: [data], with: {{ epochs: 1 }} }}
  b: {{ uses: train, needs: [data], with: {{ epochs: 1 }} }}
  pair: {{ uses: pair, needs: {needs} }}
"
        )
    };
    let found = mistakes(&text("[a, b]"));
    assert!(
        found[0].contains(
            "'a' could be 'teacher' or 'pupil'; write which, as in needs: { teacher: a }"
        ),
        "{found:?}"
    );
    let workflow = parse(&text("{ teacher: a, pupil: b }"), &[]).unwrap();
    assert_eq!(workflow.stage("pair").unwrap().needs["pupil"], ["b"]);
    let found = mistakes(&text("{ teacher: a, pupi: b }"));
    assert!(found.iter().any(|words| words.contains("did you mean 'pupil'?")), "{found:?}");
    let two = "stages:
  one: { uses: source }
  two: { uses: source }
  split: { uses: split, needs: [one, two] }
";
    let found = mistakes(two);
    assert!(found[0].contains("'one' and 'two' could each be the 'dataset'"), "{found:?}");
}

#[test]
fn a_missing_role_says_who_makes_it_and_an_unused_need_is_a_mistake() {
    let found = mistakes("stages:\n  data: { uses: source }\n  split: { uses: split }\n");
    assert!(
        found[0].ends_with("nothing needed makes it; a dataset is made by 'data'"),
        "{found:?}"
    );
    let found =
        mistakes("stages:\n  data: { uses: source }\n  more: { uses: source, needs: [data] }\n");
    assert!(
        found[0].contains("'data' makes a dataset, and 'source' reads nothing; remove it"),
        "{found:?}"
    );
}

#[test]
fn set_is_typed_by_the_schema_and_its_mistakes_point_at_the_command_line() {
    let workflow =
        parse(GOOD, &["model.epochs=5", "model.note=12", "seed=1", "model.rate=null"]).unwrap();
    let model = workflow.stage("model").unwrap();
    assert_eq!((&model.params["epochs"], &model.params["note"]), (&5.into(), &"12".into()));
    assert_eq!(model.params["seed"], 1);
    let found = parse(GOOD, &["model.epochs=many", "modle.epochs=1", "model.rat=1"])
        .map(|_| ())
        .unwrap_err();
    assert_eq!(
        found,
        [
            "--set model.epochs=many: stage 'model': key 'epochs': must be a whole number, but is the text 'many'",
            "--set model.rat=1: stage 'model': key 'rat': there is no such key; did you mean 'rate'?",
            "--set modle.epochs=1: there is no stage 'modle'; did you mean 'model'?",
        ]
    );
}

#[test]
fn the_resolved_workflow_is_runnable_and_means_the_same() {
    let workflow = parse(GOOD, &["model.epochs=5", "model.note=$$HOME"]).unwrap();
    let text = workflow.resolved();
    assert!(text.contains("${ROOT}/a$$b"), "variables stay as written: {text}");
    let again = parse(&text, &[]).unwrap();
    let params = |workflow: &Workflow| {
        workflow.stages.iter().map(|stage| stage.params.clone()).collect::<Vec<_>>()
    };
    assert_eq!(params(&again), params(&workflow));
    assert_eq!(again.resolved(), text);
}

#[test]
fn a_sweep_is_every_value_with_every_other() {
    let text = format!("{GOOD}sweep:\n  model.rate: [0.1, 0.2]\n  model.seed: [1, 2]\n");
    let workflow = parse(&text, &[]).unwrap();
    let variants: Vec<String> =
        workflow.variants().iter().map(|variant| sweep::in_words(&variant.values)).collect();
    let expected = ["0.1 model.seed=1", "0.1 model.seed=2", "0.2 model.seed=1", "0.2 model.seed=2"];
    assert_eq!(variants, expected.map(|rest| format!("model.rate={rest}")));
    let found = mistakes(&format!("{GOOD}sweep:\n  modl.rate: [0.1]\n  model.seed: 1\n"));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found[0].starts_with("w.yaml:9:3: key 'sweep.modl.rate': there is no stage 'modl'"),
        "{found:?}"
    );
}

#[test]
fn paths_can_change_together() {
    let text = format!("{GOOD}sweep:\n  model.rate, model.epochs: [[0.1, 4], [0.2, 2]]\n");
    let variants = parse(&text, &[]).unwrap().variants();
    let words: Vec<String> =
        variants.iter().map(|variant| sweep::in_words(&variant.values)).collect();
    assert_eq!(words, ["model.epochs=4 model.rate=0.1", "model.epochs=2 model.rate=0.2"]);
    let found = mistakes(&format!("{GOOD}sweep:\n  model.rate, model.epochs: [[0.1, 4], 7]\n"));
    assert!(found[0].ends_with("'7' must be a list of 2 values, one for each path"), "{found:?}");
}

#[test]
fn seeds_and_folds_repeat_a_variant_and_keep_its_number() {
    let text = format!("{GOOD}sweep:\n  seeds: [7, 8]\n  model.rate: [0.1, 0.2]\n");
    let variants = parse(&text, &[]).unwrap().variants();
    let each: Vec<_> =
        variants.iter().map(|one| (one.number, sweep::in_words(&one.values))).collect();
    let expected = [
        (1, "0.1 model.seed=7"),
        (1, "0.1 model.seed=8"),
        (2, "0.2 model.seed=7"),
        (2, "0.2 model.seed=8"),
    ];
    assert_eq!(each, expected.map(|(number, rest)| (number, format!("model.rate={rest}"))));
    assert_eq!(variants[0].repeats, ["model.seed"]);
}

#[test]
fn an_axis_is_the_same_on_the_command_line_and_its_mistakes_point_there() {
    let with = |words: &str| {
        let axis = [Override::over(words).unwrap()];
        Workflow::parse("w.yaml", GOOD.as_bytes(), &axis, toys::TOYS, &|_| Some("/data".into()))
    };
    let variants =
        with("model.rate=1e-3, 0.002").map(|workflow| workflow.variants()).unwrap_or_default();
    let words: Vec<String> =
        variants.iter().map(|variant| sweep::in_words(&variant.values)).collect();
    assert_eq!(words, ["model.rate=0.001", "model.rate=0.002"]);
    let mistakes = with("modle.rate=1,2").map(|_| ()).unwrap_err();
    assert_eq!(
        mistakes[0].to_string(),
        "--over modle.rate=1,2: key 'sweep.modle.rate': there is no stage 'modle'; did you mean 'model'?"
    );
}

#[test]
fn a_sweep_of_too_many_runs_or_of_one_path_twice_is_a_mistake() {
    let many: Vec<String> = (0..20).map(|number| number.to_string()).collect();
    let many = many.join(", ");
    let found = mistakes(&format!("{GOOD}sweep:\n  model.epochs: [{many}]\n  seeds: [{many}]\n"));
    assert!(found[0].contains("comes to 400 runs, and 300 is the most"), "{found:?}");
    let found = mistakes(&format!("{GOOD}sweep:\n  model.seed: [1]\n  seeds: [2]\n"));
    assert!(found[0].contains("'model.seed' is varied twice"), "{found:?}");
}

#[test]
fn a_variable_without_value_or_default_is_a_mistake_at_its_line() {
    let found = mistakes("stages:\n  data:\n    uses: source\n    with: { url: '${NOWHERE}/x' }\n");
    assert_eq!(
        found,
        [
            "w.yaml:4:18: stage 'data': key 'url': the environment has no 'NOWHERE'; set it, or give a default: '${NOWHERE:-default}'"
        ]
    );
}

#[test]
fn resources_are_read_set_and_written_back_and_are_no_part_of_the_parameters() {
    let text = GOOD.replace("uses: source,", "uses: source, resources: { cpus: 4, memory: 2G },");
    assert_ne!(text, GOOD);
    let resources = |overrides: &[&str]| {
        let workflow = parse(&text, overrides).unwrap();
        (workflow.stage("data").unwrap().resources.clone(), workflow.resolved())
    };
    let (read, resolved) = resources(&[]);
    assert_eq!((read.cpus, read.memory), (Some(4), Some(2 << 30)));
    assert!(resolved.contains("resources:"), "{resolved}");
    let (read, _) = resources(&["data.resources.gpus=2"]);
    assert_eq!((read.cpus, read.gpus), (Some(4), Some(2)));
    let bad = text.replace("2G", "2X").replace("cpus: 4", "cpu: 4");
    let troubles = mistakes(&bad);
    assert!(troubles[0].contains("key 'resources.cpu': there is no such key"), "{troubles:?}");
    assert!(troubles[0].contains("did you mean 'cpus'?"), "{troubles:?}");
    let troubles = mistakes(&text.replace("2G", "2X"));
    assert!(troubles[0].contains("key 'resources.memory': sizes are in"), "{troubles:?}");
}
