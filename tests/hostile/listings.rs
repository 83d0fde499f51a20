//! `dataset.json` in every wrong form.

use crate::lab::cubes::{CUBES, Dataset};
use crate::lab::{Lab, tally};
use crate::refused;

const GOOD: &str = r#"{"name": "Toy", "modality": {"0": "MRI"}, "labels": {"0": "background", "1": "cube"},
 "training": [{"image": "./imagesTr/case_00.nii.gz", "label": "./labelsTr/case_00.nii.gz"}], "test": []}"#;

/// The good listing with one part replaced.
fn with(from: &str, to: &str) -> Vec<u8> {
    assert!(GOOD.contains(from), "'{from}' is not in the listing");
    GOOD.replace(from, to).into_bytes()
}

fn image(path: &str) -> Vec<u8> {
    with("./imagesTr/case_00.nii.gz", path)
}

#[test]
fn listings_that_are_wrong_are_refused_by_name() {
    let pair = &GOOD[GOOD.find("[{").unwrap() + 1..GOOD.find("]").unwrap()];
    let table: Vec<(&str, Vec<u8>, &[&str])> = vec![
        ("nothing", vec![], &["is no JSON"]),
        ("no JSON", b"name: Toy".to_vec(), &["is no JSON"]),
        ("a list", b"[]".to_vec(), &["no object with 'labels' and 'training'"]),
        ("a listing that breaks off", GOOD.as_bytes()[..90].to_vec(), &["is no JSON"]),
        ("bytes that are no text", vec![0xff; 300], &["is no JSON"]),
        ("brackets without end", "[".repeat(1 << 20).into_bytes(), &["is no JSON"]),
        ("objects without end", "{\"a\":".repeat(1 << 18).into_bytes(), &["is no JSON"]),
        ("no end", vec![b' '; 80 << 20], &["larger than"]),
        ("no training", with("\"training\"", "\"trainings\""), &["has no list 'training'"]),
        (
            "training that is no list",
            with(&format!("[{pair}]"), "7"),
            &["'training' must be a list"],
        ),
        (
            "no modality",
            with("\"modality\"", "\"channels\""),
            &["'modality' must name the image channels"],
        ),
        (
            "channels with gaps",
            with("{\"0\": \"MRI\"}", "{\"3\": \"MRI\"}"),
            &["'modality' must name"],
        ),
        ("no labels", with("\"labels\"", "\"classes\""), &["'labels' must name the labels"]),
        (
            "no label but background",
            with(", \"1\": \"cube\"", ""),
            &["no labels besides background"],
        ),
        (
            "a label above 255",
            with("\"1\": \"cube\"", "\"256\": \"cube\""),
            &["value 256 is above 255"],
        ),
        (
            "a huge label",
            with("\"1\": \"cube\"", "\"99999999999999999999\": \"cube\""),
            &["label 'cube'", "is above 255"],
        ),
        (
            "a region for a label",
            with("\"cube\"", "[1, 2]"),
            &["label '0'", "regions_class_order: must give the label"],
        ),
        (
            "one name for two labels",
            with("\"1\": \"cube\"", "\"1\": \"cube\", \"2\": \"cube\""),
            &["label listed twice: cube"],
        ),
        ("no cases", with(pair, ""), &["no cases"]),
        ("a case that is a number", with(pair, "7"), &["training[0]"]),
        (
            "a case without a label",
            with(", \"label\": \"./labelsTr/case_00.nii.gz\"", ""),
            &["case_00", "'label'"],
        ),
        ("a case twice", with(pair, &format!("{pair}, {pair}")), &["listed twice"]),
        ("a path that climbs out", image("./../../etc/passwd.nii.gz"), &["training[0]", "'..'"]),
        ("an absolute path", image("/etc/passwd.nii.gz"), &["training[0]", "absolute"]),
        (
            "a path with a zero byte",
            image("a\\u0000.nii.gz"),
            &["training[0]", "control character"],
        ),
        ("an empty path", image(""), &["training[0]"]),
        (
            "a file that is none of images",
            image("a.dcm"),
            &["training[0]", "DICOM is not supported"],
        ),
        (
            "a file that is not there",
            image("imagesTr/none.nii.gz"),
            &["1 listed file is not there: imagesTr/none.nii.gz"],
        ),
        (
            "a folder for a file",
            image("imagesTr/folder.nii.gz"),
            &["not there: imagesTr/folder.nii.gz"],
        ),
    ];
    for (what, listing, words) in &table {
        let lab = Lab::new();
        Dataset::write(&lab.path("data"), 1, 0);
        std::fs::create_dir(lab.path("data/imagesTr/folder.nii.gz")).unwrap();
        std::fs::write(lab.path("data/dataset.json"), listing).unwrap();
        let words: Vec<&str> = ["data"].iter().chain(*words).copied().collect();
        refused(&lab, what, CUBES.as_bytes(), &words);
    }
    tally::tell("bad inputs", table.len(), "listings");
}

#[test]
fn folders_that_hold_themselves_are_looked_through_once() {
    let lab = Lab::new();
    Dataset::write(&lab.path("data"), 3, 0);
    for name in ["one", "two"] {
        std::os::unix::fs::symlink(".", lab.path("data").join(name)).unwrap();
    }
    let patterns = "path: data, images: 'imagesTr/{case}.nii.gz', labels: 'labelsTr/{case}.nii.gz', modality: [MRI], label_names: [cube]";
    let workflow = format!("stages:\n  dataset: {{ uses: folder, with: {{ {patterns} }} }}\n");
    crate::harmless(&lab, "links that lead to themselves", workflow.as_bytes(), &[]);
}
