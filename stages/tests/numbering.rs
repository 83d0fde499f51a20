//! Labels that are named in a list, beside label files that hold other values than 1, 2 and so on.

mod support;

use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use support::Trial;
use voxflow_stages::dataset::Listing;
use voxflow_stages::image::nifti::{write_label, write_volume_f32};
use voxflow_stages::image::{Volume, affine::IDENTITY};

const SHAPE: [usize; 3] = [4, 3, 2];

/// A folder with an image and a label of each case, whose first voxels have these values.
fn folder_of(cases: &[&[u8]], [images, labels]: [&str; 2]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = |pattern: &str, case: usize| {
        let path = folder.path().join(pattern.replace('#', &case.to_string()));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    };
    for (case, values) in cases.iter().enumerate() {
        let mut data = vec![0; 24];
        data[..values.len()].copy_from_slice(values);
        let label = Volume { channels: 1, shape: SHAPE, data, affine: IDENTITY };
        write_label(&path(labels, case), &label, false).unwrap();
        let data = (0..24).map(|at| (at + case) as f32).collect();
        let image = Volume { channels: 1, shape: SHAPE, data, affine: IDENTITY };
        write_volume_f32(&path(images, case), &image, false).unwrap();
    }
    folder
}

/// The labels of a dataset and the warnings on the way.
type Told = Result<(Vec<(u8, String)>, Vec<String>), String>;

fn told(trial: &Trial) -> Told {
    trial.run().map_err(|error| error.to_string())?;
    let listing: Listing = trial.json("dataset.json");
    let labels = listing.labels.into_iter().map(|label| (label.value, label.name)).collect();
    Ok((labels, trial.warnings()))
}

fn by_patterns(cases: &[&[u8]], names: Value) -> Told {
    let folder = folder_of(cases, ["i#.nii", "l#.nii"]);
    told(&Trial::new(
        "folder",
        json!({"path": folder.path(), "images": "i{case}.nii", "labels": "l{case}.nii",
               "modality": ["MRI"], "label_names": names}),
    ))
}

fn listed(folder: &Path, listing: &Value) -> PathBuf {
    std::fs::write(folder.join("dataset.json"), listing.to_string()).unwrap();
    folder.to_path_buf()
}

fn named(values: &[u8], names: &[&str]) -> Vec<(u8, String)> {
    values.iter().copied().zip(names.iter().map(|name| name.to_string())).collect()
}

const BRATS: [&[u8]; 3] = [&[1, 2, 4], &[2, 4, 4], &[]];

#[test]
fn three_names_for_the_values_1_2_and_4_are_given_in_order_with_a_warning_that_says_so() {
    let names = ["necrosis", "edema", "enhancing"];
    let (labels, warnings) = by_patterns(&BRATS, json!(names)).unwrap();
    assert_eq!(labels, named(&[1, 2, 4], &names));
    let words = "1: necrosis, 2: edema, 4: enhancing; 'label_names: {1: necrosis, 2: edema, \
                 4: enhancing}' says it";
    assert!(warnings.len() == 1 && warnings[0].contains(words), "{warnings:?}");
    // What the warning advises gives the same labels without a word.
    let said = json!({"1": "necrosis", "2": "edema", "4": "enhancing"});
    assert_eq!(by_patterns(&BRATS, said).unwrap(), (labels, vec![]));
    let (labels, _) = by_patterns(&[&[255], &[255, 255]], json!(["tumor"])).unwrap();
    assert_eq!(labels, named(&[255], &["tumor"]));
}

#[test]
fn a_list_that_counts_from_1_is_taken_as_it_is_even_where_a_label_occurs_nowhere() {
    for cases in [&[&[1, 2, 3][..], &[1]][..], &[&[1, 3]], &[&[3]], &[&[]]] {
        let (labels, warnings) = by_patterns(cases, json!(["a", "b", "c"])).unwrap();
        assert_eq!((labels, warnings.len()), (named(&[1, 2, 3], &["a", "b", "c"]), 0));
    }
}

#[test]
fn as_many_names_as_values_or_an_error_that_lists_both() {
    for (names, words) in [
        (json!(["a", "b"]), "a list of 2 names (a, b) for label files that hold 1 (in 1 case: 0)"),
        (json!(["a", "b", "c", "d"]).clone(), ""),
        (json!(["a"]), "2 (in 2 cases: 0, 1), 4 (in 2 cases: 0, 1) besides 0"),
    ] {
        match by_patterns(&BRATS, names.clone()) {
            Ok(_) => assert!(words.is_empty(), "{names}: 4 names reach to value 4"),
            Err(trouble) => assert!(trouble.contains(words), "{names}: {trouble}"),
        }
    }
    // A mapping says all by itself.
    assert!(by_patterns(&BRATS, json!({"1": "a", "7": "b"})).unwrap().1.is_empty());
}

#[test]
fn the_same_holds_for_a_list_in_a_dataset_json_and_in_an_archive() {
    let lists = |labels: Value| {
        let folder = folder_of(&BRATS, ["imagesTr/c#_0000.nii", "labelsTr/c#.nii"]);
        let pair = |case: usize| {
            json!({"image": format!("imagesTr/c{case}_0000.nii"),
                   "label": format!("labelsTr/c{case}.nii")})
        };
        let training = [pair(0), pair(1), pair(2)];
        let decathlon = json!({"modality": {"0": "MRI"}, "labels": labels, "training": training});
        let nnunet =
            json!({"channel_names": {"0": "MRI"}, "labels": labels, "file_ending": ".nii"});
        [(decathlon, "decathlon"), (nnunet, "nnunet")].map(|(listing, layout)| {
            let path = listed(folder.path(), &listing);
            told(&Trial::new("folder", json!({"path": path, "layout": layout})))
        })
    };
    let names = ["necrosis", "edema", "enhancing"];
    for labels in [json!(["background", "necrosis", "edema", "enhancing"]), json!(names)] {
        for found in lists(labels.clone()) {
            let (labels, warnings) = found.unwrap();
            assert_eq!(labels, named(&[1, 2, 4], &names));
            assert!(warnings[0].contains("hold the values 1, 2, 4"), "{warnings:?}");
        }
    }
    // Without the background in the list, fewer values than names say nothing.
    assert!(lists(json!(["a", "b", "c", "d"])).into_iter().all(|found| found.is_err()));
    let (labels, warnings) = archived(&BRATS, &names).unwrap();
    assert_eq!((labels, warnings.len()), (named(&[1, 2, 4], &names), 1));
}

/// The same from an archive whose labels the workflow names.
fn archived(cases: &[&[u8]], names: &[&str]) -> Told {
    let folder = folder_of(cases, ["T/imagesTr/c#.nii", "T/labelsTr/c#.nii"]);
    let pair = |case: usize| json!({"image": format!("imagesTr/c{case}.nii"), "label": format!("labelsTr/c{case}.nii")});
    let training: Vec<Value> = (0..cases.len()).map(pair).collect();
    let labels = json!({"0": "background", "1": "one"});
    let listing = json!({"modality": {"0": "MRI"}, "labels": labels, "training": training});
    listed(&folder.path().join("T"), &listing);
    let packed = folder.path().join("t.tar");
    let mut tar = tar::Builder::new(std::fs::File::create(&packed).unwrap());
    tar.append_dir_all("T", folder.path().join("T")).unwrap();
    tar.finish().unwrap();
    let files = [("archive".to_string(), packed)].into();
    told(&Trial::new("unpack", json!({"label_names": names})).input("archive", "a", &files))
}
