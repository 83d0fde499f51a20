//! Cross-validation in one run: what is made for each fold, what joins the folds, and the one model
//! that comes of them.

mod lab;

use lab::cubes::Dataset;
use lab::{Lab, Record};
use serde_json::Value;
use std::fs;
use std::path::Path;
use voxflow_stages::image::Volume;
use voxflow_stages::image::nifti::{read_image, read_label, write_volume_f32};

/// Two configurations of three folds: six cases, two validated in each fold, and two that test.
const FOLDS: &str = "
name: cv
folds: 3
stages:
  dataset: { uses: folder, with: { path: data } }
  split: { uses: split, needs: [dataset], with: { training: 5, testing: 2, order: listed } }
  volumes: { uses: preprocess, needs: [dataset], with: { spacing: [1, 1, 1], intensity: { zscore: all } } }
  cache: { uses: cache, needs: [dataset, volumes, split] }
  fine:
    uses: train
    needs: [cache]
    with: { epochs: 2, patch: [16, 16, 16], network: { channels: [4, 8], strides: [2], residual_units: 1 } }
  fine_scores: { uses: out_of_fold, needs: [dataset, cache, fine], with: { probabilities: true } }
  coarse_volumes: { uses: preprocess, needs: [dataset], with: { spacing: [2, 2, 2], intensity: { zscore: all } } }
  coarse_cache: { uses: cache, needs: [dataset, coarse_volumes, split] }
  coarse:
    uses: train
    needs: [coarse_cache]
    with: { epochs: 2, patch: [8, 8, 8], network: { channels: [4, 8], strides: [2], residual_units: 1 } }
  coarse_scores: { uses: out_of_fold, needs: [dataset, coarse_cache, coarse], with: { probabilities: true } }
  chosen: { uses: select, needs: [fine_scores, coarse_scores, fine, coarse] }
  final: { uses: test, needs: [dataset, cache, chosen] }
";

const ARGUMENTS: [&str; 4] = ["--threads", "1", "--device", "cpu"];

fn lab() -> (Lab, Dataset) {
    let lab = Lab::new();
    let dataset = Dataset::write(&lab.path("data"), 8, 1);
    (lab, dataset)
}

fn json(run: &Record, name: &str) -> Value {
    serde_json::from_slice(&fs::read(run.folder.join("outputs").join(name)).expect(name)).unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder").flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().display().to_string()).collect();
    names.sort();
    names
}

/// Predicts an image into `out`.
fn predicted(lab: &Lab, model: &str, image: &str, out: &str) {
    let shown = lab.voxflow(
        &[&["predict", "--model", model, image, "--out", out, "--probabilities"][..], &ARGUMENTS]
            .concat(),
    );
    assert_eq!(shown.code, 0, "{}", shown.err);
}

fn probabilities(lab: &Lab, out: &str, case: &str) -> Volume<f32> {
    read_image(&lab.path(out).join(format!("{case}_probabilities.nii.gz")), out).unwrap()
}

#[test]
fn one_command_goes_from_the_images_to_a_model_chosen_by_out_of_fold_cases() {
    let (lab, dataset) = lab();
    let run = lab.run(FOLDS, &ARGUMENTS, 0);
    let stages = run.value["stages"].as_array().unwrap().len();
    assert_eq!(stages, 3 + 2 + 7 * 3, "{}", run.outcomes());
    assert_eq!(run.outcomes().matches("=made").count(), stages, "{}", run.outcomes());

    let all = ["00", "01", "02", "03", "04", "05"].map(|case| format!("case_{case}.nii.gz"));
    let pooled = names(&run.folder.join("outputs/chosen/predictions"));
    assert_eq!(pooled, all, "each case that does not test, once");
    let selection = json(&run, "chosen/selection.json");
    let tried = selection["tried"].as_array().unwrap();
    let pairs: Vec<&Value> = tried.iter().map(|one| &one["configurations"]).collect();
    assert_eq!(serde_json::json!(pairs), serde_json::json!([[0], [1], [0, 1]]));
    let best = selection["best"].as_u64().unwrap() as usize;
    let dice = |one: &Value| one["dice"].as_f64().unwrap();
    assert!(tried.iter().all(|one| dice(one) <= dice(&tried[best])));
    assert!(tried[..best].iter().all(|one| dice(one) < dice(&tried[best])));

    // The pooled Dice is that of the label maps.
    let of_case = |case: &str| {
        let map = |place: &str| read_label(&lab.path(place).join(case), case, &[1]).unwrap().data;
        let fold = run.folder.join("outputs/chosen/predictions");
        let (found, known) = (map(&fold.display().to_string()), map("data/labelsTr"));
        let both = found.iter().zip(&known).filter(|(a, b)| **a > 0 && **b > 0).count();
        let sum = found.iter().chain(&known).filter(|value| **value > 0).count();
        2.0 * both as f64 / sum as f64
    };
    let mean = all.iter().map(|case| of_case(case)).sum::<f64>() / all.len() as f64;
    assert!((mean - dice(&selection)).abs() < 1e-9, "{mean}");
    assert!(dice(&selection) >= dice(&tried[best]), "post-processing helps, or is left out");
    let summary = json(&run, "chosen/summary.json");
    let of_summary = &summary["foreground_mean"]["Dice"];
    assert!((of_summary.as_f64().unwrap() - mean).abs() < 1e-9, "{of_summary}");

    let card = json(&run, "chosen/model.json");
    let models = tried[best]["configurations"].as_array().unwrap().len() * 3;
    assert_eq!(card["members"].as_array().unwrap().len(), models);
    assert_eq!(card["provenance"]["training"].as_array().unwrap().len(), 6);

    // The model is one like any other: what it says of a testing case is what the test said.
    let image = dataset.image(7).display().to_string();
    predicted(&lab, "latest", &image, "labels");
    let tested = run.folder.join("outputs/final/predictions/case_07.nii.gz");
    let [one, other] = [lab.path("labels/case_07.nii.gz"), tested];
    assert!(fs::read(one).unwrap() == fs::read(other).unwrap());
    // The training cases of all folds are those that an image is compared with.
    let mut affine = [[0.0; 4]; 4];
    (0..3).for_each(|axis| affine[axis][axis] = 9.0);
    affine[3][3] = 1.0;
    let thick = Volume { channels: 1, shape: [8; 3], data: vec![0.5; 512], affine };
    write_volume_f32(&lab.path("thick.nii.gz"), &thick, true).unwrap();
    let shown = lab.voxflow(&["predict", "--model", "latest", "thick.nii.gz", "--out", "thick"]);
    assert!(shown.err.contains("those of 6 training cases"), "{}", shown.err);

    let shown = lab.voxflow(&["export", "latest", "--out", "bundle"]);
    assert_eq!(shown.code, 1);
    let words = format!("is an ensemble of {models} models, and this format holds a single one");
    assert!(shown.err.contains(&words), "{}", shown.err);

    // Testing cases decide nothing: other ones are tested by the same model.
    dataset.write_case(7, 1);
    let again = lab.run(FOLDS, &ARGUMENTS, 0);
    let made = again.made();
    assert!(made.contains(&"final"), "{made:?}");
    let kinds = ["fine", "coarse", "chosen"];
    let decided = made.iter().filter(|stage| {
        kinds.iter().any(|kind| stage.starts_with(kind)) && !stage.contains("cache")
    });
    assert_eq!(decided.collect::<Vec<_>>(), [&"coarse_volumes"], "{made:?}");
}

#[test]
fn two_configurations_predict_the_mean_of_their_probabilities() {
    let (lab, dataset) = lab();
    let until = [&ARGUMENTS[..], &["--only", "fine", "--only", "coarse"]].concat();
    let before = ["dataset", "split", "volumes", "cache", "coarse_volumes", "coarse_cache"];
    let only = before.iter().flat_map(|stage| ["--only", stage]);
    let run = lab.run(FOLDS, &until.into_iter().chain(only).collect::<Vec<_>>(), 0);
    assert_eq!(run.made().len(), 3 + 5 * 3, "a name stands for the stages of all folds");
    let mut card = json(&run, "fine-fold0/model.json");
    for (folder, stage) in [("a", "fine-fold0"), ("b", "coarse-fold0")] {
        fs::create_dir_all(lab.path("pair").join(folder)).unwrap();
        for file in ["model.json", "best.safetensors", "last.safetensors"] {
            let made = run.folder.join("outputs").join(stage).join(file);
            fs::copy(made, lab.path("pair").join(folder).join(file)).unwrap();
        }
    }
    let members = [("a", 0), ("b", 1)]
        .map(|(folder, number)| serde_json::json!({ "folder": folder, "configuration": number }));
    card["members"] = serde_json::json!(members);
    lab.write("pair/model.json", &card.to_string());
    let image = dataset.image(7).display().to_string();
    for model in ["pair", "pair/a", "pair/b"] {
        predicted(&lab, model, &image, &format!("of_{model}"));
    }
    let [both, one, two] =
        ["of_pair", "of_pair/a", "of_pair/b"].map(|out| probabilities(&lab, out, "case_07"));
    assert_eq!(both.channels, 2);
    let means = one.data.iter().zip(&two.data).map(|(one, two)| (one + two) / 2.0);
    assert!(both.data.iter().zip(means).all(|(found, mean)| (found - mean).abs() < 1e-6));
    let map = read_label(&lab.path("of_pair/case_07.nii.gz"), "pair", &[1]).unwrap();
    let (background, cube) = both.data.split_at(map.data.len());
    let wanted = background.iter().zip(cube).map(|(background, cube)| u8::from(cube > background));
    assert!(map.data.iter().copied().eq(wanted));

    let shown =
        lab.voxflow(&["predict", "--model", "pair", "--model", "pair/a", &image, "--out", "none"]);
    assert!(shown.err.contains("has several configurations"), "{}", shown.err);
    lab.write("pair/b/model.json", "{}");
    let shown = lab.voxflow(&["predict", "--model", "pair", &image, "--out", "none"]);
    assert!(shown.code == 1 && shown.err.contains("pair/b"), "{}", shown.err);
}

/// Two folds of one of nnU-Net's networks, prepared as nnU-Net does.
const NNUNET: &str = "
name: nnunet
folds: 2
stages:
  dataset: { uses: folder, with: { path: data } }
  split: { uses: split, needs: [dataset], with: { testing: 2, order: listed } }
  volumes:
    uses: preprocess
    needs: [dataset]
    with: { spacing: [1, 1, 1], intensity: { zscore: all }, crop_nonzero: true, resampling: {} }
  cache: { uses: cache, needs: [dataset, volumes, split] }
  model:
    uses: train
    needs: [cache]
    with:
      epochs: 1
      patch: [16, 16, 16]
      network: { name: plain_conv_unet, features: [4, 8], strides: [1, 2], kernel_sizes: [3, 3], convolutions: [1, 1], decoder_convolutions: [1] }
      inference: { overlap: 0.5, blend: gaussian_nnunet, placement: even, average: logits }
  scores: { uses: out_of_fold, needs: [dataset, cache, model] }
  chosen: { uses: select, needs: [scores, model], with: { postprocess: false } }
";

#[test]
fn an_ensemble_of_folds_goes_to_nnu_net_and_comes_back_as_one_model() {
    let (lab, dataset) = lab();
    lab.run(NNUNET, &ARGUMENTS, 0);
    let shown = lab.voxflow(&["export", "latest", "--out", "back", "--format", "nnunet"]);
    assert_eq!(shown.code, 0, "{}", shown.err);
    assert_eq!(names(&lab.path("back")), ["dataset.json", "fold_0", "fold_1", "plans.json"]);
    let shown = lab.voxflow(&["import", "back", "--out", "again"]);
    assert_eq!(shown.code, 0, "{}", shown.err);
    assert!(shown.err.contains("the ensemble of 2 folds in 'again'"), "{}", shown.err);
    let image = dataset.image(7).display().to_string();
    predicted(&lab, "latest", &image, "ours");
    predicted(&lab, "again", &image, "theirs");
    let [ours, theirs] = ["ours", "theirs"].map(|out| probabilities(&lab, out, "case_07"));
    assert!(ours.data == theirs.data);
    predicted(&lab, "again/fold_0", &image, "alone");
    assert!(probabilities(&lab, "alone", "case_07").data != ours.data);
}

/// `workflows/hippocampus_cv.yaml` in short: its stages, and a schedule that falls at the end.
const SHORT: &str = "
name: short_cv
folds: 2
stages:
  dataset: { uses: folder, with: { path: data } }
  split: { uses: split, needs: [dataset], with: { testing: 2, order: listed } }
  volumes: { uses: preprocess, needs: [dataset], with: { spacing: [2, 2, 2], intensity: { zscore: all } } }
  cache: { uses: cache, needs: [dataset, volumes, split] }
  model:
    uses: train
    needs: [cache]
    with:
      epochs: 3
      patch: [8, 8, 8]
      network: { channels: [4, 8], strides: [2], residual_units: 1 }
      schedule: { decay_last: 0.3 }
      validate_every: 1
  out_of_fold: { uses: out_of_fold, needs: [dataset, cache, model] }
  chosen: { uses: select, needs: [out_of_fold, model] }
  final: { uses: test, needs: [dataset, cache, chosen] }
";

#[test]
fn folds_whose_end_validation_decides_are_joined_and_compared_by_the_mean_of_their_scores() {
    let (lab, _) = lab();
    // The rate must fall from epoch 9 on: 30 % of 13 epochs are left.
    let open = ["--set", "model.epochs={at_least: 9, at_most: 13}"];
    let run = lab.run(SHORT, &[&ARGUMENTS[..], &open].concat(), 0);
    let stages = run.value["stages"].as_array().unwrap().len();
    assert_eq!(run.outcomes().matches("=made").count(), stages, "{}", run.outcomes());
    for fold in 0..2 {
        let training = &json(&run, &format!("model-fold{fold}/model.json"))["training"];
        let decay = [&training["decay"]["from_epoch"], &training["decay"]["to_epoch"]];
        assert_eq!((decay, &training["epochs"]), ([&9.into(), &13.into()], &13.into()));
    }
    let other = ["--set", "chosen.postprocess=false"];
    let again = lab.run(SHORT, &[&ARGUMENTS[..], &open, &other].concat(), 0);
    assert_eq!(again.made(), ["chosen", "final"], "the folds serve again");

    let at = lab.voxflow(&["compare", "short_cv", "--all", "--at", "1h", "--format", "csv"]);
    assert_eq!(at.code, 0, "{}", at.err);
    let mut lines = at.out.lines().map(|line| line.split(',').collect::<Vec<&str>>());
    let head = lines.next().unwrap();
    let values: Vec<Vec<&str>> = lines.collect();
    assert_eq!(values.len(), 2, "{}", at.out);
    let of = |name: &str| -> f64 {
        let column = head.iter().position(|known| *known == name).expect(name);
        values[0][column].parse().unwrap()
    };
    let folds = [0, 1].map(|fold| of(&format!("model-fold{fold}.dice_at_1h")));
    let mean = of("model.dice_at_1h_mean_of_folds");
    assert!((mean - (folds[0] + folds[1]) / 2.0).abs() < 1e-9, "{mean}, of {folds:?}");
    let shown = lab.voxflow(&["compare", "short_cv", "--all", "--at", "1h"]);
    assert!(shown.out.contains("model.dice_at_1h_mean_of_folds"), "{}{}", shown.out, shown.err);
    let none = lab.voxflow(&["compare", "short_cv", "--at", "1h", "--stage", "final"]);
    assert_eq!(none.code, 2, "{}", none.out);
    assert!(none.err.contains("final is no training of these runs"), "{}", none.err);
}

#[test]
fn what_cannot_be_joined_is_refused_by_name() {
    let (lab, _) = lab();
    let wrong = |text: &str, code: i32, words: &str| {
        lab.write("wrong.yaml", text);
        let shown = lab.voxflow(&[&["run", "wrong.yaml"][..], &ARGUMENTS].concat());
        assert_eq!(shown.code, code, "{}", shown.err);
        assert!(shown.err.contains(words), "{words}: {}", shown.err);
    };
    let other = "needs: [scores, model]";
    wrong(&NNUNET.replace(other, "needs: [model]"), 2, "'select' reads out-of-fold scores");
    wrong(&NNUNET.replace("folds: 2", "folds: two"), 2, "must be a whole number from 2");
    let second = NNUNET.replace(
        "  chosen:",
        "  other: { uses: train, needs: [cache], with: { epochs: 1, patch: [16, 16, 16], network: { channels: [4, 8], strides: [2] } } }\n  chosen:",
    );
    let missing = second.replace(other, "needs: [scores, other]");
    wrong(&missing, 1, "'scores-fold0' was predicted by a model that is not among the 'needs'");
    // The folds of a datalist are all of them, and each case validates once.
    let listed = NNUNET.replace("{ testing: 2, order: listed }", "{ datalist: splits.json }");
    let write_splits = |validated: &[&str]| {
        let fold = |case: &&str| serde_json::json!({ "train": ["case_06"], "val": [case] });
        let folds: Vec<Value> = validated.iter().map(fold).collect();
        lab.write("splits.json", &serde_json::json!(folds).to_string());
    };
    write_splits(&["case_00", "case_01", "case_02"]);
    wrong(&listed, 2, "has 3 folds, and 'folds' is 2: write 'folds: 3'");
    write_splits(&["case_00", "case_00"]);
    wrong(&listed, 2, "cases that validate in several folds: case_00");
}
