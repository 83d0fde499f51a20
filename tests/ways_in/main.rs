//! `voxflow new` on the layouts that people have: what it writes is checked, planned and run, and
//! it says how it read the folder. Checks of data and tables of cases are in files of their own.

mod checks;
#[path = "../lab/mod.rs"]
mod lab;
mod manifests;

use lab::layouts::Holds::{Channels, Ct, Image, Label, Shares};
use lab::layouts::{CASES, Holds, write};
use lab::{Lab, Shown};
use std::fs;
use std::process::Command;

const ONE: Holds = Label(&[1]);

/// A workflow that `new` wrote for a folder.
struct Written {
    lab: Lab,
    shown: Shown,
    text: String,
}

impl Written {
    fn of(files: &[(&str, Holds)]) -> Written {
        let lab = Lab::new();
        write(&lab, "data", files);
        Written::for_folder(lab)
    }

    fn for_folder(lab: Lab) -> Written {
        let shown = lab.voxflow(&["new", "data", "--out", "new.yaml"]);
        assert_eq!(shown.code, 0, "{}", shown.err);
        let text = fs::read_to_string(lab.path("new.yaml")).expect("a draft");
        Written { lab, shown, text }
    }

    /// The workflow has these lines.
    fn has(self, lines: &[&str]) -> Written {
        for line in lines {
            assert!(self.text.contains(line), "'{line}' in\n{}\n{}", self.text, self.shown.err);
        }
        self
    }

    fn says(self, words: &str) -> Written {
        assert!(self.shown.err.contains(words), "'{words}' in\n{}", self.shown.err);
        self
    }

    /// It is checked, planned, and run up to the training; the volumes are of so many cases.
    fn runs(self, cases: u64) -> Written {
        for command in ["check", "plan"] {
            let shown = self.lab.voxflow(&[command, "new.yaml"]);
            assert_eq!(shown.code, 0, "{}\n{}", shown.err, self.text);
        }
        let shown = self.lab.voxflow(&["run", "new.yaml", "--until", "cache"]);
        assert_eq!(shown.code, 0, "{}\n{}", shown.err, self.text);
        assert_eq!(self.lab.last_run().items("volumes"), (cases, 0));
        self
    }
}

/// What `new` says of a folder that it cannot read.
fn refused(files: &[(&str, Holds)]) -> String {
    let lab = Lab::new();
    write(&lab, "data", files);
    let shown = lab.voxflow(&["new", "data"]);
    assert_eq!((shown.code, shown.out.as_str()), (2, ""), "{}", shown.err);
    shown.err
}

#[test]
fn one_folder_a_case_is_six_patients_and_no_segmentation_is_an_image() {
    Written::of(&[
        ("case_000#/imaging.nii.gz", Ct),
        ("case_000#/segmentation.nii.gz", Label(&[1, 2])),
    ])
    .has(&["images: \"{case}/imaging.nii.gz\"", "labels: \"{case}/segmentation.nii.gz\""])
    .has(&["modality: [\"CT\"]", "intensity: { window: ["])
    .says("6 cases: 6 labelled")
    .says("case_00007  case_00007/imaging.nii.gz  case_00007/segmentation.nii.gz")
    .runs(6);
}

#[test]
fn four_files_a_case_are_its_channels_and_the_label_values_are_those_found() {
    Written::of(&[
        ("B_#/B_#_flair.nii", Image(0)),
        ("B_#/B_#_t1.nii", Image(1)),
        ("B_#/B_#_t1ce.nii", Image(2)),
        ("B_#/B_#_t2.nii", Image(3)),
        ("B_#/B_#_seg.nii", Label(&[1, 2, 4])),
    ])
    .has(&["\"{case}/{case}_flair.nii\", \"{case}/{case}_t1.nii\", \"{case}/{case}_t1ce.nii\""])
    .has(&["modality: [\"flair\", \"t1\", \"t1ce\", \"t2\"]"])
    .has(&["label_names: { 1: \"label_1\", 2: \"label_2\", 4: \"label_4\" }"])
    .runs(6);
}

#[test]
fn frames_of_patients_are_cases_and_stay_on_one_side_of_the_split() {
    Written::of(&[
        ("p#/p#_4d.nii.gz", Channels(3)),
        ("p#/p#_frame01.nii.gz", Image(0)),
        ("p#/p#_frame01_gt.nii.gz", Label(&[1, 2, 3])),
        ("p#/p#_frame1#.nii.gz", Image(1)),
        ("p#/p#_frame1#_gt.nii.gz", Label(&[1, 2, 3])),
    ])
    .has(&["images: \"p*/{case}.nii.gz\"", "labels: \"p*/{case}_gt.nii.gz\""])
    .has(&["exclude: [\"*_4d\"]", "group: \"{group}_*\""])
    .says("12 cases: 12 labelled")
    .says("not used: 6 files (derived from a case's image, or of another kind): p07/p07_4d.nii.gz")
    .runs(12);
}

#[test]
fn files_side_by_side_are_pairs_by_a_word_before_or_after_the_name() {
    for (label, pattern) in [
        ("a#_seg.nii.gz", "{case}_seg.nii.gz"),
        ("a#-mask.nii.gz", "{case}-mask.nii.gz"),
        ("label_a#.nii.gz", "label_{case}.nii.gz"),
        ("a#_ROI.nii.gz", "{case}_ROI.nii.gz"),
    ] {
        Written::of(&[("a#.nii.gz", Image(0)), (label, Label(&[255]))])
            .has(&["images: \"{case}.nii.gz\"", &format!("labels: \"{pattern}\"")])
            .has(&["label_names: { 255: \"label_255\" }"])
            .runs(6);
    }
}

#[test]
fn one_file_a_channel_without_a_listing() {
    Written::of(&[
        ("imagesTr/p#_0000.nii.gz", Image(0)),
        ("imagesTr/p#_0001.nii.gz", Image(1)),
        ("labelsTr/p#.nii.gz", ONE),
    ])
    .has(&["images: [\"imagesTr/{case}_0000.nii.gz\", \"imagesTr/{case}_0001.nii.gz\"]"])
    .has(&["modality: [\"channel_0\", \"channel_1\"]"])
    .runs(6);
    Written::of(&[("p#_t1.nii", Image(0)), ("p#_t2.nii", Image(1)), ("p#_gt.nii", ONE)])
        .has(&["images: [\"{case}_t1.nii\", \"{case}_t2.nii\"]", "modality: [\"t1\", \"t2\"]"])
        .runs(6);
}

#[test]
fn channels_in_one_file_are_seen_in_the_header_and_the_whole_experiment_runs() {
    let written = Written::of(&[("images/c#.nii", Channels(2)), ("labels/c#.nii", ONE)])
        .has(&["images: \"images/{case}.nii\"", "modality: [\"channel_0\", \"channel_1\"]"]);
    let shown = written.lab.voxflow(&[
        "run",
        "new.yaml",
        "--set",
        "model.epochs=1",
        "--set",
        "model.network.channels=[4,8]",
        "--set",
        "model.network.strides=[2]",
    ]);
    assert_eq!(shown.code, 0, "{}", shown.err);
}

#[test]
fn endings_may_be_mixed_and_in_capitals() {
    let lab = Lab::new();
    write(&lab, "data", &[("images/c#.nii", Image(0)), ("labels/c#.NII.GZ", ONE)]);
    fs::rename(lab.path("data/images/c07.nii"), lab.path("data/images/c07.nii.gz")).expect("moves");
    Written::for_folder(lab)
        .has(&["images: \"images/{case}.nii*\"", "labels: \"labels/{case}.NII.GZ\""])
        .runs(6);
}

#[test]
fn folders_of_many_names_and_depths_are_read() {
    for (image, label, images, labels) in [
        ("CT/p#.nii", "SEG/p#.nii", "CT/{case}.nii", "SEG/{case}.nii"),
        ("img/img#.nii", "label/label#.nii", "img/img{case}.nii", "label/label{case}.nii"),
        ("volume-#.nii", "segmentation-#.nii", "volume-{case}.nii", "segmentation-{case}.nii"),
        ("x/p#/scan/ct.nii", "x/p#/mask/ct.nii", "x/{case}/scan/ct.nii", "x/{case}/mask/ct.nii"),
    ] {
        let lines = [format!("images: \"{images}\""), format!("labels: \"{labels}\"")];
        let written = Written::of(&[(image, Image(0)), (label, ONE)]);
        written.has(&[&lines[0], &lines[1]]).runs(6);
    }
    Written::of(&[
        ("train/images/a#.nii", Image(0)),
        ("train/labels/a#.nii", ONE),
        ("val/images/b#.nii", Image(1)),
        ("val/labels/b#.nii", ONE),
    ])
    .has(&["images: \"*/images/{case}.nii\"", "labels: \"*/labels/{case}.nii\""])
    .runs(12);
}

#[test]
fn bids_is_read_with_labels_among_the_derivatives_or_beside() {
    Written::of(&[
        ("sub-#/ses-01/anat/sub-#_ses-01_T1w.nii.gz", Image(0)),
        ("derivatives/manual/sub-#/ses-01/anat/sub-#_ses-01_dseg.nii.gz", ONE),
    ])
    .has(&["images: \"{case}/ses-01/anat/{case}_ses-01_T1w.nii.gz\""])
    .has(&["labels: \"derivatives/manual/{case}/ses-01/anat/{case}_ses-01_dseg.nii.gz\""])
    .runs(6);
    Written::of(&[
        ("sub-#/anat/sub-#_FLAIR.nii.gz", Image(0)),
        ("sub-#/anat/sub-#_T1w.nii.gz", Image(1)),
        ("sub-#/anat/sub-#_desc-lesion_mask.nii.gz", ONE),
        ("sub-#/func/sub-#_task-rest_bold.nii.gz", Channels(4)),
    ])
    .has(&["modality: [\"FLAIR\", \"T1w\"]", "labels: \"{case}/anat/{case}_desc-lesion_mask.nii"])
    .says(
        "not used: 6 files (several channels in a file): sub-07/func/sub-07_task-rest_bold.nii.gz",
    )
    .runs(6);
}

#[test]
fn several_visits_of_a_patient_are_cases_of_one_group() {
    Written::of(&[
        ("p#/v1/ct.nii.gz", Image(0)),
        ("p#/v1/seg.nii.gz", ONE),
        ("p#/v2/ct.nii.gz", Image(1)),
        ("p#/v2/seg.nii.gz", ONE),
    ])
    .has(&["images: \"{case}/{part}/ct.nii.gz\"", "labels: \"{case}/{part}/seg.nii.gz\""])
    .has(&["group: \"{group}_*\""])
    .says("p07_v1")
    .runs(12);
}

#[test]
fn voxels_decide_where_names_say_nothing_or_not_the_truth() {
    Written::of(&[("p#/a.nii", Image(0)), ("p#/b.nii", Label(&[1, 2]))])
        .has(&["images: \"{case}/a.nii\"", "labels: \"{case}/b.nii\""])
        .runs(6);
    Written::of(&[("A/p#.nii", Label(&[3])), ("B/p#.nii", Image(0))])
        .has(&["images: \"B/{case}.nii\"", "labels: \"A/{case}.nii\""])
        .runs(6);
    Written::of(&[("p#/img.nii", Image(0)), ("p#/seg.nii", Shares), ("p#/drawn.nii", ONE)])
        .has(&["images: \"{case}/img.nii\"", "labels: \"{case}/drawn.nii\""])
        .runs(6);
    Written::of(&[("p#/img.nii", Image(0)), ("p#/liver.nii", ONE), ("p#/seg.nii", Label(&[1, 2]))])
        .has(&["images: \"{case}/img.nii\"", "labels: \"{case}/seg.nii\""])
        .says("not used: 6 files (hold few whole values, as labels do): p07/liver.nii")
        .runs(6);
}

#[test]
fn cases_that_lack_a_file_are_named_and_left_out_or_unlabelled() {
    let files = [("p#/t1.nii", Image(0)), ("p#/t2.nii", Image(1)), ("p#/seg.nii", ONE)];
    let lab = Lab::new();
    write(&lab, "data", &files);
    fs::remove_file(lab.path("data/p08/t2.nii")).expect("there");
    fs::remove_file(lab.path("data/p41/seg.nii")).expect("there");
    Written::for_folder(lab)
        .has(&["modality: [\"t1\", \"t2\"]", "exclude: [\"p08\"]", "require_labels: false"])
        .says("not used: 2 files (of cases that lack a file): p08/seg.nii, p08/t1.nii")
        .says("5 cases: 4 labelled, 1 without a label: p41")
        .runs(5);
    let lab = Lab::new();
    write(&lab, "data", &[("images/c#.nii", Image(0)), ("labels/c#.nii", ONE)]);
    fs::remove_file(lab.path("data/images/c11.nii")).expect("there");
    Written::for_folder(lab)
        .has(&["exclude: [\"c11\"]"])
        .says("not used: 1 file (of cases that lack a file): labels/c11.nii")
        .runs(5);
}

#[test]
fn folders_beside_the_labelled_images_are_cases_to_predict() {
    Written::of(&[
        ("imagesTr/a#.nii.gz", Ct),
        ("labelsTr/a#.nii.gz", ONE),
        ("imagesVa/b#.nii.gz", Image(0)),
        ("labelsVa/b#.nii.gz", ONE),
        ("imagesTs/c#.nii.gz", Image(1)),
    ])
    .has(&["images: \"images*/{case}.nii.gz\"", "labels: \"labels*/{case}.nii.gz\""])
    .has(&["require_labels: false", "predictions: { uses: predict"])
    .says("18 cases: 12 labelled, 6 without a label")
    .runs(18);
    Written::of(&[
        ("siteA/p#/img.nii", Image(0)),
        ("siteA/p#/seg.nii", ONE),
        ("siteB/p#/img.nii", Image(1)),
        ("siteB/p#/seg.nii", ONE),
    ])
    .has(&["images: \"{case}/{part}/img.nii\"", "testing: 2, order: hash }"])
    .runs(12);
}

#[test]
fn what_cannot_be_read_says_what_was_looked_for_what_is_there_and_what_to_write() {
    let words = refused(&[("images/c#.nii", Image(0))]);
    for part in [
        "found no images with labels",
        "looked for: images and labels in two folders",
        "saw 6 image files: 'images/c07.nii', 'images/c12.nii', 'images/c41.nii'",
        "images: \"images/{case}.nii\"",
        "labels: \"images/{case}_LABEL.nii\"",
        "labels: \"LABELS/{case}.nii\"",
        "'voxflow new cases.csv'",
    ] {
        assert!(words.contains(part), "'{part}' in\n{words}");
    }
    let words = refused(&[("s#/ct.nii", Ct), ("s#/seg/a.nii", ONE), ("s#/seg/b.nii", ONE)]);
    assert!(words.contains("each case has 2 label files, and one is read"), "{words}");
    // The advice is a stage that works.
    let lab = Lab::new();
    write(&lab, "data", &[("s#/ct.nii", Ct), ("s#/seg/a.nii", ONE), ("s#/seg/b.nii", ONE)]);
    let line = words.lines().find(|line| line.contains("seg/a.nii")).expect("an advice");
    let stage = line.trim().replace("[NAME]", "[liver]");
    lab.run(&format!("name: x\nstages:\n  {stage}\n"), &[], 0);
}

#[test]
fn formats_that_are_not_read_are_named_with_a_way_to_convert_them() {
    let lab = Lab::new();
    lab.write("data/p1/scan.nrrd", "NRRD0004");
    lab.write("data/p2/scan.nrrd", "NRRD0004");
    let shown = lab.voxflow(&["new", "data"]);
    assert_eq!(shown.code, 2);
    assert!(
        shown.err.contains("2 files ('p1/scan.nrrd'): NRRD is not supported; convert it to NIfTI"),
        "{}",
        shown.err
    );
}

#[test]
fn a_tasks_archive_is_read_where_it_lies() {
    let lab = Lab::new();
    lab.write("Task09_Spleen.tar", "stands in for the archive");
    let shown = lab.voxflow(&["new", "Task09_Spleen.tar"]);
    assert_eq!((shown.code, shown.out.as_str()), (0, "spleen.yaml\n"), "{}", shown.err);
    let text = fs::read_to_string(lab.path("spleen.yaml")).expect("a draft");
    assert!(text.contains("file: \"Task09_Spleen.tar\""), "{text}");
    assert_eq!(lab.voxflow(&["check", "spleen.yaml"]).code, 0);
    assert_eq!(CASES.len(), 6);
}

#[test]
fn an_archive_with_a_listing_is_read_in_part_and_runs() {
    let lab = Lab::new();
    lab::cubes::Dataset::write(&lab.path("some/Mine"), 12, 1);
    for (name, flags) in [("mine.tar", "-cf"), ("mine.tar.gz", "-czf")] {
        let tar = Command::new("tar")
            .args([flags, lab.path(name).to_str().expect("a path"), "-C"])
            .args([lab.path("some").to_str().expect("a path"), "Mine"])
            .status();
        assert!(tar.expect("tar").success());
        let out = format!("{name}.yaml");
        let shown = lab.voxflow(&["new", name, "--out", &out]);
        assert_eq!(shown.code, 0, "{}", shown.err);
        assert!(shown.err.contains("12 labelled cases (label values of the first 10), 1 without"));
        let text = fs::read_to_string(lab.path(&out)).expect("a draft");
        for line in [&format!("file: \"{name}\""), "uses: unpack", "name: mine\n", "MRI; cube."] {
            assert!(text.contains(line), "'{line}' in {text}");
        }
        let run = lab.voxflow(&["run", &out, "--until", "cache"]);
        assert_eq!(run.code, 0, "{}", run.err);
    }
    lab.write("plain/a.txt", "no dataset");
    let tar = Command::new("tar")
        .args(["-cf", lab.path("plain.tar").to_str().expect("a path"), "-C"])
        .args([lab.path("plain").to_str().expect("a path"), "a.txt"])
        .status();
    assert!(tar.expect("tar").success());
    let shown = lab.voxflow(&["new", "plain.tar"]);
    assert!(shown.code == 2 && shown.err.contains("without a dataset.json"), "{}", shown.err);
}

#[test]
fn few_cases_are_written_in_folds_with_what_the_numbers_are_good_for() {
    let few = Written::of(&[("images/c#.nii", Image(0)), ("labels/c#.nii", ONE)])
        .has(&["with: { folds: 5, fold: 0, testing: 1, order: hash }"])
        .has(&["# 6 labelled cases are few", "voxflow sweep new.yaml --folds 5"])
        .says("6 labelled cases are few: the validation of one fold (1 case) chooses the weights")
        .runs(6);
    let shown = few.lab.voxflow(&["plan", "new.yaml", "--folds", "5"]);
    assert_eq!(shown.code, 0, "{}", shown.err);
    // Thirty and more make a split of their own again.
    let lab = Lab::new();
    lab::cubes::Dataset::write(&lab.path("data"), 30, 0);
    Written::for_folder(lab).has(&["training: rest, validation: 4, testing: 6, order: hash"]);
}

#[test]
fn what_new_writes_names_a_schema_that_editors_find() {
    let written = Written::of(&[("images/c#.nii", Image(0)), ("labels/c#.nii", ONE)]);
    let line = written.text.lines().next().expect("a line");
    assert_eq!(line, "# yaml-language-server: $schema=.voxflow/workflow.schema.json");
    let schema = fs::read(written.lab.path(".voxflow/workflow.schema.json")).expect("a schema");
    let schema: serde_json::Value = serde_json::from_slice(&schema).expect("JSON");
    assert!(schema["properties"]["stages"].is_object());
}
