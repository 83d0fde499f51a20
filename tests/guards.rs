//! Guards of the science: a model is not scored on what it has seen, nor on volumes that were
//! prepared otherwise; a split says which cases changed sides.

mod lab;

use lab::Lab;
use lab::cubes::Dataset;
use lab::layouts::{self, Holds};
use std::fs;
use std::path::Path;

const MODEL: &str = "uses: train
    with: &train
      epochs: 2
      patch: [16, 16, 16]
      volumes_per_step: 2
      patches_per_volume: 1
      network: { channels: [2, 3], strides: [2], residual_units: 1 }
      validate_every: 1
";

/// `folder` data, a split, volumes and their cache, under names that end in `mark`.
fn part(mark: &str, path: &str, split: &str, preparation: &str) -> String {
    format!(
        "  dataset{mark}: {{ uses: folder, with: {{ path: {path} }} }}
  split{mark}: {{ uses: split, needs: [dataset{mark}], with: {{ {split} }} }}
  volumes{mark}: {{ uses: preprocess, needs: [dataset{mark}], with: {{ {preparation} }} }}
  cache{mark}: {{ uses: cache, needs: [dataset{mark}, volumes{mark}, split{mark}] }}
"
    )
}

fn model(name: &str, needs: &str) -> String {
    let params = MODEL.replace("&train\n", "\n");
    format!("  {name}:\n    needs: {{ {needs} }}\n    {params}")
}

const PLAIN: &str = "intensity: { zscore: all }";
const FIRST: &str =
    "training: [case_00, case_01, case_02], validation: [case_03], testing: [case_04]";
const OTHER: &str = "training: [case_04], validation: [case_00], testing: [case_01, case_03]";

fn stages(parts: &[String]) -> String {
    format!("name: guards\nseed: 0\nstages:\n{}", parts.concat())
}

/// Runs a workflow that must fail, and gives what it said.
fn trouble(lab: &Lab, workflow: &str) -> String {
    lab.write("workflow.yaml", workflow);
    let shown = lab.voxflow(&["run", "workflow.yaml", "--keep-going"]);
    assert_eq!(shown.code, 1, "{}", shown.err);
    shown.err
}

/// The same voxels under other names, packed otherwise, in a dataset of its own.
fn disguised(lab: &Lab, from: &Path) {
    for (folder, _) in [("imagesTr", 0), ("labelsTr", 1)] {
        fs::create_dir_all(lab.path("copy").join(folder)).unwrap();
        for case in 0..5 {
            let packed = fs::read(from.join(format!("{folder}/case_{case:02}.nii.gz"))).unwrap();
            let mut plain = vec![];
            let mut decoder = flate2::read::MultiGzDecoder::new(&packed[..]);
            std::io::Read::read_to_end(&mut decoder, &mut plain).unwrap();
            fs::write(lab.path("copy").join(format!("{folder}/other_{case}.nii")), plain).unwrap();
        }
    }
}

#[test]
fn a_model_is_not_scored_on_cases_that_it_has_seen_unless_that_is_asked_for() {
    let lab = Lab::new();
    let data = Dataset::write(&lab.path("data"), 5, 0);
    disguised(&lab, &data.folder);
    let copy = "copy, images: 'imagesTr/{case}.nii', labels: 'labelsTr/{case}.nii', \
                label_names: [cube], modality: [MRI]";
    let other = OTHER.replace("case_0", "other_");
    let seen = |allow: &str| {
        stages(&[
            part("", "data", FIRST, PLAIN),
            part("_b", copy, &other, PLAIN),
            model("model", "cache: cache"),
            format!(
                "  final: {{ uses: test, needs: {{ dataset: dataset_b, cache: cache_b, model: model }}{allow} }}\n"
            ),
            format!(
                "  score: {{ uses: validate, needs: {{ cache: cache_b, model: model }}{allow} }}\n"
            ),
        ])
    };
    let err = trouble(&lab, &seen(""));
    assert!(
        err.contains(
            "data leakage: model 'model' has seen testing cases: 'other_1' (trained on as 'case_01' \
             of 'Cubes'), 'other_3' (weights chosen by it as 'case_03' of 'Cubes')"
        ),
        "{err}"
    );
    assert!(err.contains("seen validation cases: 'other_0' (trained on"), "{err}");

    let allowed = seen(", with: { allow_leakage: true }");
    lab.write("workflow.yaml", &allowed);
    let shown = lab.voxflow(&["run", "workflow.yaml"]);
    assert_eq!(shown.code, 0, "{}", shown.err);
    assert!(shown.err.contains("warning: final: data leakage: model 'model'"), "{}", shown.err);
    let metrics = lab.last_run().metrics();
    let leaked = |stage: &str| {
        let found =
            metrics.iter().find(|row| row[0] == stage && row[1]["metric"] == "leaked_cases");
        found.map(|row| row[1]["value"].as_f64().unwrap())
    };
    assert_eq!((leaked("final"), leaked("score")), (Some(2.0), Some(1.0)));
}

#[test]
fn a_model_inherits_what_its_start_has_seen() {
    let lab = Lab::new();
    Dataset::write(&lab.path("data"), 6, 0);
    let second = "training: [case_04], validation: [case_05], testing: [case_00, case_03]";
    let chosen = "training: [case_04], validation: [case_01], testing: [case_05]";
    // Prepared otherwise: the voxels of the file are what counts.
    let wide = "spacing: [2, 2, 2], intensity: { zscore: all }";
    let workflow = stages(&[
        part("", "data", FIRST, PLAIN),
        part("_b", "data", second, wide),
        part("_c", "data", chosen, PLAIN),
        model("model", "cache: cache"),
        model("refined", "cache: cache_b, start: model"),
        model("biased", "cache: cache_c, start: model"),
        "  final: { uses: test, needs: { dataset: dataset_b, cache: cache_b, model: refined } }\n"
            .into(),
    ]);
    let err = trouble(&lab, &workflow);
    assert!(
        err.contains(
            "model 'refined' has seen testing cases: 'case_00' (trained on), 'case_03' (weights \
             chosen by it)"
        ),
        "{err}"
    );
    assert!(
        err.contains("model 'model' has seen validation cases: 'case_01' (trained on)"),
        "{err}"
    );
    let card = lab.last_run().folder.join("outputs/refined/model.json");
    let card: serde_json::Value = serde_json::from_slice(&fs::read(card).unwrap()).unwrap();
    let names = |part: &str| -> Vec<&str> {
        let cases = card["provenance"][part].as_array().unwrap();
        cases.iter().map(|case| case["name"].as_str().unwrap()).collect()
    };
    assert_eq!(names("training"), ["case_00", "case_01", "case_02", "case_04"]);
    assert_eq!(names("validation"), ["case_03", "case_05"]);
}

#[test]
fn volumes_that_were_prepared_otherwise_are_refused_and_both_preparations_named() {
    let lab = Lab::new();
    Dataset::write(&lab.path("data"), 5, 0);
    let window = |window: &str| format!("spacing: [2, 2, 3], intensity: {{ window: {window} }}");
    let cropped = format!("{}, crop_foreground: true", window("[90, 200]"));
    let workflow = stages(&[
        part("", "data", FIRST, &window("[90, 200]")),
        part("_b", "data", FIRST, &window("[0, 3000]")),
        part("_c", "data", FIRST, &cropped),
        model("model", "cache: cache"),
        "  score: { uses: validate, needs: { cache: cache_b, model: model } }\n".into(),
        "  final: { uses: test, needs: { dataset: dataset, cache: cache_b, model: model } }\n"
            .into(),
        "  crop: { uses: validate, needs: { cache: cache_c, model: model } }\n".into(),
    ]);
    let err = trouble(&lab, &workflow);
    let words = "model 'model': the volumes were prepared otherwise than the model's: intensity \
                 {window:[90.0,200.0]} for the model, {window:[0.0,3000.0]} here";
    assert_eq!(err.matches(words).count(), 2, "{err}");
    assert!(err.contains("warning: crop: model 'model': the volumes were prepared otherwise"));
    assert_eq!(lab.last_run().stage("crop")["outcome"], "made");
}

/// Two channels a case, under the names that a dataset gives them.
fn channels(mark: &str, path: &str, names: &str) -> String {
    let patterns = "images: ['one/{case}.nii.gz', 'two/{case}.nii.gz'], \
                    labels: 'seg/{case}.nii.gz', label_names: [cube]";
    let folder = format!("{path}, {patterns}, modality: {names}");
    let split = "training: ['07', '08', '11'], validation: ['12'], testing: ['30', '41']";
    part(mark, &folder, split, PLAIN)
}

#[test]
fn channels_in_another_order_are_refused_and_other_names_are_told() {
    let lab = Lab::new();
    let files = [
        ("one/#.nii.gz", Holds::Image(1)),
        ("two/#.nii.gz", Holds::Image(2)),
        ("seg/#.nii.gz", Holds::Label(&[1])),
    ];
    for folder in ["data", "other_data"] {
        layouts::write(&lab, folder, &files);
    }
    let workflow = |names: &str| {
        let predict = "uses: predict, needs: { dataset: dataset_b, model: model }";
        stages(&[
            channels("", "data", "[MR0, MR1]"),
            channels("_b", "other_data", names),
            model("model", "cache: cache"),
            "  final: { uses: test, needs: { dataset: dataset_b, cache: cache_b, model: model } }\n"
                .into(),
            "  score: { uses: validate, needs: { cache: cache_b, model: model } }\n".into(),
            format!("  labels: {{ {predict}, with: {{ cases: all }} }}\n"),
        ])
    };
    let err = trouble(&lab, &workflow("[MR1, MR0]"));
    let words = "the images have channels in the order (MR1, MR0), the model reads (MR0, MR1)";
    assert_eq!(err.matches(words).count(), 3, "of test, validate and predict: {err}");
    lab.write("workflow.yaml", &workflow("[T1, T2]"));
    let shown = lab.voxflow(&["run", "workflow.yaml"]);
    let words = "the images have channels (T1, T2), the model was trained on (MR0, MR1)";
    assert!(shown.code == 0 && shown.err.contains(words), "{}", shown.err);
}

#[test]
fn an_ensemble_has_one_window_that_suits_every_network() {
    let lab = Lab::new();
    Dataset::write(&lab.path("data"), 5, 0);
    let deep = model("deep", "cache: cache")
        .replace("channels: [2, 3], strides: [2]", "channels: [2, 2, 3], strides: [2, 2]");
    let score = |name: &str, models: &str, roi: &str| {
        format!(
            "  {name}:\n    uses: validate\n    needs: {{ cache: cache, model: [{models}] }}\n    with: {{ inference: {{ roi: {roi} }} }}\n"
        )
    };
    let workflow = stages(&[
        part("", "data", FIRST, PLAIN),
        model("flat", "cache: cache"),
        deep,
        score("one", "flat, deep", "[14, 14, 14]"),
        score("other", "deep, flat", "[14, 14, 14]"),
        score("right", "flat, deep", "[16, 16, 16]"),
        score("turned", "deep, flat", "[16, 16, 16]"),
    ]);
    let err = trouble(&lab, &workflow);
    assert_eq!(
        err.matches("model 'deep': inference.roi: [14, 14, 14] does not suit").count(),
        2,
        "{err}"
    );
    assert!(!err.contains("panic"), "{err}");
    let run = lab.last_run();
    let scores =
        |stage: &str| fs::read(run.folder.join(format!("outputs/{stage}/scores.json"))).unwrap();
    assert_eq!(scores("right"), scores("turned"));
}

#[test]
fn a_batch_that_leaves_batch_norm_one_value_is_refused_before_the_first_step() {
    let lab = Lab::new();
    Dataset::write(&lab.path("data"), 5, 0);
    let single = model("model", "cache: cache")
        .replace("channels: [2, 3], strides: [2]", "channels: [2, 3], strides: [16]");
    let alone = single.replace("volumes_per_step: 2", "volumes_per_step: 1");
    lab.write("workflow.yaml", &stages(&[part("", "data", FIRST, PLAIN), alone]));
    let shown = lab.voxflow(&["check", "workflow.yaml"]);
    assert_eq!(shown.code, 2, "{}", shown.err);
    let words = "needs more than one value per channel";
    assert!(shown.err.contains(words), "{}", shown.err);
    // Three cases by two: the last batch is the one.
    let err = trouble(&lab, &stages(&[part("", "data", FIRST, PLAIN), single.clone()]));
    assert!(err.contains(words), "{err}");
    let kept = single.replace("epochs: 2", "epochs: 2\n      keep_last_batch: false");
    lab.run(&stages(&[part("", "data", FIRST, PLAIN), kept]), &[], 0);
    let instance = single.replace("residual_units: 1", "residual_units: 1, norm: instance");
    lab.write("workflow.yaml", &stages(&[part("", "data", FIRST, PLAIN), instance]));
    let shown = lab.voxflow(&["check", "workflow.yaml"]);
    assert_eq!(shown.code, 2, "{}", shown.err);
    assert!(shown.err.contains("instance norm needs more than one"), "{}", shown.err);
}

#[test]
fn training_stops_early_at_a_validation_and_only_there() {
    let lab = Lab::new();
    Dataset::write(&lab.path("data"), 5, 0);
    let patient = model("model", "cache: cache")
        .replace("epochs: 2", "epochs: 40\n      stop_after: 1\n      learning_rate: 1e-9")
        .replace("validate_every: 1", "validate_every: 4");
    let run = lab.run(&stages(&[part("", "data", FIRST, PLAIN), patient]), &[], 0);
    let metrics = run.metrics();
    let epochs = |name: &str| -> Vec<u64> {
        let rows = metrics.iter().filter(|row| {
            row[1]["metric"] == name && row[1]["split"] != "testing" && row[1]["case"].is_null()
        });
        rows.filter_map(|row| row[1]["epoch"].as_u64()).collect()
    };
    // Nothing is learnt at this rate: the second validation is no better than the first.
    assert_eq!(epochs("loss").last(), Some(&8));
    assert_eq!(epochs("dice").last(), Some(&8), "the last epoch is validated");
}

#[test]
fn cases_that_change_sides_are_named_by_plan_and_run() {
    let lab = Lab::new();
    Dataset::write(&lab.path("data"), 9, 0);
    let workflow = |more: &str, exclude: &str| {
        let split = format!("training: rest, validation: 1, testing: 2{more}");
        stages(&[part("", &format!("data, exclude: [{exclude}]"), &split, PLAIN)])
    };
    lab.run(&workflow("", ""), &[], 0);
    let split = |lab: &Lab| -> serde_json::Value {
        let path = lab.last_run().folder.join("outputs/split/split.json");
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    };
    let before = split(&lab);
    let gone = before["training"][0].as_str().unwrap();
    lab.write("workflow.yaml", &workflow("", gone));
    let plan = lab.voxflow(&["plan", "workflow.yaml"]);
    assert!(plan.out.contains("warning: split: "), "{}", plan.out);
    assert!(plan.out.contains("changed sides since the last run: "), "{}", plan.out);
    let shown = lab.voxflow(&["run", "workflow.yaml"]);
    let words = plan.out.split("warning: split: ").nth(1).unwrap().lines().next().unwrap();
    assert!(shown.err.contains(words), "{}\n{words}", shown.err);
    let after = split(&lab);
    let chosen =
        |split: &serde_json::Value| [split["validation"].clone(), split["testing"].clone()];
    assert_ne!(chosen(&before), chosen(&after));

    // Drawn by hash, the same exclusion moves no other.
    lab.run(&workflow(", order: hash", ""), &[], 0);
    let before = split(&lab);
    let gone = before["training"][0].as_str().unwrap();
    lab.write("workflow.yaml", &workflow(", order: hash", gone));
    let plan = lab.voxflow(&["plan", "workflow.yaml"]);
    assert!(!plan.out.contains("changed sides"), "{}", plan.out);
    let shown = lab.voxflow(&["run", "workflow.yaml"]);
    assert!(!shown.err.contains("changed sides"), "{}", shown.err);
    let after = split(&lab);
    assert_eq!(before["testing"], after["testing"]);
    assert_eq!(before["validation"], after["validation"]);
}

#[test]
fn runs_with_other_testing_cases_are_marked_in_comparisons() {
    let lab = Lab::new();
    Dataset::write(&lab.path("data"), 6, 0);
    let workflow = |split: &str, rate: &str| {
        let train = model("model", "cache: cache")
            .replace("epochs: 2", &format!("epochs: 2\n      learning_rate: {rate}"));
        let test =
            "  final: { uses: test, needs: { dataset: dataset, cache: cache, model: model } }\n";
        stages(&[part("", "data", split, PLAIN), train, test.into()])
    };
    lab.run(&workflow(FIRST, "0.001"), &[], 0);
    lab.run(&workflow(FIRST, "0.002"), &[], 0);
    let note = "tested on different cases";
    let shown = lab.voxflow(&["compare", "guards"]);
    assert!(!(shown.out + &shown.err).contains(note));
    lab.run(&workflow(&FIRST.replace("[case_04]", "[case_05]"), "0.002"), &[], 0);
    for arguments in [&["compare", "guards"][..], &["compare", "guards", "--sort", "final.dice"]] {
        let shown = lab.voxflow(arguments);
        assert!((shown.out + &shown.err).contains(note), "{arguments:?}");
    }
    let csv = lab.voxflow(&["compare", "guards", "--format", "csv"]).out;
    let sets: Vec<&str> = csv.lines().map(|line| line.split(',').nth(3).unwrap()).collect();
    assert_eq!(sets[0], "test set");
    assert!(sets[1] != sets[3] || sets[1] != sets[2], "{csv}");
    // A parameter and a metric of one name stay apart.
    let heads: Vec<&str> = csv.lines().next().unwrap().split(',').collect();
    assert!(heads.contains(&"model.learning_rate"), "{heads:?}");
    assert!(heads.contains(&"metric.model.learning_rate"), "{heads:?}");
    assert_eq!(heads.iter().collect::<std::collections::BTreeSet<_>>().len(), heads.len());
    let parquet = ["compare", "guards", "--format", "parquet", "--out", "runs.parquet"];
    assert_eq!(lab.voxflow(&parquet).code, 0);
    assert_eq!(&fs::read(lab.path("runs.parquet")).unwrap()[..4], b"PAR1");
    let sorted = lab.voxflow(&["compare", "guards", "--sort", "metric.model.learning_rate"]);
    assert_eq!(sorted.code, 0, "{}", sorted.err);
    let json = lab.voxflow(&["compare", "guards", "--format", "json"]).out;
    assert!(json.contains("\"test_sets\""), "{json}");
}

#[test]
fn a_card_that_cannot_be_used_is_told_with_the_reason() {
    let mut lab = Lab::new();
    Dataset::write(&lab.path("data"), 5, 0);
    let workflow = stages(&[part("", "data", FIRST, PLAIN), model("model", "cache: cache")]);
    lab.set("VOXFLOW_NVIDIA_CARD", "0");
    lab.write("workflow.yaml", &workflow);
    let shown = lab.voxflow(&["run", "workflow.yaml"]);
    assert!(shown.code == 0 && !shown.err.contains("card"), "{}", shown.err);
    lab.set("VOXFLOW_NVIDIA_CARD", "1");
    let shown = lab.voxflow(&["run", "workflow.yaml", "--force", "model"]);
    assert_eq!(shown.code, 0, "{}", shown.err);
    let words =
        "warning: model: there is an NVIDIA card, but the processor is used: device 'cuda:0': ";
    assert!(shown.err.contains(words), "{}", shown.err);
    let events = lab.last_run().events();
    assert!(events.iter().any(|event| event["message"]["say"] == "warning"));
    let device = events.iter().find(|event| event["message"]["say"] == "device").unwrap();
    assert_eq!(device["message"]["name"], "cpu");
    let warned = lab.last_run().stage("model")["warnings"].to_string();
    assert!(warned.contains("there is an NVIDIA card"), "{warned}");
}

#[test]
fn a_device_that_is_insisted_on_and_cannot_be_used_is_refused_before_any_work() {
    let mut lab = Lab::new();
    let data = Dataset::write(&lab.path("data"), 5, 0);
    lab.set("VOXFLOW_LIBTORCH_CUDA", lab.path("nothing").display().to_string());
    lab.set("CUDA_VISIBLE_DEVICES", "");
    let score = "  score: { uses: validate, needs: { cache: cache, model: model } }\n";
    let test = "  final: { uses: test, needs: { dataset: dataset, cache: cache, model: model } }\n";
    let maps = "  maps: { uses: predict, needs: [dataset, model], with: { cases: all } }\n";
    let base = [part("", "data", FIRST, PLAIN), model("model", "cache: cache")];
    let parts = [&base[..], &[score.into(), test.into(), maps.into()]].concat();
    for count in 2..=5 {
        // One more stage each time: all before it are made by the processor.
        lab.write("workflow.yaml", &stages(&parts[..count]));
        for device in ["cuda", "cuda:0", "cuda:7"] {
            let shown = lab.voxflow(&["run", "workflow.yaml", "--device", device]);
            let name = if device == "cuda" { "cuda:0" } else { device };
            assert_eq!(shown.code, 2, "{}", shown.err);
            assert!(shown.err.starts_with(&format!("error: device '{name}': ")), "{}", shown.err);
            assert!(shown.err.contains("--device cpu"), "{}", shown.err);
            assert_eq!(lab.runs().len(), count - 2, "no run was begun");
        }
        assert_eq!(lab.voxflow(&["run", "workflow.yaml", "--device", "cpu"]).code, 0);
    }
    // All is made: no device is asked for.
    assert_eq!(lab.voxflow(&["run", "workflow.yaml", "--device", "cuda"]).code, 0);
    let image = data.image(0).display().to_string();
    let predict = ["predict", "--model", "latest", &image, "--out", "maps", "--device", "cuda"];
    let shown = lab.voxflow(&predict);
    assert_eq!(shown.code, 2, "{}", shown.err);
    assert!(shown.err.contains("device 'cuda:0': ") && !lab.path("maps").exists(), "{}", shown.err);
}
