//! Statistics, plans and preprocessing against nnU-Net 2.8.1, on the generated tasks of
//! `tests/parity/make_preprocessing.py`.

mod support;

use safetensors::SafeTensors;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use support::Trial;
use voxflow_stages::Kind;
use voxflow_stages::image::nifti::read_label;
use voxflow_stages::image::prepare::{Prepared, prepare};
use voxflow_stages::image::prepared::OUTSIDE;
use voxflow_stages::image::{Inverter, Preparation};
use voxflow_stages::planner::{Dataset, DatasetFingerprint, Preset, plan};

/// The largest difference of a prepared image.
const IMAGES: f32 = 1e-4;
/// The share of voxels that may have another label.
const LABELS: f64 = 1e-4;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/parity/fixtures/nnunet_tasks")
}

struct Fixture {
    task: Value,
    bytes: Vec<u8>,
}

fn fixtures() -> Vec<Fixture> {
    let tasks = std::fs::read(folder().join("tasks.json")).unwrap();
    let tasks: Vec<Value> = serde_json::from_slice(&tasks).unwrap();
    assert_eq!(tasks.len(), 6);
    let bytes = |task: &Value| {
        let name = task["name"].as_str().unwrap();
        std::fs::read(folder().join(format!("{name}.safetensors"))).unwrap()
    };
    tasks.into_iter().map(|task| Fixture { bytes: bytes(&task), task }).collect()
}

impl Fixture {
    fn name(&self) -> &str {
        self.task["name"].as_str().unwrap()
    }

    fn channels(&self) -> Vec<String> {
        serde_json::from_value(self.task["channel_names"].clone()).unwrap()
    }

    /// The files of its first case: images and label.
    fn files(&self) -> (Vec<PathBuf>, PathBuf) {
        let home = folder().join(self.task["folder"].as_str().unwrap());
        let image = |channel| home.join(format!("imagesTr/case0_{channel:04}.nii.gz"));
        ((0..self.channels().len()).map(image).collect(), home.join("labelsTr/case0.nii.gz"))
    }

    /// The parameters of 'preprocess' that the plan comes to.
    fn preparation(&self) -> Preparation {
        let plan = &self.task["plan"];
        let mut spacing = [0.0; 3];
        for axis in 0..3 {
            let zyx = self.task["transpose_forward"][axis].as_u64().unwrap() as usize;
            spacing[2 - zyx] = plan["spacing"][axis].as_f64().unwrap();
        }
        let statistics = &self.task["fingerprint"]["foreground_intensity_properties_per_channel"];
        let scaling = |channel: usize| {
            let of = &statistics[channel.to_string()];
            match plan["normalization_schemes"][channel].as_str().unwrap() {
                "CTNormalization" => json!({ "ct": {
                    "clip": [of["percentile_00_5"], of["percentile_99_5"]],
                    "mean": of["mean"], "std": of["std"],
                } }),
                "NoNormalization" => json!("none"),
                "RescaleTo01Normalization" => json!({ "percentile": [0, 100] }),
                _ if plan["use_mask_for_norm"][channel].as_bool().unwrap() => {
                    json!({ "zscore": "nonzero_mask" })
                }
                _ => json!({ "zscore": "all" }),
            }
        };
        let intensity: Vec<Value> = (0..self.channels().len()).map(scaling).collect();
        let preparation = json!({
            "spacing": spacing, "intensity": intensity, "crop_nonzero": true, "resampling": {},
        });
        let preparation: Preparation = serde_json::from_value(preparation).unwrap();
        assert_eq!(preparation.check(), []);
        preparation
    }

    fn prepared(&self) -> Prepared {
        let (images, label) = self.files();
        prepare(&self.preparation(), &images, Some(&label), &self.channels(), &[1, 2])
            .unwrap_or_else(|error| panic!("{}: {error}", self.name()))
    }

    fn tensor<T>(&self, name: &str, number: fn(&[u8]) -> T) -> (Vec<usize>, Vec<T>) {
        let file = SafeTensors::deserialize(&self.bytes).unwrap();
        let view = file.tensor(name).unwrap();
        let width = view.data().len() / view.shape().iter().product::<usize>();
        (view.shape().to_vec(), view.data().chunks_exact(width).map(number).collect())
    }
}

fn float(bytes: &[u8]) -> f32 {
    f32::from_le_bytes(bytes.try_into().unwrap())
}

fn byte(bytes: &[u8]) -> u8 {
    bytes[0]
}

fn share_of_different(a: &[u8], b: &[u8]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).filter(|(a, b)| a != b).count() as f64 / a.len() as f64
}

#[test]
fn prepared_volumes_are_those_of_nnunet() {
    for fixture in fixtures() {
        let prepared = fixture.prepared();
        let (shape, image) = fixture.tensor("image", float);
        let [x, y, z] = prepared.image.shape;
        assert_eq!(shape, [prepared.image.channels, z, y, x], "{}", fixture.name());
        let apart = prepared.image.data.iter().zip(&image).map(|(a, b)| (a - b).abs());
        let apart = apart.fold(0.0, f32::max);
        assert!(apart <= IMAGES, "{}: images are {apart} apart", fixture.name());
        let (_, label) = fixture.tensor("label", byte);
        let different = share_of_different(&prepared.label.unwrap().data, &label);
        assert!(different <= LABELS, "{}: {different} of the labels differ", fixture.name());
        assert!(label.contains(&1) && label.contains(&2), "{}: no labels", fixture.name());
    }
}

#[test]
fn the_outside_of_the_non_zero_region_is_marked_as_nnunet_marks_it() {
    let fixtures = fixtures();
    let fixture = fixtures.iter().find(|one| one.name() == "black_border").unwrap();
    let (images, label) = fixture.files();
    let preparation = Preparation { mark_outside: true, ..fixture.preparation() };
    let prepared =
        prepare(&preparation, &images, Some(&label), &fixture.channels(), &[1, 2]).unwrap();
    assert_eq!(prepared.label, fixture.prepared().label, "the label itself stays");
    let (_, wanted) = fixture.tensor("marked", byte);
    let different = share_of_different(&prepared.marked.unwrap().data, &wanted);
    assert!(different <= LABELS, "{different} of the labels differ");
    assert!([0, 1, 2, OUTSIDE].iter().all(|value| wanted.contains(value)));
    let unresampled = Preparation { resampling: None, ..preparation };
    assert!(unresampled.check().iter().any(|(path, _)| path == "mark_outside"));
}

/// The scores of `make_preprocessing.py` at a voxel.
fn score(class: usize, [x, y, z]: [usize; 3]) -> f32 {
    let seed = (x * 31 + y * 1009 + z * 65537 + class * 16_777_259 + 12345) as u64;
    let mixed = seed * 2_654_435_761 % (1 << 32);
    let mixed = (mixed ^ (mixed >> 15)) * 2_246_822_519 % (1 << 32);
    (mixed >> 16) as f32 / 65536.0
}

/// The scores of three classes on a prepared volume, z fastest.
fn scores(shape: [usize; 3]) -> Vec<f32> {
    let mut scores = vec![];
    for class in 0..3 {
        for voxel in 0..shape.iter().product() {
            let (xy, z) = (voxel / shape[2], voxel % shape[2]);
            scores.push(score(class, [xy / shape[1], xy % shape[1], z]));
        }
    }
    scores
}

#[test]
fn logits_of_regions_become_labels_by_the_rule_of_nnunet() {
    for fixture in fixtures() {
        let prepared = fixture.prepared();
        let logits: Vec<f32> =
            scores(prepared.image.shape).into_iter().map(|score| score - 0.5).collect();
        let inverter = Inverter::new(&prepared.geometry).unwrap();
        let found = inverter.regions(&logits, 0.0, &[2, 1, 2]).unwrap();
        let (_, wanted) = fixture.tensor("regions", byte);
        let different = share_of_different(&found.data, &wanted);
        assert!(different <= LABELS, "{}: {different} of the labels differ", fixture.name());
        assert!([0, 1, 2].iter().all(|value| wanted.contains(value)), "{}", fixture.name());
    }
}

#[test]
fn scores_go_back_to_the_images_own_grid_as_those_of_nnunet() {
    for fixture in fixtures() {
        let prepared = fixture.prepared();
        let shape = prepared.image.shape;
        let scores = scores(shape);
        let found = Inverter::new(&prepared.geometry).unwrap().labels(&scores, 3).unwrap();
        let (_, wanted) = fixture.tensor("back", byte);
        let different = share_of_different(&found.data, &wanted);
        assert!(different <= LABELS, "{}: {different} of the labels differ", fixture.name());
        let own = read_label(&fixture.files().1, "label", &[1, 2]).unwrap();
        assert_eq!((found.shape, found.affine), (own.shape, own.affine), "{}", fixture.name());
    }
}

#[test]
fn a_label_goes_to_the_prepared_grid_and_back_nearly_unchanged() {
    for fixture in fixtures().iter().filter(|fixture| fixture.name() != "tiny") {
        let prepared = fixture.prepared();
        let own = read_label(&fixture.files().1, "label", &[1, 2]).unwrap();
        let inverter = Inverter::new(&prepared.geometry).unwrap();
        let back = inverter.nearest(&prepared.label.unwrap().data).unwrap();
        let different = share_of_different(&back.data, &own.data);
        assert!(different < 0.12, "{}: {different}", fixture.name());
    }
}

/// The dataset of a task's folder and a split without testing cases, as inputs of a stage.
fn inputs(fixture: &Fixture, room: &Path, testing: &[&str]) -> [BTreeMap<String, PathBuf>; 2] {
    let home = folder().join(fixture.task["folder"].as_str().unwrap());
    let (mut files, mut cases, mut names) = (BTreeMap::new(), vec![], vec![]);
    for index in 0..fixture.task["cases"].as_u64().unwrap() {
        let name = format!("case{index}");
        let image = |channel| format!("imagesTr/{name}_{channel:04}.nii.gz");
        let images: Vec<String> = (0..fixture.channels().len()).map(image).collect();
        let label = format!("labelsTr/{name}.nii.gz");
        files.extend(images.iter().chain([&label]).map(|file| (file.clone(), home.join(file))));
        cases.push(json!({ "name": name, "images": images, "label": label }));
        names.push(name);
    }
    let listing = json!({
        "name": fixture.name(), "modality": fixture.channels(), "cases": cases,
        "labels": [{ "value": 1, "name": "inner" }, { "value": 2, "name": "outer" }],
    });
    let (tested, kept): (Vec<String>, Vec<String>) =
        names.into_iter().partition(|name| testing.contains(&name.as_str()));
    let split = json!({
        "training": kept, "validation": [], "testing": tested, "unlabelled": [],
    });
    let split_file = room.join("split.json");
    std::fs::write(&split_file, split.to_string()).unwrap();
    files.insert("dataset.json".into(), room.join("dataset.json"));
    std::fs::write(&files["dataset.json"], listing.to_string()).unwrap();
    [files, BTreeMap::from([("split.json".to_string(), split_file)])]
}

fn statistics(fixture: &Fixture, testing: &[&str]) -> DatasetFingerprint {
    let room = tempfile::tempdir().unwrap();
    let [dataset, split] = inputs(fixture, room.path(), testing);
    let trial = Trial::new("statistics", json!({}))
        .input("dataset", "dataset", &dataset)
        .input("split", "split", &split);
    trial.run().unwrap();
    trial.json("dataset_fingerprint.json")
}

/// nnU-Net draws voxels at random, and the rarest values are often not among them.
const STATISTICS: f64 = 1e-3;

#[test]
fn a_dataset_has_the_fingerprint_and_the_plan_of_nnunet() {
    for fixture in fixtures() {
        let found = statistics(&fixture, &[]);
        let wanted: DatasetFingerprint =
            serde_json::from_value(fixture.task["fingerprint"].clone()).unwrap();
        assert_eq!(found.shapes_after_crop, wanted.shapes_after_crop, "{}", fixture.name());
        let mm = |of: &DatasetFingerprint| of.spacings.as_flattened().to_vec();
        let apart = mm(&found).into_iter().zip(mm(&wanted)).map(|(a, b)| (a - b).abs());
        assert!(apart.fold(0.0, f64::max) < 1e-6, "{}", fixture.name());
        assert_eq!(
            found.median_relative_size_after_cropping,
            wanted.median_relative_size_after_cropping
        );
        for (channel, of) in &wanted.foreground_intensity_properties_per_channel {
            let own = &found.foreground_intensity_properties_per_channel[channel];
            let pairs = [
                (own.mean, of.mean),
                (own.std, of.std),
                (own.median, of.median),
                (own.min, of.min),
                (own.max, of.max),
                (own.percentile_00_5, of.percentile_00_5),
                (own.percentile_99_5, of.percentile_99_5),
            ];
            for (own, of) in pairs {
                let apart = (own - of).abs() / of.abs().max(1e-8);
                assert!(apart <= STATISTICS, "{} {channel}: {own} is not {of}", fixture.name());
            }
        }
        // What is planned from it.
        let names = fixture.channels();
        let dataset = Dataset { fingerprint: &found, channel_names: &names, classes: 3 };
        let plan = plan(dataset, Preset::Default, None).unwrap();
        let task = &fixture.task;
        assert_eq!(json!(plan.transpose_forward), task["transpose_forward"]);
        assert_eq!(json!(plan.fullres.patch_size), task["plan"]["patch_size"]);
        assert_eq!(json!(plan.fullres.batch_size), task["plan"]["batch_size"]);
        assert_eq!(json!(plan.normalization_schemes), task["plan"]["normalization_schemes"]);
        assert_eq!(json!(plan.use_mask_for_norm), task["plan"]["use_mask_for_norm"]);
        assert_eq!(json!(plan.fullres.architecture.strides), task["strides"]);
        assert_eq!(json!(plan.fullres.architecture.kernel_sizes), task["kernel_sizes"]);
    }
}

#[test]
fn cases_set_aside_for_testing_are_not_looked_at() {
    let fixture = fixtures().remove(0);
    let [all, fewer] = [&[][..], &["case1"]].map(|testing| statistics(&fixture, testing));
    assert_eq!(fewer.spacings, [all.spacings[0], all.spacings[2]]);
    assert_ne!(
        fewer.foreground_intensity_properties_per_channel,
        all.foreground_intensity_properties_per_channel
    );
    let kind = Kind::named("statistics").unwrap();
    let room = tempfile::tempdir().unwrap();
    let [dataset, split] = inputs(&fixture, room.path(), &["case1"]);
    let peek = |role: &str, name: &str| {
        let files = if role == "split" { &split } else { &dataset };
        Ok(std::fs::read(&files[name]).unwrap())
    };
    let read = kind.names_read("dataset", &peek).unwrap();
    let wanted = ["dataset.json", "imagesTr/case0_0000.nii.gz", "imagesTr/case2_0000.nii.gz"];
    assert!(wanted.iter().all(|name| read.contains(*name)), "{read:?}");
    assert!(!read.iter().any(|name| name.contains("case1")), "{read:?}");
}
