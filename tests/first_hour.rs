//! Mistakes of a first hour, and whether what the program says leads on.

mod lab;

use lab::cubes::{CUBES, Dataset};
use lab::{Lab, Record, TINY};
use std::fs;

/// What the program says of a command line that it refuses.
fn refused(lab: &Lab, arguments: &[&str]) -> String {
    let shown = lab.voxflow(arguments);
    assert_eq!((shown.code, shown.out.as_str()), (2, ""), "{arguments:?}: {}", shown.err);
    shown.err
}

#[test]
fn a_run_named_by_its_file_or_viewed_without_a_case_is_told_the_name_that_is_meant() {
    let lab = Lab::new();
    lab.write("w.yaml", TINY);
    lab.run(TINY, &[], 0);
    for command in ["show", "report", "compare"] {
        let told = refused(&lab, &[command, "w.yaml"]);
        assert!(told.contains("it is a file; a run is named by its id, 'latest', or"), "{told}");
    }
    for name in ["latest", "tiny"] {
        let told = refused(&lab, &["view", name]);
        let wanted = format!("name a stage and a case of it, as '{name}/cache/phantom_01'");
        assert!(told.contains(&wanted), "{told}");
    }
}

#[test]
fn a_table_of_cases_without_a_head_or_with_a_missing_file_is_told_so() {
    let lab = Lab::new();
    let data = Dataset::write(&lab.path("data"), 6, 0);
    let row = |case: usize| {
        let [image, label] = [data.image(case), data.label(case)];
        let name = |path: &std::path::Path| {
            path.strip_prefix(lab.path("data")).expect("below").display().to_string()
        };
        format!("{},{}", name(&image), name(&label))
    };
    let rows: Vec<String> = (0..6).map(row).collect();
    lab.write("data/bare.csv", &rows.join("\n"));
    let shown = lab.voxflow(&["new", "data/bare.csv", "--out", "w.yaml"]);
    assert_eq!(shown.code, 1, "{}", shown.err);
    let wanted = "its first line must name the columns, as 'image,label,patient'";
    assert!(shown.err.contains(wanted), "{}", shown.err);
    let lacking =
        format!("image,label\n{}\nimagesTr/none.nii.gz,{}\n", rows[0], "labelsTr/none.nii.gz");
    lab.write("data/lacking.csv", &lacking.replace(",labelsTr/none.nii.gz", ","));
    let shown = lab.voxflow(&["new", "data/lacking.csv", "--out", "w.yaml"]);
    assert_ne!(shown.code, 0, "{}", shown.err);
    let wanted = "1 listed file is not there: imagesTr/none.nii.gz";
    assert!(shown.err.contains(wanted), "{}", shown.err);
}

#[test]
fn runs_that_another_ones_failure_leaves_out_are_not_called_done() {
    let lab = Lab::new();
    Dataset::write(&lab.path("data"), 6, 0);
    let counts = "training: 4, validation: 1, testing: 2, order: listed";
    lab.write("workflow.yaml", &CUBES.replace(counts, "training: 4, testing: 2, order: listed"));
    let shown = lab.voxflow(&["sweep", "workflow.yaml", "--folds", "9", "--threads", "1"]);
    assert_eq!(shown.code, 1, "{}", shown.err);
    assert!(shown.err.contains("9 folds of 4 cases"), "{}", shown.err);
    let outcomes: Vec<String> = lab
        .runs()
        .iter()
        .map(|run| Record::of(run).value["outcome"].as_str().unwrap_or_default().to_string())
        .collect();
    assert!(outcomes.iter().any(|word| word == "failed"), "{outcomes:?}");
    assert!(outcomes.iter().all(|word| word == "failed" || word == "interrupted"), "{outcomes:?}");
    assert!(!shown.err.contains("] done in"), "{}", shown.err);
}

#[test]
fn more_cases_than_there_are_is_told_without_a_sum_of_one() {
    let lab = Lab::new();
    let asked = TINY.replace("training: 3, validation: 1, testing: 2", "training: 20");
    let run = lab.run(&asked, &[], 1);
    let error = run.stage("split")["error"].as_str().unwrap_or_default().to_string();
    assert!(error.contains("20 cases asked for, but dataset") && !error.contains('='), "{error}");
}

#[test]
fn the_folder_of_one_case_and_a_folder_of_several_datasets_are_told_apart_from_a_dataset() {
    let lab = Lab::new();
    let data = Dataset::write(&lab.path("source"), 6, 0);
    fs::create_dir_all(lab.path("data/one")).expect("a folder");
    for case in 0..6 {
        let two = lab.path(&format!("data/two/q{case}"));
        fs::create_dir_all(&two).expect("a folder");
        for (from, in_pairs, in_folders) in
            [(data.image(case), "", "t1"), (data.label(case), "_seg", "mask")]
        {
            fs::copy(&from, lab.path(&format!("data/one/p{case}{in_pairs}.nii.gz")))
                .expect("copies");
            fs::copy(&from, two.join(format!("{in_folders}.nii.gz"))).expect("copies");
        }
    }
    let told = refused(&lab, &["new", "data/two/q3", "--out", "w.yaml"]);
    assert!(told.contains("name the one above: 'voxflow new data/two'"), "{told}");
    let shown = lab.voxflow(&["new", "data", "--out", "all.yaml"]);
    assert_eq!(shown.code, 0, "{}", shown.err);
    assert!(shown.err.contains("if 'data' holds several datasets"), "{}", shown.err);
    let shown = lab.voxflow(&["new", "data/one", "--out", "one.yaml"]);
    assert_eq!(shown.code, 0, "{}", shown.err);
    assert!(!shown.err.contains("several datasets"), "{}", shown.err);
}
