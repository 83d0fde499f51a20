//! `preprocess` as a stage: items, warnings that reuse repeats, and cases that cannot be done.

mod nnunet_steps;
#[path = "../support/mod.rs"]
mod support;

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use support::Trial;
use voxflow_stages::image::nifti::{read_image, read_label, write_label, write_volume_f32};
use voxflow_stages::image::{Affine, Geometry, Inverter, Volume, VolumeList};

const LAS: Affine =
    [[-1.0, 0.0, 0.0, 40.0], [0.0, 1.0, 0.0, -5.0], [0.0, 0.0, 2.0, 0.0], [0.0, 0.0, 0.0, 1.0]];

fn grid<T: Clone>(value: T, shape: [usize; 3]) -> Volume<T> {
    Volume { channels: 1, shape, data: vec![value; shape.iter().product()], affine: LAS }
}

/// Three cases: two blocks of tissue in air with a label, and one without a label.
fn dataset(
    folder: &Path,
    change: impl Fn(&str, &mut Volume<f32>, &mut Volume<u8>),
) -> BTreeMap<String, PathBuf> {
    let mut files = BTreeMap::new();
    let mut cases = vec![];
    for (index, name) in ["a", "b", "c"].iter().enumerate() {
        let shape = [8, 9, 6];
        let (mut image, mut label) = (grid(-1000.0, shape), grid(0, shape));
        for voxel in 0..image.data.len() {
            let (x, y, z) = (voxel % 8, voxel / 8 % 9, voxel / 72);
            if (2..6).contains(&x) && (1..7).contains(&y) && (1..5).contains(&z) {
                image.data[voxel] = 40.0 + index as f32;
                label.data[voxel] = u8::from(x < 4);
            }
        }
        change(name, &mut image, &mut label);
        let (image_name, label_name) =
            (format!("images/{name}.nii.gz"), format!("labels/{name}.nii.gz"));
        files.insert(image_name.clone(), folder.join(format!("{name}_image")));
        write_volume_f32(&files[&image_name], &image, true).unwrap();
        let mut case = json!({ "name": name, "images": [image_name] });
        if *name != "c" {
            files.insert(label_name.clone(), folder.join(format!("{name}_label")));
            write_label(&files[&label_name], &label, true).unwrap();
            case["label"] = json!(label_name);
        }
        cases.push(case);
    }
    let listing = json!({ "name": "Toy", "modality": ["CT"], "labels": [{ "value": 1, "name": "organ" }], "cases": cases });
    files.insert("dataset.json".into(), folder.join("dataset.json"));
    std::fs::write(&files["dataset.json"], listing.to_string()).unwrap();
    files
}

fn params() -> Value {
    json!({ "spacing": [1.0, 1.0, 1.0], "intensity": { "window": [-57, 164] }, "crop_foreground": true })
}

#[test]
fn each_case_becomes_a_volume_that_leads_back_to_its_own_grid() {
    let folder = tempfile::tempdir().unwrap();
    let files = dataset(folder.path(), |_, _, _| {});
    let trial = Trial::new("preprocess", params()).input("dataset", "dataset", &files);
    trial.run().unwrap();
    let made = trial.artifact();
    let names: Vec<&str> = made.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "a/geometry.json",
            "a/image.nii",
            "a/label.nii",
            "b/geometry.json",
            "b/image.nii",
            "b/label.nii",
            "c/geometry.json",
            "c/image.nii",
            "volumes.json"
        ]
    );
    let list: VolumeList = serde_json::from_slice(&trial.read("volumes.json")).unwrap();
    assert_eq!(
        list.cases.iter().map(|case| case.labelled).collect::<Vec<_>>(),
        [true, true, false]
    );
    let image = read_image(&made["a/image.nii"], "image").unwrap();
    let label = read_label(&made["a/label.nii"], "label", &[1]).unwrap();
    assert_eq!(
        (image.shape, label.shape, list.cases[0].shape),
        (image.shape, image.shape, image.shape)
    );
    assert_eq!((image.shape[0], image.shape[1]), (4, 6));
    assert!(image.data.iter().all(|value| (0.0..=1.0).contains(value)));
    // LAS was turned: the organ, at low x of the file, is at the right end now.
    assert_eq!((label.data[0], label.data[3]), (0, 1));

    let geometry: Geometry = serde_json::from_slice(&trial.read("a/geometry.json")).unwrap();
    let back = Inverter::new(&geometry).unwrap().nearest(&label.data).unwrap();
    let original = read_label(&files["labels/a.nii.gz"], "label", &[1]).unwrap();
    assert_eq!(back.shape, original.shape);
    let wrong = back.data.iter().zip(&original.data).filter(|(a, b)| a != b).count();
    assert_eq!(wrong, 0);
}

#[test]
fn a_labelled_case_without_a_labelled_voxel_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let files = dataset(folder.path(), |name, _, label| {
        if name == "b" {
            label.data.fill(0);
        }
    });
    let trial = Trial::new("preprocess", params()).input("dataset", "dataset", &files);
    let named = || {
        trial.run().unwrap();
        let all = trial.warnings();
        all.into_iter().filter(|words| words.contains("case b: label: is all background")).count()
    };
    assert_eq!((named(), named()), (1, 2), "reuse repeats it");
}

#[test]
fn channels_that_the_dataset_does_not_name_are_counted_in_good_english() {
    let folder = tempfile::tempdir().unwrap();
    let files = dataset(folder.path(), |name, image, _| {
        if name == "c" {
            image.channels = 2;
            image.data.extend(image.data.clone());
        }
    });
    let trial = Trial::new("preprocess", params()).input("dataset", "dataset", &files);
    let words = trial.run().unwrap_err().to_string();
    let wanted = "image: has 2 channels, but the dataset names 1 channel (CT); correct one of them";
    assert!(words.contains(wanted), "{words}");
}

#[test]
fn all_bad_cases_are_named_together_with_their_reasons() {
    let folder = tempfile::tempdir().unwrap();
    let files = dataset(folder.path(), |name, image, label| match name {
        "a" => *label = grid(0, [8, 9, 5]),
        "b" => label.affine[2][3] = 7.0,
        _ => image.data[3] = f32::NAN,
    });
    let trial = Trial::new("preprocess", params()).input("dataset", "dataset", &files);
    let trouble = trial.run().unwrap_err().to_string();
    assert!(trouble.contains("3 cases could not be done"), "{trouble}");
    assert!(trouble.contains("8×9×6 and 8×9×5 voxels"), "{trouble}");
    assert!(trouble.contains("different places (corners up to 7.0 voxels apart)"), "{trouble}");
    assert!(trouble.contains("1 of 432 voxels are NaN"), "{trouble}");
}

#[test]
fn a_case_without_foreground_is_kept_whole_and_every_run_warns_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let files = dataset(folder.path(), |name, image, _| {
        if name == "b" {
            image.data.fill(-1000.0);
        }
    });
    let trial = Trial::new("preprocess", params()).input("dataset", "dataset", &files);
    for _ in 0..2 {
        trial.run().unwrap();
        let list: VolumeList = serde_json::from_slice(&trial.read("volumes.json")).unwrap();
        assert_eq!(list.cases[1].shape, [8, 9, 11]);
    }
    assert_eq!(trial.made().len(), 3, "the second run reuses all");
    let mut warnings = trial.words();
    warnings.retain(|words| words.starts_with("case b"));
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(
        warnings.iter().all(|words| words.starts_with("case b: no voxel exceeds -57")),
        "{warnings:?}"
    );
}

#[test]
fn a_label_stored_in_another_order_of_axes_lands_on_the_same_voxels() {
    let folder = tempfile::tempdir().unwrap();
    let plain = dataset(folder.path(), |_, _, _| {});
    let other = tempfile::tempdir().unwrap();
    let turned = dataset(other.path(), |_, _, label| {
        let [nx, ny, nz] = label.shape;
        let data = label.data.clone();
        // x mirrored: RAS instead of LAS.
        (0..data.len()).for_each(|v| label.data[v] = data[nx - 1 - v % nx + nx * (v / nx)]);
        label.affine = [
            [1.0, 0.0, 0.0, 33.0],
            [0.0, 1.0, 0.0, -5.0],
            [0.0, 0.0, 2.0, 0.0],
            [0.0, 0.0, 0.0, 1.0],
        ];
        assert_eq!((nx, ny, nz), (8, 9, 6));
    });
    let label = |files: &BTreeMap<String, PathBuf>| {
        let trial = Trial::new("preprocess", params()).input("dataset", "dataset", files);
        trial.run().unwrap();
        trial.read("a/label.nii")
    };
    assert_eq!(label(&plain), label(&turned));
}

#[test]
fn scalings_must_be_as_many_as_the_channels_and_make_sense() {
    let folder = tempfile::tempdir().unwrap();
    let files = dataset(folder.path(), |_, _, _| {});
    let two = json!({ "intensity": [{ "zscore": "all" }, { "zscore": "all" }] });
    let trial = Trial::new("preprocess", two).input("dataset", "dataset", &files);
    assert!(trial.run().unwrap_err().to_string().contains("2 scalings for 1 channels"));

    let kind = voxflow_stages::Kind::named("preprocess").unwrap();
    let mistakes = kind
        .understand(
            &json!({ "spacing": [1.0, 0.0, 1.0], "intensity": [{ "window": [5, 5] }, { "percentile": [9, 101] }] }),
        )
        .unwrap_err();
    let paths: Vec<&str> = mistakes.iter().map(|mistake| mistake.0.as_str()).collect();
    assert_eq!(paths, ["spacing", "intensity.0", "intensity.1"]);
}

#[test]
fn an_image_is_known_by_its_voxels_whatever_its_header_name_and_compression() {
    let folder = tempfile::tempdir().unwrap();
    let digests = |change: &dyn Fn(&mut Volume<f32>), packed: bool| {
        let base = tempfile::tempdir_in(folder.path()).unwrap();
        let mut files = dataset(base.path(), |name, image, _| {
            if name == "c" {
                change(image)
            }
        });
        let moved = base.path().join("another");
        let image = read_image(&files["images/c.nii.gz"], "image").unwrap();
        write_volume_f32(&moved, &image, packed).unwrap();
        files.insert("images/c.nii.gz".into(), moved);
        let trial = Trial::new("preprocess", params()).input("dataset", "dataset", &files);
        trial.run().unwrap();
        let list: VolumeList = trial.json("volumes.json");
        let geometry: Geometry = trial.json("c/geometry.json");
        assert_eq!(list.cases[2].image_digests, geometry.image_digests);
        assert_ne!(list.cases[0].image_digests, list.cases[2].image_digests);
        geometry.image_digests
    };
    let plain = digests(&|_| {}, false);
    assert_eq!(plain.len(), 1);
    assert_eq!(plain, digests(&|image| image.affine[0][3] = 7.0, true));
    assert_ne!(plain, digests(&|image| image.data[3] += 1.0, true));
}

/// A trial over one case whose files are those at `image` and `label`.
fn trial_of(folder: &Path, image: &Path, label: Option<&Path>, params: Value) -> Trial {
    let names = [Some(("image.nii", image)), label.map(|label| ("label.nii", label))];
    let mut files: BTreeMap<String, PathBuf> =
        names.iter().flatten().map(|(name, path)| (name.to_string(), path.to_path_buf())).collect();
    let mut case = json!({ "name": "c", "images": ["image.nii"] });
    if label.is_some() {
        case["label"] = json!("label.nii");
    }
    let labels = json!([{ "value": 1, "name": "organ" }, { "value": 2, "name": "lesion" }]);
    let listing = json!({ "name": "Toy", "modality": ["CT"], "labels": labels, "cases": [case] });
    files.insert("dataset.json".into(), folder.join("dataset.json"));
    std::fs::write(&files["dataset.json"], listing.to_string()).unwrap();
    Trial::new("preprocess", params).input("dataset", "dataset", &files)
}

#[test]
fn an_image_and_its_label_turned_by_45_degrees_are_one_grid_in_spite_of_rounding() {
    let folder = tempfile::tempdir().unwrap();
    let turned = |degrees: f64| {
        let (sin, cos) = degrees.to_radians().sin_cos();
        let (x, y) = ([1.2 * cos, 1.2 * sin], [-1.1 * sin, 1.1 * cos]);
        [[x[0], y[0], 0.0, 0.0], [x[1], y[1], 0.0, 0.0], [0.0, 0.0, 2.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
    };
    let (image, label) = (folder.path().join("image"), folder.path().join("label"));
    let write = |degrees: [f64; 2], backwards: bool| {
        let mut map = Volume { affine: turned(degrees[1]), ..grid(0, [8, 9, 6]) };
        map.data[3] = 1;
        if backwards {
            // The same map with its first axis stored from the other end.
            map.data.chunks_exact_mut(8).for_each(<[u8]>::reverse);
            (0..3).for_each(|row| map.affine[row][3] += 7.0 * map.affine[row][0]);
            (0..3).for_each(|row| map.affine[row][0] *= -1.0);
        }
        write_volume_f32(
            &image,
            &Volume { affine: turned(degrees[0]), ..grid(40.0, [8, 9, 6]) },
            false,
        )
        .unwrap();
        write_label(&label, &map, false).unwrap();
        let params = json!({ "intensity": { "window": [0, 100] } });
        let trial = trial_of(folder.path(), &image, Some(&label), params);
        trial.run().unwrap();
        let map = trial.read("c/label.nii");
        (map[352..].iter().position(|voxel| *voxel == 1), map.len())
    };
    let plain = write([44.9999, 44.9999], false);
    assert!(plain.0.is_some());
    for backwards in [false, true] {
        assert_eq!(write([44.9999, 45.0001], backwards), plain, "backwards: {backwards}");
    }
}

#[test]
fn labelled_voxels_that_are_lost_are_told_by_case_label_and_share_in_every_run() {
    let folder = tempfile::tempdir().unwrap();
    let (image, label) = (folder.path().join("image"), folder.path().join("label"));
    let affine =
        [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]];
    let shape = [12, 12, 12];
    let mut scan = Volume { affine, ..grid(0.0, shape) };
    let mut map = Volume { affine, ..grid(0, shape) };
    for at in 0..scan.data.len() {
        let [x, y, z] = [at % 12, at / 12 % 12, at / 144];
        scan.data[at] = f32::from(u8::from((3..9).contains(&x) && y > 2 && z > 2)) * 500.0;
        map.data[at] = u8::from(x < 6 && (4..8).contains(&y) && (4..8).contains(&z));
    }
    // A lesion of one voxel, which voxels of 2 mm pass over.
    map.data[9 + 12 * (9 + 12 * 9)] = 2;
    write_volume_f32(&image, &scan, false).unwrap();
    write_label(&label, &map, false).unwrap();
    let told = |params: Value| {
        let trial = trial_of(folder.path(), &image, Some(&label), params);
        trial.run().unwrap();
        let first = trial.words();
        trial.run().unwrap();
        assert_eq!(trial.words()[first.len()..], first, "reuse tells the same");
        first
    };
    let crop = json!({ "intensity": { "window": [0, 1000] }, "crop_foreground": true });
    let words = told(crop);
    assert_eq!(words.len(), 2, "{words:?}");
    assert!(
        words[0].starts_with("case c: label 'organ' (1): 48 of 96 voxels (50 %) lie outside"),
        "{words:?}"
    );
    assert!(words[1].contains("'lesion' (2): 1 of 1 voxels (100 %)"), "{words:?}");
    let coarse = json!({ "intensity": { "window": [0, 1000] }, "spacing": [2, 2, 2] });
    let words = told(coarse);
    assert!(
        words
            .iter()
            .any(|words| words
                .contains("'lesion' (2): 1 of 1 voxels (100 %) are lost by resampling")),
        "{words:?}"
    );
    assert!(told(json!({ "intensity": { "window": [0, 1000] } })).is_empty());
}

#[test]
fn a_case_that_cannot_be_read_says_how_it_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let mut bad = grid(40.0, [8, 9, 6]);
    bad.data[3] = f32::NAN;
    let image = folder.path().join("image");
    write_volume_f32(&image, &bad, false).unwrap();
    let params = json!({ "intensity": { "window": [0, 100] } });
    let trouble = trial_of(folder.path(), &image, None, params).run().unwrap_err().to_string();
    assert!(trouble.contains("1 of 432 voxels are NaN or infinite; repair the file"), "{trouble}");
    assert!(trouble.contains("'exclude: [c]' of stage 'dataset'"), "{trouble}");
    assert!(!trouble.contains("split"), "{trouble}");
}

#[test]
fn a_contradiction_in_a_header_is_told_for_each_case_in_every_run() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("image");
    write_volume_f32(&image, &grid(40.0, [8, 9, 6]), false).unwrap();
    let mut bytes = std::fs::read(&image).unwrap();
    bytes[80..84].copy_from_slice(&1.5f32.to_le_bytes());
    std::fs::write(&image, bytes).unwrap();
    let params = json!({ "intensity": { "window": [0, 100] } });
    let trial = trial_of(folder.path(), &image, None, params);
    for _ in 0..2 {
        trial.run().unwrap();
    }
    let wanted = "case c: image: has voxel sizes (pixdim) of 1.5 x 1 x 2 mm, but an sform of 1 x 1 x 2 mm; the sform counts";
    assert_eq!(trial.words(), [wanted, wanted]);
    let geometry: Geometry = trial.json("c/geometry.json");
    // LAS turned to RAS.
    assert_eq!(geometry.original_affine, LAS);
    assert_eq!(geometry.space.map(|space| (space.sform_code, space.qform_code)), Some((2, 0)));
}

#[test]
fn channels_in_files_of_different_orders_are_one_image() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = grid(0.0, [8, 9, 6]);
    first.data.iter_mut().enumerate().for_each(|(at, value)| *value = at as f32);
    // The same values, stored from the other end of the first axis.
    let mut second = first.clone();
    second.data.chunks_exact_mut(8).for_each(<[f32]>::reverse);
    (0..3).for_each(|row| second.affine[row][3] += 7.0 * second.affine[row][0]);
    (0..3).for_each(|row| second.affine[row][0] *= -1.0);
    let names = ["a", "b"].map(|name| folder.path().join(name));
    write_volume_f32(&names[0], &first, false).unwrap();
    write_volume_f32(&names[1], &second, false).unwrap();
    let listing = json!({ "name": "Toy", "modality": ["T1", "T2"], "labels": [],
        "cases": [{ "name": "c", "images": ["a.nii", "b.nii"] }] });
    let path = folder.path().join("dataset.json");
    std::fs::write(&path, listing.to_string()).unwrap();
    let [a, b] = names;
    let files = [("a.nii", a), ("b.nii", b), ("dataset.json", path)];
    let files = files.map(|(name, path)| (name.to_string(), path)).into();
    let params = json!({ "intensity": { "window": [0, 432] } });
    let trial = Trial::new("preprocess", params).input("dataset", "dataset", &files);
    trial.run().unwrap();
    let image = read_image(&trial.artifact()["c/image.nii"], "image").unwrap();
    let (one, two) = image.data.split_at(432);
    assert_eq!((image.channels, one == two), (2, true));
}
