//! Predictions of other programs are scored by the kind `evaluate` and stand beside our own.

mod lab;

use lab::cubes::{CUBES, Dataset, SHAPE, write_nifti};
use lab::{Lab, Record};
use serde_json::Value;
use std::fs;

const SCORED: &str = "name: foreign
stages:
  dataset: { uses: folder, with: { path: data } }
  split: { uses: split, needs: [dataset], with: { training: 4, validation: 1, testing: 2, order: listed } }
  theirs: { uses: evaluate, needs: [dataset, split], with: { path: theirs } }
";

fn lab() -> Lab {
    let lab = Lab::new();
    Dataset::write(&lab.path("data"), 7, 0);
    lab
}

/// The metrics of a stage.
fn metrics(run: &Record, stage: &str) -> Vec<Value> {
    let rows = run.metrics().into_iter().filter(|row| row[0] == stage);
    rows.map(|row| row[1].clone()).collect()
}

/// The same in a fixed order, as text.
fn values(run: &Record, stage: &str) -> Vec<String> {
    let mut rows: Vec<String> = metrics(run, stage).iter().map(Value::to_string).collect();
    rows.sort();
    rows
}

/// A prediction with one box of voxels.
fn predict(lab: &Lab, file: &str, value: f32) {
    fs::create_dir_all(lab.path("theirs")).unwrap();
    let inside = |at: usize| (400..2000).contains(&at);
    let voxels: usize = SHAPE.iter().product();
    let data: Vec<f32> = (0..voxels).map(|at| if inside(at) { value } else { 0.0 }).collect();
    write_nifti(&lab.path("theirs").join(file), &data, 2);
}

fn refused(lab: &Lab, workflow: &str, code: i32, words: &[&str]) {
    lab.write("workflow.yaml", workflow);
    let shown = lab.voxflow(&["run", "workflow.yaml"]);
    assert_eq!(shown.code, code, "{}", shown.err);
    for words in words {
        assert!(shown.err.contains(words), "{words}: {}", shown.err);
    }
}

#[test]
fn predictions_in_a_folder_get_the_scores_that_test_gave_them_and_stand_in_compare() {
    let lab = lab();
    let ours = lab.run(CUBES, &["--threads", "1", "--device", "cpu"], 0);
    fs::create_dir(lab.path("theirs")).unwrap();
    for entry in fs::read_dir(ours.folder.join("outputs/final/predictions")).unwrap().flatten() {
        fs::copy(entry.path(), lab.path("theirs").join(entry.file_name())).unwrap();
    }
    // The same id, so that both are one row of tables.
    let theirs = lab.run(&SCORED.replace("theirs:", "final:"), &[], 0);
    let (wanted, found) = (values(&ours, "final"), values(&theirs, "final"));
    assert!(wanted.len() > 20, "{wanted:?}");
    assert_eq!(found, wanted);
    let shown = lab.voxflow(&["compare"]);
    let dice = metrics(&theirs, "final").into_iter().find_map(|row| {
        let is_mean = row["metric"] == "dice" && row["label"].is_null() && row["case"].is_null();
        row["value"].as_f64().filter(|_| is_mean)
    });
    let dice = format!("{:.4}", dice.unwrap());
    let is_beside = |line: &str| line.starts_with("final") && line.matches(&dice).count() == 2;
    assert!(shown.out.lines().any(is_beside), "{dice}: {}", shown.out);
}

#[test]
fn a_changed_prediction_remakes_the_scores_alone_and_the_same_ones_elsewhere_are_known() {
    let lab = lab();
    ["case_05.nii.gz", "case_06.nii.gz"].iter().for_each(|file| predict(&lab, file, 1.0));
    lab.run(SCORED, &[], 0);
    fs::rename(lab.path("theirs"), lab.path("moved")).unwrap();
    let moved = lab.run(&SCORED.replace("path: theirs", "path: moved"), &[], 0);
    assert_eq!(moved.made(), Vec::<&str>::new());
    fs::rename(lab.path("moved"), lab.path("theirs")).unwrap();
    Dataset::write(&lab.path("other"), 7, 0);
    fs::copy(lab.path("other/labelsTr/case_06.nii.gz"), lab.path("theirs/case_06.nii.gz")).unwrap();
    assert_eq!(lab.run(SCORED, &[], 0).made(), ["theirs"]);
}

#[test]
fn predictions_that_do_not_fit_are_refused_with_the_way_out() {
    let lab = lab();
    predict(&lab, "case_05.nii.gz", 1.0);
    let missing = ["no prediction of case_06", "there are case_05.nii.gz", "'files' says"];
    refused(&lab, SCORED, 1, &missing);
    refused(&lab, &SCORED.replace("[dataset, split]", "[dataset]"), 1, &["'cases: all'"]);
    predict(&lab, "case_06.nii.gz", 3.0);
    refused(&lab, SCORED, 1, &["case_06.nii.gz", "3"]);
    let named = SCORED.replace("path: theirs", "path: theirs, files: '{case}_pred.nii.gz'");
    // Known before anything is made.
    refused(&lab, &named, 2, &["no file is named as 'files: {case}_pred.nii.gz' says"]);
    fs::remove_file(lab.path("theirs/case_06.nii.gz")).unwrap();
    fs::write(lab.path("theirs/case_06.nii.gz"), "no image").unwrap();
    refused(&lab, SCORED, 1, &["case_06.nii.gz"]);
}

#[test]
fn other_numbers_other_names_and_all_cases_are_understood() {
    let lab = lab();
    ["sub_case_02_x.nii.gz", "sub_case_06_x.nii.gz", "sub_nobody_x.nii.gz"]
        .iter()
        .for_each(|file| predict(&lab, file, 7.0));
    let text = SCORED.replace(
        "path: theirs",
        "path: theirs, files: 'sub_{case}_x.nii.gz', map_labels: {7: 1}, cases: all",
    );
    let run = lab.run(&text, &[], 0);
    let rows = metrics(&run, "theirs");
    let mut cases: Vec<&str> = rows.iter().filter_map(|row| row["case"].as_str()).collect();
    cases.sort_unstable();
    cases.dedup();
    assert_eq!(cases, ["case_02", "case_06"]);
    assert!(rows.iter().all(|row| row["case"].is_string() || row["split"] == "all"));
    let told = run.events().iter().map(Value::to_string).collect::<String>();
    assert!(told.contains("predictions of no case of 'Cubes': nobody"), "{told}");
    assert!(told.contains("cases without a prediction, left out: case_00"), "{told}");
}
