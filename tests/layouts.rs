//! The same cases in three layouts are the same volumes; broken cases are told together.

mod lab;

use lab::cubes::{CUBES, Dataset, SHAPE, write_nifti};
use lab::{Lab, Record};
use std::fs;
use std::path::Path;

fn until_volumes(source: &str) -> String {
    let after = CUBES.split_once("  split:").expect("the split").1;
    let volumes =
        after.lines().find(|line| line.contains("uses: preprocess")).expect("the volumes");
    format!("name: cubes\nstages:\n{source}\n{volumes}\n")
}

/// nnU-Net's layout: `imagesTr/case_0000.nii.gz`, labels by name.
fn as_nnunet(dataset: &Dataset, to: &Path) {
    for name in ["imagesTr", "labelsTr", "imagesTs"] {
        fs::create_dir_all(to.join(name)).expect("a folder");
    }
    for case in 0..dataset.labelled {
        fs::copy(dataset.image(case), to.join(format!("imagesTr/case_{case:02}_0000.nii.gz")))
            .expect("copy");
        fs::copy(dataset.label(case), to.join(format!("labelsTr/case_{case:02}.nii.gz")))
            .expect("copy");
    }
    let listing = serde_json::json!({
        "name": "Cubes", "channel_names": {"0": "MRI"}, "labels": {"background": 0, "cube": 1},
        "numTraining": dataset.labelled, "file_ending": ".nii.gz",
    });
    fs::write(to.join("dataset.json"), listing.to_string()).expect("dataset.json");
}

fn as_archive(dataset: &Dataset, to: &Path) {
    let mut tar = tar::Builder::new(fs::File::create(to).expect("an archive"));
    tar.append_dir_all("Task99_Cubes", &dataset.folder).expect("packing");
    tar.finish().expect("packing");
}

#[test]
fn an_archive_a_folder_and_nnunets_layout_give_the_same_volumes() {
    let lab = Lab::new();
    let dataset = Dataset::write(&lab.path("data"), 4, 0);
    as_nnunet(&dataset, &lab.path("nnunet"));
    as_archive(&dataset, &lab.path("cubes.tar"));
    let folder = until_volumes("  dataset: { uses: folder, with: { path: data } }");
    let nnunet = until_volumes("  dataset: { uses: folder, with: { path: nnunet } }");
    let archive = until_volumes(
        "  archive: { uses: download, with: { file: cubes.tar } }\n  dataset: { uses: unpack, needs: [archive] }",
    );
    assert_eq!(lab.run(&folder, &[], 0).items("volumes"), (4, 0));
    for other in [&nnunet, &archive] {
        let run = lab.run(other, &[], 0);
        let all_are_there =
            run.stage("volumes")["outcome"] == "reused" || run.items("volumes") == (0, 4);
        assert!(all_are_there, "{} {:?}", run.outcomes(), run.items("volumes"));
    }
}

#[test]
fn three_broken_cases_among_ten_are_told_together_and_can_be_excluded() {
    let lab = Lab::new();
    let dataset = Dataset::write(&lab.path("data"), 10, 0);
    fs::write(dataset.image(1), b"not an image").expect("breaking a file");
    let whole = fs::read(dataset.image(4)).expect("reading");
    fs::write(dataset.image(4), &whole[..whole.len() / 2]).expect("breaking a file");
    write_nifti(&dataset.label(7), &vec![9.0; SHAPE.iter().product()], 2);
    lab.write("cubes.yaml", &until_volumes("  dataset: { uses: folder, with: { path: data } }"));
    let shown = lab.voxflow(&["run", "cubes.yaml"]);
    assert_eq!(shown.code, 1, "{}", shown.err);
    for case in ["case_01", "case_04", "case_07"] {
        assert!(shown.err.contains(case), "{}", shown.err);
    }
    assert!(!shown.err.contains("case_02"), "{}", shown.err);
    let failed = lab.last_run();
    assert_eq!(failed.stage("volumes")["outcome"], "failed");
    assert_eq!(failed.items("volumes").0, 7, "the seven good cases were made");

    let excluding =
        "  dataset: { uses: folder, with: { path: data, exclude: [case_01, case_04, case_07] } }";
    assert_eq!(lab.run(&until_volumes(excluding), &[], 0).items("volumes"), (0, 7));
}

/// The labels that a data set's stage has in the last run: (value, name).
fn labels(lab: &Lab) -> Vec<(u64, String)> {
    let listing = fs::read_to_string(lab.last_run().folder.join("outputs/dataset/dataset.json"));
    let listing: serde_json::Value =
        serde_json::from_str(&listing.expect("a listing")).expect("JSON");
    let labels = listing["labels"].as_array().expect("labels").clone();
    let pair = |label: &serde_json::Value| {
        (label["value"].as_u64().expect("a value"), label["name"].as_str().expect("a name").into())
    };
    labels.iter().map(pair).collect()
}

const BY_PATTERNS: &str = "path: data, images: 'imagesTr/{case}.nii.gz', \
    labels: 'labelsTr/{case}.nii.gz', modality: [MRI]";

fn dataset_alone(with: &str) -> String {
    format!("name: cubes\nstages:\n  dataset: {{ uses: folder, with: {{ {with} }} }}\n")
}

#[test]
fn the_values_of_labels_have_names_in_a_workflow_and_on_the_command_line() {
    let lab = Lab::new();
    Dataset::write(&lab.path("data"), 2, 0);
    for names in ["{1: edema, 4: enhancing}", "{'4': enhancing, edema: 1}"] {
        lab.run(&dataset_alone(&format!("{BY_PATTERNS}, label_names: {names}")), &[], 0);
        assert_eq!(labels(&lab), [(1, "edema".into()), (4, "enhancing".into())]);
    }
    let plain = dataset_alone(&format!("{BY_PATTERNS}, label_names: [cube]"));
    lab.run(&plain, &["--set", "dataset.label_names={255: tumor}"], 0);
    assert_eq!(labels(&lab), [(255, "tumor".into())]);
}

#[test]
fn labels_that_cannot_be_are_found_by_check_with_their_line() {
    let lab = Lab::new();
    for (names, words) in [
        ("[a, a]", "label listed twice: a"),
        ("{1: a, 2: A}", "differ only in capitals or spaces"),
        ("{0: liver, 1: tumor}", "label 'liver': has value 0"),
        ("{300: a}", "above 255"),
        ("{1: a, 1: b}", "is given twice"),
    ] {
        lab.write("w.yaml", &dataset_alone(&format!("{BY_PATTERNS}, label_names: {names}")));
        let shown = lab.voxflow(&["check", "w.yaml"]);
        assert_eq!(shown.code, 2, "{names}");
        assert!(shown.err.contains(words) && shown.err.contains("w.yaml:3:"), "{}", shown.err);
    }
}

#[test]
fn a_missing_label_stops_before_any_work_and_if_allowed_plan_and_run_say_it() {
    let lab = Lab::new();
    let dataset = Dataset::write(&lab.path("data"), 4, 0);
    fs::remove_file(dataset.label(2)).expect("removing");
    lab.write("w.yaml", &dataset_alone(&format!("{BY_PATTERNS}, label_names: [cube]")));
    let shown = lab.voxflow(&["run", "w.yaml"]);
    assert_eq!(shown.code, 2, "{}", shown.err);
    assert!(shown.err.contains("1 of 4 cases have no label: case_02"), "{}", shown.err);
    let allowed = ["--set", "dataset.require_labels=false"];
    let plan = lab.voxflow(&[&["plan", "w.yaml"][..], &allowed].concat());
    assert!(plan.out.contains("dataset: 3 labelled, 1 without a label: case_02"), "{}", plan.out);
    let run = lab.voxflow(&[&["run", "w.yaml"][..], &allowed].concat());
    assert_eq!(run.code, 0, "{}", run.err);
    assert!(run.err.contains("1 of 4 cases have no label: case_02"), "{}", run.err);
}

#[test]
fn voxels_to_ignore_are_understood_and_regions_need_the_order_that_nnunet_asks_for() {
    let lab = Lab::new();
    let dataset = Dataset::write(&lab.path("data"), 3, 0);
    as_nnunet(&dataset, &lab.path("nnunet"));
    let listing = lab.path("nnunet/dataset.json");
    let text = fs::read_to_string(&listing).expect("a listing");
    let run = |labels: &str| {
        let changed = text.replace(r#"{"background":0,"cube":1}"#, labels);
        assert_ne!(changed, text);
        fs::write(&listing, changed).expect("a listing");
        let workflow = until_volumes("  dataset: { uses: folder, with: { path: nnunet } }");
        lab.write("w.yaml", &workflow);
        lab.voxflow(&["run", "w.yaml"])
    };
    let shown = run(r#"{"background":0,"whole":[1,2],"core":2}"#);
    assert!([1, 2].contains(&shown.code), "{}", shown.err);
    assert!(shown.err.contains("regions_class_order: must give the label"), "{}", shown.err);
    assert!(lab.runs().iter().all(|run| Record::of(run).made().is_empty()), "work was begun");
    let shown = run(r#"{"background":0,"cube":1,"ignore":2}"#);
    assert_eq!(shown.code, 0, "{}", shown.err);
    assert_eq!(lab.last_run().items("volumes"), (3, 0));
}

/// The advice is followed as it was given.
#[test]
fn the_way_out_for_a_case_that_cannot_be_read_leads_out() {
    let lab = Lab::new();
    let dataset = Dataset::write(&lab.path("data"), 4, 0);
    let mut voxels = vec![1.0; SHAPE.iter().product()];
    voxels[7] = f32::NAN;
    write_nifti(&dataset.image(2), &voxels, 16);
    lab.write("w.yaml", &until_volumes("  dataset: { uses: folder, with: { path: data } }"));
    let shown = lab.voxflow(&["run", "w.yaml"]);
    assert_eq!(shown.code, 1, "{}", shown.err);
    assert!(shown.err.contains("1 of 5760 voxels are NaN or infinite"), "{}", shown.err);
    assert!(shown.err.contains("'exclude: [case_02]' of stage 'dataset'"), "{}", shown.err);
    let shown = lab.voxflow(&["run", "w.yaml", "--set", "dataset.exclude=[case_02]"]);
    assert_eq!(shown.code, 0, "{}", shown.err);
    assert_eq!(lab.last_run().items("volumes"), (0, 3));
}

/// Label maps as FreeSurfer's aparc+aseg: many structures, values up to 2035.
#[test]
fn label_maps_of_many_and_large_values_are_used_by_naming_a_few_of_them() {
    let lab = Lab::new();
    let dataset = Dataset::write(&lab.path("data"), 7, 0);
    Dataset::write(&lab.path("plain"), 7, 0);
    for case in 0..7 {
        let mut plain = vec![0.0; SHAPE.iter().product()];
        let mut many = plain.clone();
        for (at, [small, large]) in
            [[0.0, 2.0], [1.0, 17.0], [1.0, 53.0], [2.0, 1035.0], [0.0, 2035.0]].iter().enumerate()
        {
            let range = 1500 + at * 400..1900 + at * 400 + case;
            plain[range.clone()].fill(*small);
            many[range].fill(*large);
        }
        write_nifti(&lab.path(&format!("plain/labelsTr/case_{case:02}.nii.gz")), &plain, 2);
        write_nifti(&dataset.label(case), &many, 16);
    }
    let names = "label_names: [hippocampus, insula]";
    let source = |with: &str| CUBES.replace("with: { path: data }", &format!("with: {{ {with} }}"));
    let refused = lab.write("w.yaml", &source(&format!("path: data, {names}")));
    let shown = lab.voxflow(&["run", refused.to_str().expect("a path"), "--until", "volumes"]);
    assert!(shown.code == 1 && shown.err.contains("'map_labels'"), "{}", shown.err);
    let plain = lab.run(&source(&format!("path: plain, {names}")), &["--threads", "1"], 0);
    let mapped = format!("path: data, {names}, map_labels: {{ 17: 1, 53: 1, 1035: 2 }}");
    let mapped = lab.run(&source(&mapped), &["--threads", "1"], 0);
    let read = |run: &Record, name: &str| fs::read(run.folder.join("outputs").join(name)).unwrap();
    for name in ["volumes/case_00/label.nii", "volumes/case_06/label.nii", "model/best.safetensors"]
    {
        assert!(read(&mapped, name) == read(&plain, name), "{name} differs");
    }
    // The test and a view of the dataset read the label files themselves.
    let scores = |run: &Record| {
        let metrics = run.metrics().into_iter();
        metrics.filter(|metric| metric[0] == "final").collect::<Vec<_>>()
    };
    assert!(!scores(&plain).is_empty());
    assert_eq!(scores(&mapped), scores(&plain));
    let shown = lab.voxflow(&["view", "latest/dataset/case_00"]);
    assert_eq!(shown.code, 0, "{}", shown.err);
}

#[test]
fn a_mapping_of_label_values_that_cannot_be_is_found_by_check_or_before_any_work() {
    let lab = Lab::new();
    Dataset::write(&lab.path("data"), 2, 0);
    for (mapping, code, words) in [
        ("{0: 1}", 2, "'0': must be a voxel value from 1 to 65535"),
        ("{65536: 1}", 2, "must be a voxel value from 1 to 65535"),
        ("{17: 0}", 2, "background already"),
        ("{17: 256}", 2, "w.yaml:3:"),
        ("{17: 3}", 2, "map_labels: {17: 3}: no label has the value 3"),
    ] {
        let with = format!("{BY_PATTERNS}, label_names: [cube], map_labels: {mapping}");
        lab.write("w.yaml", &dataset_alone(&with));
        let shown = lab.voxflow(&["run", "w.yaml"]);
        assert_eq!(shown.code, code, "{mapping}: {}", shown.err);
        assert!(shown.err.contains(words), "{mapping}: {}", shown.err);
    }
}
