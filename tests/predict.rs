//! Segmenting images: by the stage `predict`, whose images are remembered one by one, and by the
//! command `voxflow predict`, which needs no workflow.

mod lab;

use lab::cubes::{CUBES, Dataset, write_nifti};
use lab::{Lab, Shown};
use std::fs;
use std::path::{Path, PathBuf};

const IMAGES: &str =
    "  images: { uses: folder, with: { path: new, images: '{case}.nii.gz', modality: [MRI] } }\n";
const ANSWER: &str = "  answer: { uses: predict, needs: { dataset: images, model: model }, with: { probabilities: true } }\n";

/// A trained model, and three new images that have no labels.
fn lab() -> Lab {
    let lab = Lab::new();
    let data = Dataset::write(&lab.path("data"), 7, 0);
    fs::create_dir(lab.path("new")).expect("a folder");
    for case in 0..3 {
        fs::copy(data.image(case), lab.path(&format!("new/scan_{case}.nii.gz"))).expect("copy");
    }
    lab
}

fn workflow() -> String {
    format!("{CUBES}{IMAGES}{ANSWER}")
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder");
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn same(one: PathBuf, other: PathBuf) {
    assert!(
        fs::read(&one).expect("a file") == fs::read(&other).expect("a file"),
        "{one:?} and {other:?} differ"
    );
}

fn predict(lab: &Lab, more: &[&str]) -> Shown {
    lab.voxflow(&["predict", "--threads", "1"].iter().chain(more).copied().collect::<Vec<_>>())
}

#[test]
fn another_image_in_the_folder_redoes_none_of_the_others() {
    let lab = lab();
    let first = lab.run(&workflow(), &["--threads", "1"], 0);
    assert_eq!(first.items("answer"), (3, 0));
    let outputs = first.folder.join("outputs/answer");
    assert_eq!(
        names(&outputs.join("predictions")),
        ["scan_0.nii.gz", "scan_1.nii.gz", "scan_2.nii.gz"]
    );
    let volumes = first.metrics().into_iter().filter(|row| row[0] == "answer").count();
    assert_eq!(volumes, 3, "one volume for each image and label");

    fs::copy(lab.path("data/imagesTr/case_05.nii.gz"), lab.path("new/scan_9.nii.gz"))
        .expect("copy");
    let second = lab.run(&workflow(), &["--threads", "1"], 0);
    assert_eq!(second.items("answer"), (1, 3));
    assert_eq!(second.made(), ["images", "answer"]);

    let shown = predict(&lab, &["--model", "latest", "new", "--out", "labels", "--probabilities"]);
    assert_eq!(shown.code, 0, "{}", shown.err);
    for case in [0, 1, 2, 9] {
        let outputs = second.folder.join("outputs/answer");
        let file = format!("scan_{case}.nii.gz");
        same(outputs.join("predictions").join(&file), lab.path("labels").join(&file));
        same(
            outputs.join("probabilities").join(&file),
            lab.path(&format!("labels/scan_{case}_probabilities.nii.gz")),
        );
    }
    assert_eq!(names(&lab.path("labels")).len(), 8, "nothing else is left there");

    // A model's folder serves as well as a run, the last weights as well as the best.
    let model = first.folder.join("outputs/model").display().to_string();
    let shown = predict(&lab, &["--model", &model, "new/scan_0.nii.gz", "--out", "again"]);
    assert_eq!(shown.code, 0, "{}", shown.err);
    same(lab.path("labels/scan_0.nii.gz"), lab.path("again/scan_0.nii.gz"));
}

#[test]
fn a_damaged_image_is_told_and_the_others_are_segmented() {
    let lab = lab();
    lab.run(CUBES, &["--until", "model", "--threads", "1"], 0);
    fs::write(lab.path("new/scan_1.nii.gz"), "no image").expect("writes");
    let shown = predict(&lab, &["--model", "latest", "new", "--out", "labels"]);
    assert_eq!(shown.code, 1, "{}", shown.err);
    assert!(
        shown.err.contains("error: 1 case could not be done:\n  scan_1  image: "),
        "{}",
        shown.err
    );
    assert_eq!(names(&lab.path("labels")), ["scan_0.nii.gz", "scan_2.nii.gz"]);

    fs::remove_file(lab.path("new/scan_1.nii.gz")).expect("there");
    write_nifti(&lab.path("new/scan_1.nii.gz"), &[0.5; 20 * 18 * 16], 16);
    let shown = predict(&lab, &["--model", "latest", "new/scan_1.nii.gz", "--out", "new"]);
    assert_eq!(shown.code, 2, "an image is never overwritten: {}", shown.err);
    let shown = predict(&lab, &["--model", "latset", "new", "--out", "labels"]);
    assert!(shown.code == 2 && shown.err.contains("did you mean 'latest'"), "{}", shown.err);
}
