//! `cache`: volumes, split and candidates joined, with nothing made twice and nothing copied.

mod support;

use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use support::Trial;
use voxflow_stages::image::nifti::{write_label, write_volume_f32};
use voxflow_stages::image::{Candidates, Volume, VolumeList};
use voxflow_stages::kind::Kind;

const SHAPE: [usize; 3] = [4, 3, 2];
const IDENTITY: [[f64; 4]; 4] =
    [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]];

/// Five labelled cases and an unlabelled one, as files in a folder.
struct World {
    folder: tempfile::TempDir,
    modality: &'static str,
    intensity: Value,
}

impl World {
    fn new(modality: &'static str, intensity: Value) -> World {
        let world = World { folder: tempfile::tempdir().unwrap(), modality, intensity };
        (0..6).for_each(|case| world.volume(case, 1));
        world
    }

    /// Case n: n + 1 voxels of label `value`, then zeros; the image is 1 in the first half, and its
    /// last voxel tells it from others.
    fn volume(&self, case: usize, value: u8) {
        self.volume_with_image_of(case, value, case);
    }

    fn volume_with_image_of(&self, case: usize, value: u8, other: usize) {
        let folder = self.folder.path().join(format!("case_{case}"));
        std::fs::create_dir_all(&folder).unwrap();
        let mut image: Vec<f32> = (0..24).map(|i| if i < 12 { 1.0 } else { 0.0 }).collect();
        image[23] = -(other as f32);
        let label = (0..24).map(|i| if i <= case { value } else { 0 }).collect();
        let image = Volume { channels: 1, shape: SHAPE, data: image, affine: IDENTITY };
        write_volume_f32(&folder.join("image.nii"), &image, false).unwrap();
        if case < 5 {
            let label = Volume { channels: 1, shape: SHAPE, data: label, affine: IDENTITY };
            write_label(&folder.join("label.nii"), &label, false).unwrap();
        }
        std::fs::write(folder.join("geometry.json"), "{}").unwrap();
    }

    fn json(&self, name: &str, value: &Value) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, value.to_string()).unwrap();
        path
    }

    fn volumes(&self) -> BTreeMap<String, PathBuf> {
        let cases: Vec<Value> = (0..6)
            .map(|case| json!({ "name": format!("case_{case}"), "labelled": case < 5, "shape": SHAPE }))
            .collect();
        let list = json!({ "dataset": "Toy", "preparation": { "intensity": self.intensity }, "cases": cases,
            "modality": [self.modality], "labels": [{ "value": 1, "name": "spleen" }, { "value": 2, "name": "liver" }] });
        let mut files =
            BTreeMap::from([("volumes.json".to_string(), self.json("volumes.json", &list))]);
        for case in 0..6 {
            for file in ["image.nii", "label.nii", "geometry.json"]
                .into_iter()
                .filter(|file| case < 5 || *file != "label.nii")
            {
                let name = format!("case_{case}/{file}");
                files.insert(name.clone(), self.folder.path().join(name));
            }
        }
        files
    }

    fn trial(&self, params: Value, split: Value) -> Trial {
        let cases: Vec<Value> = (0..6)
            .map(
                |case| json!({ "name": format!("case_{case}"), "images": [format!("{case}.nii")] }),
            )
            .collect();
        let listing =
            json!({ "name": "Toy", "modality": [self.modality], "labels": [], "cases": cases });
        let dataset =
            BTreeMap::from([("dataset.json".to_string(), self.json("dataset.json", &listing))]);
        let split = BTreeMap::from([("split.json".to_string(), self.json("split.json", &split))]);
        let trial = Trial::new("cache", params).input("dataset", "dataset", &dataset);
        trial.input("volumes", "volumes", &self.volumes()).input("split", "split", &split)
    }
}

fn ct() -> World {
    World::new("CT", json!({ "window": [-57, 164] }))
}

fn mri() -> World {
    World::new("MRI", json!({ "zscore": "nonzero" }))
}

fn split(training: &[&str], validation: &[&str], testing: &[&str], unlabelled: &[&str]) -> Value {
    json!({ "training": training, "validation": validation, "testing": testing, "unlabelled": unlabelled })
}

fn usual() -> Value {
    split(&["case_2", "case_0"], &["case_1"], &["case_3", "case_4"], &["case_5"])
}

fn background(trial: &Trial, case: &str) -> u64 {
    let path = &trial.artifact()[&format!("training/{case}/candidates.bin")];
    Candidates::open(path).unwrap().background()
}

#[test]
fn each_part_lists_its_cases_and_holds_their_files_and_only_training_has_candidates() {
    let world = ct();
    let trial = world.trial(json!({}), usual());
    trial.run().unwrap();
    let names: BTreeSet<String> = trial.artifact().into_keys().collect();
    let mut wanted: BTreeSet<String> = BTreeSet::new();
    for (part, case) in [
        ("training", 2),
        ("training", 0),
        ("validation", 1),
        ("testing", 3),
        ("testing", 4),
        ("unlabelled", 5),
    ] {
        wanted.insert(format!("{part}/part.json"));
        wanted.extend(
            ["image.nii", "geometry.json"].map(|file| format!("{part}/case_{case}/{file}")),
        );
        wanted.extend((case < 5).then(|| format!("{part}/case_{case}/label.nii")));
        wanted.extend((part == "training").then(|| format!("{part}/case_{case}/candidates.bin")));
    }
    assert_eq!(names, wanted);
    let training: VolumeList = trial.json("training/part.json");
    assert_eq!(
        training.cases.iter().map(|case| case.name.as_str()).collect::<Vec<_>>(),
        ["case_2", "case_0"]
    );
    assert!(
        trial.artifact()["training/case_2/image.nii"].starts_with(world.folder.path()),
        "referred to, not copied"
    );
}

#[test]
fn background_is_above_zero_for_windowed_ct_and_everything_otherwise_unless_said() {
    let world = ct();
    let of = |world: &World, params: Value| {
        let trial = world.trial(params, usual());
        trial.run().unwrap();
        background(&trial, "case_2")
    };
    assert_eq!(of(&world, json!({})), 12 - 3);
    assert_eq!(of(&world, json!({ "background_above": null })), 24 - 3);
    assert_eq!(of(&mri(), json!({})), 24 - 3);
    assert_eq!(of(&mri(), json!({ "background_above": 0.5 })), 12 - 3);
    assert_eq!(of(&World::new("CT", json!({ "zscore": "all" })), json!({})), 24 - 3);
}

#[test]
fn absent_null_and_a_number_are_three_different_parameters() {
    let kind = Kind::named("cache").unwrap();
    let understood = |params: Value| kind.understand(&params).unwrap();
    assert_eq!(understood(json!({})), json!({}));
    assert_eq!(
        understood(json!({ "background_above": null })),
        json!({ "background_above": null })
    );
    assert_eq!(understood(json!({ "background_above": 0.1 })), json!({ "background_above": 0.1 }));
    assert!(kind.understand(&json!({ "background_abov": 0 })).is_err());
}

#[test]
fn another_fold_makes_candidates_only_of_cases_new_to_training() {
    let world = mri();
    let trial = world.trial(json!({}), usual());
    trial.run().unwrap();
    assert_eq!(trial.made().len(), 2);
    world
        .json("split.json", &split(&["case_1", "case_2"], &["case_0"], &["case_3", "case_4"], &[]));
    trial.run().unwrap();
    assert_eq!(trial.made()[2..], ["case_1"]);
}

#[test]
fn a_label_that_no_training_case_has_is_a_warning() {
    let world = ct();
    let trial = world.trial(json!({}), usual());
    trial.run().unwrap();
    let wanted =
        "label 'liver' (2) has no voxel in any of the 2 training cases, so it cannot be learnt";
    assert_eq!(trial.words(), [wanted]);
    world.volume(0, 2);
    let trial = world.trial(json!({}), usual());
    trial.run().unwrap();
    assert!(trial.words().is_empty());
}

#[test]
fn all_that_does_not_fit_is_told_at_once() {
    let bad = split(&["case_0", "case_5", "case_9"], &["case_1", "case_0"], &[], &["nobody"]);
    let error = ct().trial(json!({}), bad).run().unwrap_err().to_string();
    for words in [
        "4 cases could not be done:",
        "case_5  has no label, but is for training; move or exclude it",
        "no case 'case_9' in dataset 'Toy'",
        "case_0  is in training and again in validation; split the cases anew",
        "no case 'nobody'",
    ] {
        assert!(error.contains(words), "'{words}' is missing in:\n{error}");
    }
}

#[test]
fn the_same_image_under_two_names_is_refused() {
    let world = ct();
    world.volume_with_image_of(4, 1, 0);
    let error = world.trial(json!({}), usual()).run().unwrap_err().to_string();
    assert!(
        error
            .contains("case_4  in testing has the same image as 'case_0' in training; exclude one"),
        "{error}"
    );
}

#[test]
fn a_case_without_any_candidate_fails_by_name_after_the_others_were_tried() {
    let world = ct();
    let empty = Volume { channels: 1, shape: SHAPE, data: vec![0.0; 24], affine: IDENTITY };
    write_volume_f32(&path(&world, "case_0/image.nii"), &empty, false).unwrap();
    let none = Volume { channels: 1, shape: SHAPE, data: vec![0u8; 24], affine: IDENTITY };
    write_label(&path(&world, "case_0/label.nii"), &none, false).unwrap();
    let trial = world.trial(json!({}), usual());
    let error = trial.run().unwrap_err().to_string();
    assert!(error.contains("case_0  no voxel to centre a patch on"), "{error}");
    assert_eq!(trial.made(), ["case_2"]);
}

fn path(world: &World, name: &str) -> PathBuf {
    Path::join(world.folder.path(), name)
}
