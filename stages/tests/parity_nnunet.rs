//! Preprocessing against nnU-Net 2.8.1, on the generated tasks of
//! `tests/parity/make_preprocessing.py`.

use safetensors::SafeTensors;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use voxflow_stages::image::nifti::read_label;
use voxflow_stages::image::prepare::{Prepared, prepare};
use voxflow_stages::image::{Inverter, Preparation};

/// The largest difference of a prepared image.
const IMAGES: f32 = 1e-4;
/// The share of voxels that may have another label.
const LABELS: f64 = 1e-4;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/parity/fixtures/nnunet/tasks")
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

/// The scores of `make_preprocessing.py` at a voxel.
fn score(class: usize, [x, y, z]: [usize; 3]) -> f32 {
    let seed = (x * 31 + y * 1009 + z * 65537 + class * 16_777_259 + 12345) as u64;
    let mixed = seed * 2_654_435_761 % (1 << 32);
    let mixed = (mixed ^ (mixed >> 15)) * 2_246_822_519 % (1 << 32);
    (mixed >> 16) as f32 / 65536.0
}

#[test]
fn scores_go_back_to_the_images_own_grid_as_those_of_nnunet() {
    for fixture in fixtures() {
        let prepared = fixture.prepared();
        let shape = prepared.image.shape;
        let mut scores = vec![];
        for class in 0..3 {
            for voxel in 0..shape.iter().product() {
                let (xy, z) = (voxel / shape[2], voxel % shape[2]);
                scores.push(score(class, [xy / shape[1], xy % shape[1], z]));
            }
        }
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
