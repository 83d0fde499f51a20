//! nnU-Net's crop, scaling and resampling as parameters of `preprocess`.

use super::dataset;
use super::support::Trial;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use voxflow_stages::image::nifti::{read_image, read_label};
use voxflow_stages::image::{Geometry, Inverter};

/// The toy dataset with black instead of air, and black in the middle of case `a`.
fn black_dataset(folder: &Path) -> BTreeMap<String, PathBuf> {
    dataset(folder, |_, image, label| {
        for (value, label) in image.data.iter_mut().zip(&label.data) {
            *value = if *value < 0.0 { 0.0 } else { *value + 10.0 * f32::from(*label) };
        }
        let middle = 3 + 8 * (4 + 9 * 2);
        image.data[middle] = 0.0;
        label.data[0] = 1;
    })
}

#[test]
fn a_crop_to_non_zero_voxels_alone_comes_before_the_steps_of_monai_and_leads_back() {
    let folder = tempfile::tempdir().unwrap();
    let files = black_dataset(folder.path());
    let params = json!({
        "spacing": [1.0, 1.0, 1.0], "intensity": { "zscore": "all" }, "crop_nonzero": true,
    });
    let trial = Trial::new("preprocess", params).input("dataset", "dataset", &files);
    trial.run().unwrap();
    let made = trial.artifact();
    let geometry: Geometry = serde_json::from_slice(&trial.read("a/geometry.json")).unwrap();
    // Voxels 2..6, 1..7 and 1..5 of the file, x backwards; slices of 2 mm become 1 mm.
    assert_eq!(geometry.nonzero_box, Some([[2, 1, 1], [6, 7, 5]]));
    assert_eq!((geometry.prepared_shape(), geometry.resized), ([4, 6, 7], None));
    let label = read_label(&made["a/label.nii"], "label", &[1]).unwrap();
    let back = Inverter::new(&geometry).unwrap().nearest(&label.data).unwrap();
    let own = read_label(&files["labels/a.nii.gz"], "label", &[1]).unwrap();
    let different: Vec<usize> =
        (0..own.data.len()).filter(|voxel| own.data[*voxel] != back.data[*voxel]).collect();
    assert_eq!((back.shape, back.affine, different), (own.shape, own.affine, vec![0]));
    let told = trial.warnings().join("\n");
    assert!(told.contains("lie where the image is 0 and are cut away by 'crop_nonzero'"), "{told}");
}

#[test]
fn volumes_resampled_as_nnunet_does_are_scaled_first_within_the_non_zero_region() {
    let folder = tempfile::tempdir().unwrap();
    let files = black_dataset(folder.path());
    let params = json!({
        "spacing": [1.0, 1.0, 1.0], "intensity": { "zscore": "nonzero_mask" },
        "crop_nonzero": true, "resampling": { "image_order": 1 },
    });
    let trial = Trial::new("preprocess", params).input("dataset", "dataset", &files);
    trial.run().unwrap();
    let geometry: Geometry = serde_json::from_slice(&trial.read("b/geometry.json")).unwrap();
    assert_eq!(geometry.prepared_shape(), [4, 6, 8], "as long as before, in mm");
    let way_back = geometry.resized.unwrap();
    assert_eq!((way_back.probability_order, way_back.separate_axis), (1, None));
    let image = read_image(&trial.artifact()["b/image.nii"], "image").unwrap();
    let mean = image.data.iter().sum::<f32>() / image.data.len() as f32;
    assert!(mean.abs() < 0.2 && image.data.iter().any(|value| *value < -2.0), "{mean}");
    let list: Value = serde_json::from_slice(&trial.read("volumes.json")).unwrap();
    assert_eq!(list["preparation"]["resampling"]["anisotropy_threshold"], 3.0);
}

#[test]
fn steps_that_need_values_which_are_gone_are_mistakes() {
    let wrong = |more: Value| {
        let mut params = json!({ "intensity": { "zscore": "all" } });
        more.as_object().unwrap().iter().for_each(|(key, value)| params[key] = value.clone());
        let kind = voxflow_stages::Kind::named("preprocess").unwrap();
        format!("{:?}", kind.understand(&params).unwrap_err())
    };
    let told = wrong(json!({ "resampling": {}, "crop_foreground": true }));
    assert!(told.contains("use 'crop_nonzero'"), "{told}");
    let told = wrong(json!({ "intensity": { "zscore": "nonzero_mask" } }));
    assert!(told.contains("add 'resampling'"), "{told}");
    let told = wrong(json!({ "resampling": { "image_order": 2 } }));
    assert!(told.contains("resampling.image_order"), "{told}");
    let told = wrong(json!({ "resampling": { "anisotropy_threshold": 0.5 } }));
    assert!(told.contains("a factor of at least 1"), "{told}");
    let ct = json!({ "ct": { "clip": [5.0, 1.0], "mean": 0.0, "std": 1.0 } });
    assert!(wrong(json!({ "intensity": ct })).contains("from a lower to a higher"));
}
