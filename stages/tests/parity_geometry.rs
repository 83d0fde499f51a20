//! Preparation and inversion against MONAI 1.6.1, on the fixtures of
//! `tests/parity/make_geometry.py`.

use safetensors::SafeTensors;
use serde_json::Value;
use std::path::{Path, PathBuf};
use voxflow_stages::image::prepare::{Prepared, prepare};
use voxflow_stages::image::{Affine, Inverter, Preparation};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/parity/fixtures/geometry")
}

struct Fixture {
    case: Value,
    bytes: Vec<u8>,
}

fn fixtures() -> Vec<Fixture> {
    let listing = std::fs::read(folder().join("cases.json")).expect("fixtures/geometry/cases.json");
    let cases: Vec<Value> = serde_json::from_slice(&listing).expect("a list of cases");
    assert!(cases.len() >= 20);
    let bytes = |case: &Value| {
        std::fs::read(folder().join(format!("{}.safetensors", text(&case["name"])))).unwrap()
    };
    cases.into_iter().map(|case| Fixture { bytes: bytes(&case), case }).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

impl Fixture {
    fn name(&self) -> &str {
        text(&self.case["name"])
    }

    fn is(&self, flag: &str) -> bool {
        self.case[flag].as_bool().unwrap()
    }

    fn prepared(&self) -> Prepared {
        let preparation: Preparation =
            serde_json::from_value(self.case["preparation"].clone()).unwrap();
        let images: Vec<PathBuf> = self.case["images"]
            .as_array()
            .unwrap()
            .iter()
            .map(|file| folder().join(text(file)))
            .collect();
        let modality: Vec<String> =
            (0..self.case["channels"].as_u64().unwrap()).map(|c| format!("m{c}")).collect();
        let label = folder().join(text(&self.case["label"]));
        prepare(&preparation, &images, Some(&label), &modality, &[1, 2])
            .unwrap_or_else(|error| panic!("{}: {error}", self.name()))
    }

    fn tensor<T>(&self, name: &str, number: fn(&[u8]) -> T) -> (Vec<usize>, Vec<T>) {
        let file = SafeTensors::deserialize(&self.bytes).unwrap();
        let view = file.tensor(name).unwrap_or_else(|_| panic!("{}: no {name}", self.name()));
        let size = view.data().len() / view.shape().iter().product::<usize>();
        (view.shape().to_vec(), view.data().chunks_exact(size).map(number).collect())
    }

    fn f32s(&self, name: &str) -> (Vec<usize>, Vec<f32>) {
        self.tensor(name, |bytes| f32::from_le_bytes(bytes.try_into().unwrap()))
    }

    fn u8s(&self, name: &str) -> (Vec<usize>, Vec<u8>) {
        self.tensor(name, |bytes| bytes[0])
    }

    fn i64s(&self, name: &str) -> Vec<i64> {
        self.tensor(name, |bytes| i64::from_le_bytes(bytes.try_into().unwrap())).1
    }

    fn affine(&self, name: &str) -> Affine {
        let (_, numbers) = self.tensor(name, |bytes| f64::from_le_bytes(bytes.try_into().unwrap()));
        std::array::from_fn(|row| std::array::from_fn(|column| numbers[4 * row + column]))
    }

    fn assert_affine(&self, name: &str, ours: &Affine) {
        let theirs = self.affine(name);
        for (a, b) in ours.iter().flatten().zip(theirs.iter().flatten()) {
            assert!(
                (a - b).abs() <= 1e-12 * b.abs().max(1.0),
                "{}: {name} {ours:?}, MONAI's {theirs:?}",
                self.name()
            );
        }
    }
}

/// (C, X, Y, Z) with z fastest as x fastest.
fn x_fastest<T: Copy>(shape: [usize; 3], data: &[T]) -> Vec<T> {
    let [nx, ny, nz] = shape;
    let at = |channel: &[T], i: usize| channel[i / (nx * ny) + nz * (i / nx % ny + ny * (i % nx))];
    data.chunks_exact(nx * ny * nz)
        .flat_map(|c| (0..nx * ny * nz).map(move |i| at(c, i)).collect::<Vec<T>>())
        .collect()
}

fn agreement(ours: &[u8], theirs: &[u8]) -> f64 {
    assert_eq!(ours.len(), theirs.len());
    ours.iter().zip(theirs).filter(|(a, b)| a == b).count() as f64 / ours.len() as f64
}

#[test]
fn headers_grids_and_boxes_are_monais() {
    for fixture in fixtures() {
        let geometry = fixture.prepared().geometry;
        fixture.assert_affine("original_affine", &geometry.original_affine);
        fixture.assert_affine("resampled_affine", &geometry.resampled_affine);
        let shape: Vec<i64> = geometry.resampled_shape.iter().map(|&n| n as i64).collect();
        assert_eq!(shape, fixture.i64s("resampled_shape"), "{}", fixture.name());
        let part: Vec<i64> =
            geometry.crop_start.iter().chain(&geometry.crop_end).map(|&n| n as i64).collect();
        assert_eq!(part, fixture.i64s("box"), "{}", fixture.name());
    }
}

#[test]
fn images_agree_within_1e_5_after_scaling() {
    for fixture in fixtures() {
        let image = fixture.prepared().image;
        let (shape, theirs) = fixture.f32s("image");
        assert_eq!(shape[1..], image.shape, "{}", fixture.name());
        let theirs = x_fastest(image.shape, &theirs);
        assert_eq!(theirs.len(), image.data.len());
        let largest =
            image.data.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(largest <= 1e-5, "{}: differs by {largest}", fixture.name());
    }
}

#[test]
fn labels_are_identical_on_axis_aligned_grids_and_nearly_so_on_oblique_ones() {
    for fixture in fixtures() {
        let label = fixture.prepared().label.unwrap();
        let theirs = x_fastest(label.shape, &fixture.u8s("label").1);
        let equal = agreement(&label.data, &theirs);
        let wanted = if fixture.is("oblique") { 0.99 } else { 1.0 };
        assert!(equal >= wanted, "{}: {equal} of the labels are equal", fixture.name());
    }
}

#[test]
fn inversion_gives_monais_labels_and_probabilities_on_the_files_own_grid() {
    let mut tried = 0;
    for fixture in fixtures().iter().filter(|fixture| fixture.is("invert")) {
        let geometry = fixture.prepared().geometry;
        let inverter = Inverter::new(&geometry).unwrap();
        let (_, probabilities) = fixture.f32s("probabilities");
        let labels = inverter.labels(&probabilities, 3).unwrap();
        assert_eq!(
            (labels.shape, labels.affine),
            (geometry.original_shape, geometry.original_affine)
        );
        let theirs = x_fastest(labels.shape, &fixture.u8s("inverted").1);
        assert!(
            (0..3).all(|class| theirs.iter().filter(|&&l| l == class).count() * 20 > theirs.len())
        );
        let equal = agreement(&labels.data, &theirs);
        assert!(equal >= 0.9999, "{}: {equal} of the labels are equal", fixture.name());

        let voxels = probabilities.len() / 3;
        let second = inverter.probability(&probabilities[voxels..2 * voxels]).unwrap();
        let theirs = x_fastest(labels.shape, &fixture.f32s("inverted_second").1);
        let largest =
            second.data.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(largest <= 1e-5, "{}: probabilities differ by {largest}", fixture.name());
        tried += 1;
    }
    assert!(tried >= 4);
}

#[test]
fn a_label_resampled_there_and_back_is_monais() {
    for fixture in fixtures().iter().filter(|fixture| fixture.is("invert")) {
        let prepared = fixture.prepared();
        let back = Inverter::new(&prepared.geometry)
            .unwrap()
            .nearest(&prepared.label.unwrap().data)
            .unwrap();
        let theirs = x_fastest(back.shape, &fixture.u8s("roundtrip").1);
        let wanted = if fixture.is("oblique") { 0.99 } else { 1.0 };
        let equal = agreement(&back.data, &theirs);
        assert!(equal >= wanted, "{}: {equal} of the labels are equal", fixture.name());
    }
}
