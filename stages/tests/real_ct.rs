//! A real abdominal CT through preparation: skipped where the data are not at hand.
#![allow(clippy::print_stderr)]

use std::path::{Path, PathBuf};
use voxflow_stages::image::nifti::read_label;
use voxflow_stages::image::prepare::prepare;
use voxflow_stages::image::{Inverter, Preparation, Volume};

fn data() -> Option<PathBuf> {
    let root = std::env::var_os("DATA_ROOT").map(PathBuf::from);
    let root =
        root.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"));
    Some(root.join("ct")).filter(|folder| folder.join("spleen_8_image.nii.gz").exists())
}

fn organ_ml(label: &Volume<u8>) -> f64 {
    label.data.iter().filter(|&&value| value == 1).count() as f64 * label.voxel_ml()
}

#[test]
fn a_real_ct_keeps_its_organs_volume_there_and_back() {
    let Some(folder) = data() else {
        eprintln!("skipped: no ct/spleen_8_image.nii.gz under DATA_ROOT");
        return;
    };
    let (image, label) =
        (folder.join("spleen_8_image.nii.gz"), folder.join("spleen_8_label.nii.gz"));
    let preparation: Preparation = serde_json::from_value(serde_json::json!({
        "spacing": [1.5, 1.5, 2.0], "intensity": { "window": [-57, 164] }, "crop_foreground": true
    }))
    .unwrap();
    let prepared = prepare(&preparation, &[image], Some(&label), &["CT".into()], &[1]).unwrap();
    assert_eq!(prepared.image.shape, [268, 220, 117]);
    assert!(prepared.image.data.iter().all(|value| (0.0..=1.0).contains(value)));
    let affine = prepared.image.affine;
    (0..3).for_each(|axis| assert!((affine[axis][axis] - [1.5, 1.5, 2.0][axis]).abs() < 1e-9));

    let original = read_label(&label, "label", &[1]).unwrap();
    let resampled = prepared.label.unwrap();
    assert!((organ_ml(&resampled) / organ_ml(&original) - 1.0).abs() < 0.02);
    let back = Inverter::new(&prepared.geometry).unwrap().nearest(&resampled.data).unwrap();
    assert_eq!((back.shape, back.affine), (original.shape, original.affine));
    assert!((organ_ml(&back) / organ_ml(&original) - 1.0).abs() < 0.02);
}
