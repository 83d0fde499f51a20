//! Tables of cases: their channels, patients and folds, and the mistakes in them.

use super::lab::Lab;
use super::lab::layouts::Holds::{Image, Label};
use super::lab::layouts::{CASES, write};
use super::{ONE, Written};
use std::fs;

/// Folders in which no two names are alike, so that nothing but a table tells what belongs together.
fn scattered(head: &str, row: fn(usize, &str) -> String) -> Lab {
    let lab = Lab::new();
    write(&lab, "data", &[("x#/scan.nii", Image(0)), ("truth/t#.nii", Label(&[1, 2]))]);
    write(&lab, "data", &[("old/q#.nii", Image(1))]);
    let rows = CASES.iter().enumerate().map(|(at, case)| format!("{}\n", row(at, case)));
    lab.write("data/cases.csv", &format!("{head}\n{}", rows.collect::<String>()));
    lab
}

#[test]
fn a_manifest_lists_cases_with_their_patients_and_folds() {
    let lab = scattered("image,label,patient,fold,site", |at, case| {
        format!("x{case}/scan.nii,truth/t{case}.nii,P{},{},\"Bern, CH\"", at / 2, at / 2)
    });
    let written = Written::for_folder(lab)
        .has(&["path: \"data\"", "manifest: \"data/cases.csv\""])
        .has(&["modality: [\"MRI\"]", "label_names: [\"label_1\", \"label_2\"]"])
        .says("manifest: data/cases.csv (columns: image, label, patient, fold)")
        .says("not used: columns site")
        .says("not used: 6 files (in no row): old/q07.nii")
        .says("6 cases: 6 labelled")
        .runs(6);
    let lab = &written.lab;
    // Both cases of a patient are on one side.
    let split = |set: &[&str]| -> serde_json::Value {
        let flags: Vec<&str> = set.iter().flat_map(|set| ["--set", set]).collect();
        let run = lab.voxflow(&[&["run", "new.yaml", "--until", "split"], &flags[..]].concat());
        assert_eq!(run.code, 0, "{}", run.err);
        let file = lab.voxflow(&["path", "latest/split/split.json"]).out;
        serde_json::from_slice(&fs::read(file.trim_end()).expect("a split")).expect("JSON")
    };
    let own = split(&["split.testing=0", "split.folds=3", "split.fold=1"]);
    assert_eq!(own["validation"], serde_json::json!(["x11", "x12"]), "the table's fold");
    let wrong = lab.voxflow(&["run", "new.yaml", "--until", "split", "--set", "split.folds=2"]);
    assert!(wrong.err.contains("3 folds of its own (0, 1, 2)"), "{}", wrong.err);
    // The table is an input: another fold of a case draws the split anew.
    let table = fs::read_to_string(lab.path("data/cases.csv")).expect("a table");
    lab.write("data/cases.csv", &table.replace(",P1,1,", ",P1,0,").replace(",P0,0,", ",P0,1,"));
    let new = split(&["split.testing=0", "split.folds=3", "split.fold=1"]);
    assert_eq!(new["validation"], serde_json::json!(["x07", "x08"]));
}

#[test]
fn channels_are_columns_of_a_manifest_and_its_mistakes_have_lines() {
    let lab = Lab::new();
    write(&lab, "data", &[("a#.nii", Image(0)), ("b#.nii", Image(1)), ("c#.nii", ONE)]);
    let rows: Vec<String> = CASES
        .iter()
        .map(|case| format!("k{case}\ta{case}.nii\tb{case}.nii\tc{case}.nii"))
        .collect();
    let table = format!("case\timage_t1\timage_t2\tmask\n{}\n", rows.join("\n"));
    lab.write("data/list.tsv", &table);
    let shown = lab.voxflow(&["new", "data/list.tsv", "--out", "new.yaml"]);
    assert_eq!(shown.code, 0, "{}", shown.err);
    let text = fs::read_to_string(lab.path("new.yaml")).expect("a draft");
    assert!(text.contains("modality: [\"t1\", \"t2\"]"), "{text}");
    assert!(shown.err.contains("k41   {a41,b41}.nii"), "{}", shown.err);
    Written { lab, shown, text }.runs(6);

    let lab = Lab::new();
    write(&lab, "data", &[("a#.nii", Image(0)), ("c#.nii", ONE)]);
    lab.write("data/list.csv", "image,label\na07.nii,c07.nii\na99.nii,c08.nii\n");
    let shown = lab.voxflow(&["new", "data/list.csv"]);
    assert!(shown.code != 0 && shown.err.contains("not there: a99.nii"), "{}", shown.err);
    lab.write("data/list.csv", "image,label\na07.nii,c07.nii\n../a.nii,c08.nii\n");
    let shown = lab.voxflow(&["new", "data/list.csv"]);
    assert!(shown.err.contains("line 3: path '../a.nii': leaves"), "{}", shown.err);
    let with = "path: data, manifest: data/list.csv, images: x, label_names: [a], modality: [CT]";
    lab.write("w.yaml", &format!("stages:\n  data: {{ uses: folder, with: {{ {with} }} }}\n"));
    let shown = lab.voxflow(&["check", "w.yaml"]);
    assert!(shown.err.contains("key 'images': comes from the manifest"), "{}", shown.err);
}
