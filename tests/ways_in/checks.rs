//! `voxflow check` and `voxflow params`: files that are not there, paths that lead nowhere, bad cases.

use super::lab::Lab;
use super::lab::cubes::{CUBES, SHAPE, write_nifti};
use super::lab::layouts::Holds::{Image, Label};
use super::lab::layouts::write;

#[test]
fn check_finds_files_that_are_not_there_and_what_stood_in_for_a_variable() {
    let mut lab = Lab::new();
    lab.write(
        "w.yaml",
        "name: w
stages:
  archive: { uses: download, with: { file: \"${DATA_ROOT:-no/data}/Task04.tar\" } }
  dataset: { uses: unpack, needs: [archive] }
  volumes: { uses: preprocess, needs: [dataset], with: { intensity: { zscore: all } } }
  other: { uses: folder, with: { path: ~/data } }
",
    );
    let shown = lab.voxflow(&["check", "w.yaml"]);
    assert_eq!(shown.code, 2, "{}", shown.err);
    for words in [
        "w.yaml:3:44: stage 'archive': key 'file': 'no/data/Task04.tar' is not there, nor is 'no'",
        "DATA_ROOT is not set, the default 'no/data' was used",
        "w.yaml:6:40: stage 'other': key 'path': '~/data' is not there; only shells expand '~': write ${HOME}",
    ] {
        assert!(shown.err.contains(words), "'{words}' in\n{}", shown.err);
    }
    for command in ["plan", "run"] {
        let shown = lab.voxflow(&[command, "w.yaml"]);
        let all = format!("{}{}", shown.out, shown.err);
        assert_eq!(shown.code, 2, "{all}");
        assert!(all.contains("DATA_ROOT is not set, the default 'no/data' was used"), "{all}");
        assert!(all.contains("2 stages after it cannot run: dataset, volumes"), "{all}");
        assert!(all.contains("write ${HOME} instead"), "{all}");
    }
    assert_eq!(lab.voxflow(&["check", "w.yaml", "--without-files"]).code, 0);
    lab.write("here/Task4.tar", "");
    lab.set("DATA_ROOT", "here");
    let shown = lab.voxflow(&["check", "w.yaml"]);
    assert!(
        shown.err.contains("it comes from the variable DATA_ROOT; did you mean 'here/Task4.tar'?"),
        "{}",
        shown.err
    );
    let shown = lab.voxflow(&["check", "w.yml"]);
    assert!(shown.err.contains("there is no such file; did you mean 'w.yaml'?"), "{}", shown.err);
}

#[test]
fn a_path_that_leads_nowhere_names_the_one_that_was_meant() {
    let lab = Lab::new();
    lab.write("cubes.yaml", CUBES);
    for set in
        ["epochs=3", "stages.model.epochs=3", "stages.model.with.epochs=3", "model.with.epochs=3"]
    {
        let shown = lab.voxflow(&["check", "cubes.yaml", "--without-files", "--set", set]);
        assert_eq!(shown.code, 2, "{}", shown.err);
        assert!(shown.err.contains("did you mean 'model.epochs'?"), "{set}: {}", shown.err);
    }
    let right = ["check", "cubes.yaml", "--without-files", "--set", "model.epochs=3"];
    assert_eq!(lab.voxflow(&right).code, 0);
    for flag in [&["--epochs", "3"][..], &["--epochs=3"]] {
        let shown = lab.voxflow(&[&["run", "cubes.yaml"], flag].concat());
        assert_eq!(shown.code, 2, "{}", shown.err);
        assert!(shown.err.contains("are set by '--set model.epochs=3'"), "{}", shown.err);
    }
    let shown = lab.voxflow(&["run", "cubes.yaml", "--forse", "model"]);
    assert!(shown.err.contains("'--force'") && !shown.err.contains("--set"), "{}", shown.err);
}

#[test]
fn the_parameters_of_a_workflow_are_listed_with_the_paths_that_set_takes() {
    let lab = Lab::new();
    lab.write("cubes.yaml", CUBES);
    let shown = lab.voxflow(&["params", "cubes.yaml", "model", "--set", "model.epochs=7"]);
    assert_eq!(shown.code, 0, "{}", shown.err);
    let line = shown.out.lines().find(|line| line.starts_with("model.epochs")).expect("a line");
    assert!(line.contains('7') && line.contains("workflow"), "{line}");
    assert!(!shown.out.contains("split.training"), "{}", shown.out);
    let json = lab.voxflow(&["params", "cubes.yaml", "--given", "--format", "json"]).out;
    let rows: Vec<serde_json::Value> = serde_json::from_str(&json).expect("JSON");
    // Each path with its value is a setting that changes nothing.
    for row in &rows {
        let (name, value) = (&row["parameter"], &row["value"]);
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_string);
        let set = format!("{}={value}", name.as_str().expect("a name"));
        let shown = lab.voxflow(&["check", "cubes.yaml", "--without-files", "--set", &set]);
        assert_eq!(shown.code, 0, "{set}: {}", shown.err);
    }
    assert!(rows.iter().any(|row| row["parameter"] == "volumes.spacing"), "{json}");
}

#[test]
fn check_reads_the_data_and_writes_the_line_that_leaves_bad_cases_out() {
    let lab = Lab::new();
    let files = [("p#/img.nii.gz", Image(0)), ("p#/seg.nii.gz", Label(&[1, 2]))];
    write(&lab, "data", &files);
    let shown = lab.voxflow(&["check", "--data", "data"]);
    assert_eq!(shown.code, 0, "{}", shown.err);
    for words in [
        "images: {case}/img.nii.gz",
        "voxels (R, A, S): 20 x 18 x 16 in all",
        "spacing (mm):     1 x 1 x 1 in all",
        "label 2 'label_2': in 6 of 6 cases",
        "6 cases can be used; 'voxflow new data' writes a workflow",
    ] {
        assert!(shown.err.contains(words), "'{words}' in {}", shown.err);
    }
    lab.voxflow(&["new", "data", "--out", "new.yaml"]);
    assert_eq!(lab.voxflow(&["check", "new.yaml", "--data"]).code, 0);
    // One image with a hole; three labels with a value that has no name.
    let mut voxels = vec![1.0; SHAPE.iter().product()];
    voxels[7] = f32::NAN;
    write_nifti(&lab.path("data/p41/img.nii.gz"), &voxels, 16);
    for case in ["07", "08", "11"] {
        let label = vec![9.0; SHAPE.iter().product()];
        write_nifti(&lab.path(&format!("data/p{case}/seg.nii.gz")), &label, 2);
    }
    let set = ["--set", "dataset.label_names={1: one, 2: two, 4: four}"];
    let shown = lab.voxflow(&[&["check", "new.yaml", "--data"], &set[..]].concat());
    assert_eq!(shown.code, 2, "{}", shown.err);
    for words in [
        "4 of 6 cases cannot be used:",
        "3 cases (p07, p08, p11)  label: ",
        "1 of 5760 voxels are NaN",
        "or leave these cases out, in stage 'dataset':\n  exclude: [p07, p08, p11, p41]",
    ] {
        assert!(shown.err.contains(words), "'{words}' in {}", shown.err);
    }
    // The run says the same, and the line helps.
    let run = [&["run", "new.yaml", "--until", "volumes"], &set[..]].concat();
    let failed = lab.voxflow(&run);
    assert!(
        failed.code == 1 && failed.err.contains("exclude: [p07, p08, p11, p41]"),
        "{}",
        failed.err
    );
    let way_out = ["--set", "dataset.exclude=[p07, p08, p11, p41]"];
    assert_eq!(lab.voxflow(&[&run[..], &way_out].concat()).code, 0);
    let wrong = lab.voxflow(&["check", "data"]);
    assert!(wrong.err.contains("'voxflow check --data data' reads"), "{}", wrong.err);
}
