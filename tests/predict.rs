//! Segmenting images: by the stage `predict`, whose images are remembered one by one, and by the
//! command `voxflow predict`, which needs no workflow.

mod lab;

use lab::cubes::{CUBES, Dataset, write_nifti, write_nifti_of};
use lab::layouts::{Holds::Image, Holds::Label, write};
use lab::{Lab, Shown};
use std::fs;
use std::path::{Path, PathBuf};
use voxflow_stages::image::nifti::read_label;
use voxflow_stages::metric::post_processing::{self, Choice};

const IMAGES: &str =
    "  images: { uses: folder, with: { path: new, images: '{case}.nii.gz', modality: [MRI] } }\n";
const ANSWER: &str = "  answer: { uses: predict, needs: { dataset: images, model: model }, with: { probabilities: true } }\n";

const ONE: lab::layouts::Holds = Label(&[1]);

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

/// Voxels that may get another label in 16 bits: those at the border of two.
const OTHER_LABELS: f64 = 0.01;

#[test]
fn the_precision_of_the_command_line_is_taken_and_gives_the_same_labels_but_for_single_voxels() {
    let lab = lab();
    lab.run(CUBES, &["--until", "model", "--threads", "1"], 0);
    let of = |precision: &str| {
        let shown = predict(
            &lab,
            &["--model", "latest", "new", "--out", precision, "--precision", precision],
        );
        assert_eq!(shown.code, 0, "{}", shown.err);
        let is_told = shown.err.contains(&format!("in {precision}\n"));
        assert_eq!(is_told, precision != "fp32", "{}", shown.err);
    };
    ["fp32", "tf32", "bf16", "fp16"].iter().for_each(|precision| of(precision));
    for file in ["scan_0.nii.gz", "scan_1.nii.gz", "scan_2.nii.gz"] {
        let path = |precision: &str| lab.path(precision).join(file);
        same(path("fp32"), path("tf32"));
        let labels =
            |precision: &str| read_label(&path(precision), file, &[1]).expect("a label map").data;
        let wanted = labels("fp32");
        for precision in ["bf16", "fp16"] {
            let found = labels(precision);
            let others = found.iter().zip(&wanted).filter(|(one, other)| one != other).count();
            let share = others as f64 / wanted.len() as f64;
            assert!(share <= OTHER_LABELS, "{precision}, {file}: {share}");
        }
    }
    let shown = predict(&lab, &["--model", "latest", "new", "--out", "a", "--precision", "fp8"]);
    assert_eq!(shown.code, 2);
    assert!(shown.err.contains("possible values: fp32, tf32, bf16, fp16"), "{}", shown.err);
}

#[test]
fn label_maps_are_the_same_whether_scores_are_kept_whole_or_a_few_rows_of_them() {
    let mut lab = lab();
    lab.run(&workflow(), &["--until", "model", "--threads", "1"], 0);
    for (way, more) in [("whole", None), ("rows", None), ("flipped", Some("--flips"))] {
        lab.set("VOXFLOW_SCORES", if way == "rows" { way } else { "whole" });
        let out = ["--model", "latest", "new", "--out", way].into_iter().chain(more);
        let shown = predict(&lab, &out.collect::<Vec<_>>());
        assert_eq!(shown.code, 0, "{}", shown.err);
    }
    // Volumes mirrored along x are kept whole all the same.
    lab.set("VOXFLOW_SCORES", "rows");
    let shown = predict(&lab, &["--model", "latest", "new", "--out", "mirrored", "--flips"]);
    assert_eq!(shown.code, 0, "{}", shown.err);
    for case in 0..3 {
        let file = format!("scan_{case}.nii.gz");
        let map = read_label(&lab.path(&format!("rows/{file}")), &file, &[1]).expect("a map");
        assert!(map.data.contains(&1), "something is found in {file}");
        for (one, other) in [("whole", "rows"), ("flipped", "mirrored")] {
            same(lab.path(&format!("{one}/{file}")), lab.path(&format!("{other}/{file}")));
        }
    }
}

#[test]
fn an_image_unlike_the_training_cases_is_warned_of_and_one_like_them_is_not() {
    let lab = lab();
    let run = lab.run(CUBES, &["--until", "model", "--threads", "1"], 0);
    let shown = predict(&lab, &["--model", "latest", "new/scan_0.nii.gz", "--out", "labels"]);
    assert!(shown.code == 0 && !shown.err.contains("warning"), "{}", shown.err);
    // Air as in CT, and three times as long along one axis.
    let values: Vec<f32> = (0..60 * 18 * 16).map(|at| [-1000.0, 40.0][at % 2]).collect();
    write_nifti_of(&lab.path("new/ct.nii.gz"), &values, [60, 18, 16], 16);
    let shown = predict(&lab, &["--model", "latest", "new/ct.nii.gz", "--out", "labels"]);
    assert_eq!(shown.code, 0, "it is segmented all the same: {}", shown.err);
    for words in [
        "warning: ct: it extends",
        "training cases",
        "warning: ct: its least value is -1000, as of air in CT, and the model reads 'MRI'",
    ] {
        assert!(shown.err.contains(words), "{words} in {}", shown.err);
    }
    // A folder has no training cases; its card is judged by.
    let model = run.folder.join("outputs/model").display().to_string();
    let shown = predict(&lab, &["--model", &model, "new/ct.nii.gz", "--out", "labels"]);
    assert!(shown.code == 0 && shown.err.contains("as of air in CT"), "{}", shown.err);
    assert!(!shown.err.contains("training cases"), "{}", shown.err);
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

#[test]
fn nested_folders_are_mirrored_and_labels_beside_images_are_left_out() {
    let lab = lab();
    lab.run(CUBES, &["--until", "model", "--threads", "1"], 0);
    for (from, to) in [
        ("data/imagesTr/case_00.nii.gz", "tree/a/scan.nii.gz"),
        ("data/imagesTr/case_01.nii.gz", "tree/b/deep/SCAN.NII.GZ"),
        ("data/labelsTr/case_01.nii.gz", "tree/b/deep/scan_seg.nii.gz"),
        ("data/imagesTr/case_02.nii.gz", "tree/scan_0000.nii.gz"),
    ] {
        fs::create_dir_all(lab.path(to).parent().expect("a folder")).expect("a folder");
        fs::copy(lab.path(from), lab.path(to)).expect("copies");
    }
    // Twice, and into a folder below: what was made is no image.
    for _ in 0..2 {
        let shown = predict(&lab, &["--model", "latest", "tree", "--out", "tree/made"]);
        assert_eq!(shown.code, 0, "{}", shown.err);
        assert!(shown.err.contains("1 file left out, labels by their names"), "{}", shown.err);
        assert!(shown.err.contains("3 of 3 images"), "{}", shown.err);
    }
    assert_eq!(names(&lab.path("tree/made")), ["a", "b", "scan.nii.gz"]);
    assert!(lab.path("tree/made/a/scan.nii.gz").is_file());
    assert!(lab.path("tree/made/b/deep/SCAN.nii.gz").is_file());
    let shown = predict(&lab, &["--model", "latest", "data/imagesTr", "--out", "flat"]);
    assert_eq!(shown.code, 0, "{}", shown.err);
    same(lab.path("flat/case_02.nii.gz"), lab.path("tree/made/scan.nii.gz"));
    let shown = predict(&lab, &["--model", "latest", "nested", "--out", "mirrored", "--recursive"]);
    assert_eq!(shown.code, 2);
    assert!(shown.err.contains("searched with all those below"), "{}", shown.err);
}

#[test]
fn images_with_other_channels_than_the_models_are_told_together_before_any_work() {
    let lab = lab();
    lab.run(CUBES, &["--until", "model", "--threads", "1"], 0);
    let two = vec![1.0; 2 * 20 * 18 * 16];
    write_nifti(&lab.path("new/both.nii.gz"), &two, 16);
    let pair = "new/scan_0.nii.gz,new/scan_1.nii.gz";
    let shown = predict(&lab, &["--model", "latest", "new", pair, "--out", "labels"]);
    assert_eq!(shown.code, 2, "{}", shown.err);
    for words in [
        "image 'new/both.nii.gz': has 2 channels, and the model reads 1 channel (MRI)",
        "image 'new/scan_0.nii.gz,new/scan_1.nii.gz': has 2 channels",
    ] {
        assert!(shown.err.contains(words), "'{words}' in\n{}", shown.err);
    }
    assert!(!lab.path("labels").exists(), "nothing was begun");
}

#[test]
fn the_channels_of_one_image_are_joined_by_number_or_by_name() {
    let lab = Lab::new();
    write(&lab, "data", &[("p#_t1.nii", Image(0)), ("p#_t2.nii", Image(1)), ("p#_gt.nii", ONE)]);
    let folder = "path: data, images: ['{case}_t1.nii', '{case}_t2.nii'], labels: '{case}_gt.nii', modality: [t1, t2], label_names: [x]";
    let workflow = CUBES.replace("path: data", folder).replace(
        "training: 4, validation: 1, testing: 2",
        "training: 4, validation: 1, testing: 1",
    );
    lab.run(&workflow, &["--until", "model", "--threads", "1"], 0);
    fs::create_dir_all(lab.path("numbered")).expect("a folder");
    for case in ["07", "08"] {
        for (channel, name) in ["t1", "t2"].iter().enumerate() {
            let to = lab.path(&format!("numbered/p{case}_000{channel}.nii"));
            fs::copy(lab.path(&format!("data/p{case}_{name}.nii")), to).expect("copies");
        }
    }
    let shown = predict(&lab, &["--model", "latest", "numbered", "--out", "one"]);
    assert_eq!(shown.code, 0, "{}", shown.err);
    assert_eq!(names(&lab.path("one")), ["p07.nii.gz", "p08.nii.gz"]);
    let shown = predict(&lab, &["--model", "latest", "data", "--out", "two"]);
    assert_eq!(shown.code, 0, "{}", shown.err);
    assert_eq!(names(&lab.path("two")).len(), 6);
    let shown =
        predict(&lab, &["--model", "latest", "data/p07_t1.nii,data/p07_t2.nii", "--out", "three"]);
    assert_eq!(shown.code, 0, "{}", shown.err);
    for other in ["two/p07.nii.gz", "three/p07.nii.gz"] {
        same(lab.path("one/p07.nii.gz"), lab.path(other));
    }
    let shown = predict(&lab, &["--model", "latest", "data/p07_t1.nii", "--out", "four"]);
    assert_eq!(shown.code, 2, "{}", shown.err);
    assert!(shown.err.contains("files joined by commas, or in files NAME_0000"), "{}", shown.err);
}

#[test]
fn components_are_kept_by_what_the_validation_cases_say_and_the_model_remembers() {
    let lab = lab();
    let (before, _) = CUBES.split_once("  score:").expect("a score");
    let chosen = "  chosen: { uses: postprocess, needs: [dataset, cache, model] }
  raw: { uses: test, needs: { dataset: dataset, cache: cache, model: model } }
  final: { uses: test, needs: { dataset: dataset, cache: cache, model: chosen } }
";
    let run = lab.run(&format!("{before}{chosen}"), &["--threads", "1"], 0);
    let outputs = run.folder.join("outputs");
    let read = |name: &str| fs::read(outputs.join(name)).expect("a file");
    let choice: Choice = serde_json::from_slice(&read("chosen/postprocessing.json")).unwrap();
    assert_eq!(choice.tried.len(), 1, "of one label the foreground is all: {choice:?}");
    let trial = &choice.tried[0];
    assert_eq!(trial.kept, trial.after > trial.before, "{choice:?}");
    let card: serde_json::Value = serde_json::from_slice(&read("chosen/model.json")).unwrap();
    let steps = card.get("keep_largest").cloned().unwrap_or_else(|| serde_json::json!([]));
    assert_eq!(steps, serde_json::json!(choice.steps));
    assert!(read("chosen/best.safetensors") == read("model/best.safetensors"));
    assert_eq!(names(&outputs.join("chosen/predictions")).len(), 1, "the validation case");
    for case in names(&outputs.join("raw/predictions")) {
        let map = |stage: &str| {
            let path = outputs.join(stage).join("predictions").join(&case);
            read_label(&path, &case, &[1]).expect("a label map")
        };
        let mut raw = map("raw");
        post_processing::apply(&mut raw.data, raw.shape, &choice.steps);
        assert!(raw.data == map("final").data, "{case}");
    }
    let shown = predict(&lab, &["--model", "latest", "new/scan_0.nii.gz", "--out", "labels"]);
    assert_eq!(shown.code, 0, "the model of which no other is made: {}", shown.err);
}
