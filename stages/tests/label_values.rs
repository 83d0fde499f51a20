//! Values of label maps: what is rounded, what is refused, and what is said of it.

use std::path::{Path, PathBuf};
use voxflow_stages::image::nifti::{
    ImageFile, LabelMap, LabelMapping, LabelValues, Scratch, load_label, write_volume_f32,
};
use voxflow_stages::image::{Volume, affine::IDENTITY};

/// A float label of 2 x 3 x 4 voxels with these values first, scaled by slope and intercept.
fn label(folder: &Path, values: &[f32], scale: Option<[f32; 2]>) -> PathBuf {
    let mut data = vec![0.0; 24];
    data[..values.len()].copy_from_slice(values);
    let path = folder.join("label");
    let volume = Volume { channels: 1, shape: [2, 3, 4], data, affine: IDENTITY };
    write_volume_f32(&path, &volume, false).unwrap();
    if let Some([slope, intercept]) = scale {
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[112..116].copy_from_slice(&slope.to_le_bytes());
        bytes[116..120].copy_from_slice(&intercept.to_le_bytes());
        std::fs::write(&path, bytes).unwrap();
    }
    path
}

fn read(
    values: &[f32],
    scale: Option<[f32; 2]>,
    declared: &[u8],
) -> Result<(Vec<u8>, Option<String>), String> {
    read_as(values, scale, declared.into())
}

fn read_as(
    values: &[f32],
    scale: Option<[f32; 2]>,
    meaning: LabelValues,
) -> Result<(Vec<u8>, Option<String>), String> {
    let folder = tempfile::tempdir().unwrap();
    let file = ImageFile::at(&label(folder.path(), values, scale));
    let mut scratch = Scratch::default();
    let LabelMap { voxels, rounded, .. } =
        load_label(&file, "label", meaning, &mut scratch).map_err(|error| error.to_string())?;
    Ok((voxels[..values.len()].to_vec(), rounded))
}

#[test]
fn values_that_are_nearly_whole_are_rounded_with_a_warning() {
    for (values, wanted) in [
        (&[0.9999, 1.0, 2.0][..], &[1, 1, 2][..]),
        (&[1.001, 0.0, -0.001], &[1, 0, 0]),
        (&[1.995, 2.005, 254.999], &[2, 2, 255]),
    ] {
        let (voxels, rounded) = read(values, None, &[1, 2, 255]).unwrap();
        assert_eq!(voxels, wanted);
        assert!(rounded.unwrap().contains("of 24 voxels are not whole numbers"), "{values:?}");
    }
    let (_, rounded) = read(&[0.9999, 0.9999, 2.0], None, &[1, 2]).unwrap();
    let rounded = rounded.unwrap();
    assert!(rounded.starts_with("2 of 24 voxels"), "{rounded}");
    assert!(rounded.contains("1.0e-4 away: 0.9999"), "{rounded}");
}

#[test]
fn whole_numbers_and_negative_zero_are_taken_without_a_word() {
    let (voxels, rounded) = read(&[-0.0, 1.0, 255.0], None, &[1, 255]).unwrap();
    assert_eq!((voxels, rounded), (vec![0, 1, 255], None));
}

#[test]
fn scaled_values_mean_what_slope_and_intercept_make_of_them() {
    // 0 and 1 as 0 and 255 with a slope of 1/255, and the other way round.
    let (voxels, rounded) = read(&[0.0, 255.0], Some([1.0 / 255.0, 0.0]), &[1]).unwrap();
    assert_eq!((voxels, rounded), (vec![0, 1], None));
    let (voxels, rounded) = read(&[0.0, 1.0], Some([255.0, 0.0]), &[255]).unwrap();
    assert_eq!((voxels, rounded), (vec![0, 255], None));
    // With an intercept the background must be stored as what becomes 0.
    let trouble = read(&[3.0, 1.0, 2.0], Some([1.0, -1.0]), &[1, 2]).unwrap_err();
    assert!(trouble.contains("-1 (21 voxels)"), "{trouble}");
    // Within half a slope: 1.02 and 1.98 of a slope of 0.06.
    let (voxels, rounded) = read(&[17.0, 33.0], Some([0.06, 0.0]), &[1, 2]).unwrap();
    assert_eq!(voxels, [1, 2]);
    assert!(rounded.is_some());
}

#[test]
fn values_that_are_no_labels_are_listed_with_their_voxels() {
    let trouble = read(&[0.5, 0.5, 0.25, 1.0], None, &[1]).unwrap_err();
    assert!(
        trouble.contains("3 of 24 voxels are no labels: 0.5 (2 voxels), 0.25 (1 voxel)"),
        "{trouble}"
    );
    for (value, word) in
        [(-1.0, "-1"), (256.0, "256"), (f32::NAN, "NaN"), (0.9, "0.9"), (1.02, "1.02")]
    {
        let trouble = read(&[value], None, &[1]).unwrap_err();
        assert!(trouble.contains(&format!("{word} (1 voxel)")), "{trouble}");
        assert!(trouble.contains("whole numbers from 0 to 255"), "{trouble}");
    }
}

#[test]
fn values_that_nobody_declared_are_listed_with_the_way_to_declare_them() {
    let trouble = read(&[255.0, 255.0, 4.0, 1.0], None, &[1, 2]).unwrap_err();
    for words in ["4 (1 voxel), 255 (2 voxels)", "declared: 1, 2", "'label_names'"] {
        assert!(trouble.contains(words), "'{words}' is not in: {trouble}");
    }
}

#[test]
fn values_are_mapped_to_labels_and_all_others_are_background() {
    let mapping = LabelMapping::from([(17, 1), (53, 1), (1035, 2), (65535, 3)]);
    let meaning = LabelValues { declared: &[1, 2, 3], mapping: &mapping };
    for (values, scale) in [
        (&[17.0, 53.0, 1035.0, 2.0, 2035.0, 65535.0, 1.0][..], None),
        (&[34.0, 106.0, 2070.0, 4.0, 4070.0, 131_070.0, 2.0], Some([0.5, 0.0])),
    ] {
        let (voxels, rounded) = read_as(values, scale, meaning).unwrap();
        assert_eq!(voxels, [1, 1, 2, 0, 0, 3, 0], "1 and 2 are values of files here, not labels");
        assert_eq!(rounded, None);
    }
    let (voxels, rounded) = read_as(&[1034.998], None, meaning).unwrap();
    assert!(voxels == [2] && rounded.is_some());
    for (value, words) in [(65536.0, "from 0 to 65535"), (-1.0, "-1 (1 voxel)"), (17.5, "17.5")] {
        let trouble = read_as(&[value], None, meaning).unwrap_err();
        assert!(trouble.contains(words) && !trouble.contains("map_labels"), "{trouble}");
    }
}

#[test]
fn values_above_255_are_refused_with_the_way_to_map_them() {
    let trouble = read(&[1035.0, 17.0], None, &[17]).unwrap_err();
    assert!(trouble.contains("1035 (1 voxel)") && trouble.contains("'map_labels'"), "{trouble}");
    let trouble = read(&[1035.0, 0.5], None, &[1]).unwrap_err();
    assert!(!trouble.contains("'map_labels'"), "no way out for 0.5: {trouble}");
}
