//! `select` on folds made by hand: what is one configuration, what is told of its folds, and what
//! the mean of two configurations says where only one has looked.

mod support;

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use support::{Trial, walk};
use voxflow_cache::Digest;
use voxflow_stages::dataset::Label;
use voxflow_stages::image::Volume;
use voxflow_stages::image::nifti::{write_label, write_volume_f32};
use voxflow_stages::model::out_of_fold::{
    OUT_OF_FOLD, OutOfFoldCases, prediction_file, probability_file, reference_file,
};

/// A fold's stage, its validation cases and its training cases.
struct FoldByHand<'a> {
    stage: &'a str,
    validation: &'a [&'a str],
    training: &'a [&'a str],
    /// The file of the weights that predicted.
    weights: &'a str,
    /// Probabilities of background and label of each of three voxels.
    probabilities: [f32; 6],
}

impl<'a> FoldByHand<'a> {
    fn new(stage: &'a str, validation: &'a [&'a str], training: &'a [&'a str]) -> FoldByHand<'a> {
        let probabilities = [0.2, 0.9, 0.9, 0.8, 0.1, 0.1];
        FoldByHand { stage, validation, training, weights: "best.safetensors", probabilities }
    }

    /// Gives a selection its predictions and its model.
    fn add_to(&self, trial: Trial) -> Trial {
        let [scores, model] =
            ["scores", "model"].map(|part| trial.folder().join(part).join(self.stage));
        for folder in ["predictions", "references", "probabilities"] {
            std::fs::create_dir_all(scores.join(folder)).unwrap();
        }
        self.write_model(&model);
        let facts = OutOfFoldCases {
            dataset: "toy".into(),
            labels: vec![Label { value: 1, name: "liver".into() }],
            regions: vec![],
            ignore: None,
            cases: self.validation.iter().map(|case| case.to_string()).collect(),
            weights: vec![Digest::of_file(&model.join(self.weights)).unwrap()],
            probabilities: true,
        };
        write(&scores.join(OUT_OF_FOLD), &json!(facts).to_string());
        for case in self.validation {
            let map = volume(vec![1u8, 0, 0], 1);
            write_label(&scores.join(prediction_file(case)), &map, true).unwrap();
            write_label(&scores.join(reference_file(case)), &map, true).unwrap();
            let all = volume(self.probabilities.to_vec(), 2);
            write_volume_f32(&scores.join(probability_file(case)), &all, true).unwrap();
        }
        let name = format!("model of {}", self.stage);
        trial.input("out_of_fold", self.stage, &files(&scores)).input(
            "model",
            &name,
            &files(&model),
        )
    }

    fn write_model(&self, folder: &Path) {
        std::fs::create_dir_all(folder).unwrap();
        let seen = |case: &&str| json!({ "dataset": "toy", "name": case, "images": [] });
        let training: Vec<Value> = self.training.iter().map(seen).collect();
        let card = json!({
            "format": 1, "dataset": "toy", "modality": ["CT"],
            "labels": [{ "value": 1, "name": "liver" }],
            "preparation": { "intensity": { "window": [0, 1] } },
            "network": {}, "inference": { "roi": [16, 16, 16] },
            "training": { "epochs": 1, "steps": 1, "training_cases": 1, "validation_cases": 1,
                          "best_epoch": null, "best_dice": null },
            "provenance": { "training": training, "validation": [] },
        });
        write(&folder.join("model.json"), &card.to_string());
        for file in ["best.safetensors", "last.safetensors"] {
            write(&folder.join(file), &format!("{} {file}", self.stage));
        }
    }
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
}

fn files(folder: &Path) -> BTreeMap<String, PathBuf> {
    let mut files = BTreeMap::new();
    walk(folder, "", &mut files);
    files
}

fn volume<T>(data: Vec<T>, channels: usize) -> Volume<T> {
    let mut affine = [[0.0; 4]; 4];
    (0..4).for_each(|axis| affine[axis][axis] = 1.0);
    Volume { channels, shape: [3, 1, 1], data, affine }
}

fn selected(folds: &[FoldByHand]) -> (Trial, voxflow_stages::Result<()>) {
    let trial = Trial::new("select", json!({ "postprocess": false }));
    let trial = folds.iter().fold(trial, |trial, fold| fold.add_to(trial));
    let result = trial.run();
    (trial, result)
}

#[test]
fn folds_of_all_cases_are_one_configuration_without_a_word() {
    let folds = [
        FoldByHand::new("scores-fold0", &["a"], &["b", "c"]),
        FoldByHand::new("scores-fold1", &["b", "c"], &["a"]),
    ];
    let (trial, result) = selected(&folds);
    result.unwrap();
    assert_eq!(trial.warnings(), Vec::<String>::new());
    let card: Value = trial.json("model.json");
    assert_eq!(card["members"].as_array().unwrap().len(), 2);
}

#[test]
fn folds_that_share_cases_are_no_configurations_beside_each_other() {
    let folds = ["scores-fold0", "scores-fold1"].map(|stage| FoldByHand::new(stage, &["a"], &[]));
    let words = selected(&folds).1.unwrap_err().to_string();
    assert!(words.contains("'scores-fold1' predicts cases that another fold"), "{words}");
    let folds = ["fine-fold0", "coarse-fold0"].map(|stage| FoldByHand::new(stage, &["a"], &[]));
    let (trial, result) = selected(&folds);
    result.unwrap();
    let selection: Value = trial.json("selection.json");
    assert_eq!(selection["tried"].as_array().unwrap().len(), 3, "two configurations and a pair");
}

#[test]
fn cases_that_no_fold_predicts_and_last_weights_are_told() {
    let last = FoldByHand {
        weights: "last.safetensors",
        ..FoldByHand::new("scores-fold1", &["b"], &["a", "c"])
    };
    let (trial, result) = selected(&[FoldByHand::new("scores-fold0", &["a"], &["b", "c"]), last]);
    result.unwrap();
    let warnings = trial.warnings();
    let told = |words: &str| warnings.iter().any(|warning| warning.contains(words));
    assert!(told("'scores' predicts 2 of its 3 cases: no fold predicts c"), "{warnings:?}");
    assert!(told("'scores' is predicted with the last weights"), "{warnings:?}");
}

#[test]
fn where_one_of_two_configurations_has_not_looked_it_says_background() {
    let with = |stage, probabilities| FoldByHand {
        probabilities,
        ..FoldByHand::new(stage, &["a"], &["b"])
    };
    // The second voxel lies outside the first one's foreground box; the label is the first voxel.
    let folds = [
        with("cropped", [0.4, 0.0, 0.0, 0.6, 0.0, 0.0]),
        with("whole", [0.2, 0.3, 1.0, 0.8, 0.7, 0.0]),
    ];
    let (trial, result) = selected(&folds);
    result.unwrap();
    let selection: Value = trial.json("selection.json");
    assert_eq!(selection["tried"][2]["configurations"], json!([0, 1]));
    assert_eq!(selection["tried"][2]["dice"], 1.0);
}
