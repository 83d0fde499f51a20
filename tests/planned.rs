//! `voxflow new --recipe nnunet`: a plan with literal numbers, from statistics that are kept.

mod lab;

use lab::layouts::Holds::{Bordered, Channels, Ct, Image, Label};
use lab::layouts::{CASES, Holds, write};
use lab::{Lab, Shown};
use serde_json::Value;
use std::fs;

/// Six cases with a label each.
fn lab(holds: Holds) -> Lab {
    let lab = Lab::new();
    write(&lab, "data", &[("images/#.nii.gz", holds), ("labels/#.nii.gz", Label(&[1, 2]))]);
    lab
}

fn new(lab: &Lab, more: &[&str]) -> Shown {
    let shown = lab.voxflow(&[&["new", "data", "--out", "new.yaml"][..], more].concat());
    assert_eq!(shown.code, 0, "{}", shown.err);
    shown
}

fn is_understood(lab: &Lab) {
    for command in ["check", "plan"] {
        let shown = lab.voxflow(&[command, "new.yaml"]);
        assert_eq!(shown.code, 0, "{}", shown.err);
    }
}

#[test]
fn a_plan_is_a_workflow_with_literal_numbers_that_runs() {
    let lab = lab(Ct);
    new(&lab, &["--recipe", "nnunet", "--stats", "stats.json"]);
    let text = fs::read_to_string(lab.path("new.yaml")).expect("a workflow");
    for words in [
        "nnU-Net 2.8.1 (ExperimentPlanner, 8 GB)",
        "\n# Recipe: --recipe nnunet --gpu-memory 8G\n",
        "crop_nonzero: true",
        "ct: { std: ",
        "name: \"plain_conv_unet\"",
        "deep_supervision: true",
        "momentum: 0.99",
    ] {
        assert!(text.contains(words), "'{words}' in\n{text}");
    }
    let looked = lab.last_run();
    let seen = looked.items("statistics").0;
    assert!(seen > 0 && seen < CASES.len() as u64, "{seen} of the cases are not tested");
    let stats: Value =
        serde_json::from_slice(&fs::read(lab.path("stats.json")).expect("statistics")).unwrap();
    assert_eq!(stats["spacings"].as_array().unwrap().len() as u64, seen);
    assert!(stats["foreground_intensity_properties_per_channel"]["0"]["percentile_99_5"].is_f64());
    is_understood(&lab);
    let shown = lab.voxflow(&["run", "new.yaml", "--until", "cache"]);
    assert_eq!(shown.code, 0, "{}\n{text}", shown.err);
    // Nothing is looked at twice, and an update that changes nothing says so.
    let before = fs::read(lab.path("new.yaml")).unwrap();
    let shown = lab.voxflow(&["new", "--update", "new.yaml"]);
    assert_eq!((shown.code, shown.out.as_str()), (0, ""), "{}", shown.err);
    assert!(shown.err.contains("the plan is as the workflow has it"), "{}", shown.err);
    assert_eq!(lab.last_run().stage("statistics")["outcome"], "reused");
    let more = ["new", "--update", "new.yaml", "--recipe", "nnunet-resenc-l"];
    let shown = lab.voxflow(&more);
    assert!(shown.out.contains("model.network") && shown.out.contains("residual"), "{}", shown.out);
    assert_eq!(fs::read(lab.path("new.yaml")).unwrap(), before, "nothing is written");
    // Without the line there is no guess.
    let bare: String =
        text.lines().filter(|line| !line.contains('#')).map(|l| l.to_string() + "\n").collect();
    fs::write(lab.path("bare.yaml"), bare).unwrap();
    let shown = lab.voxflow(&["new", "--update", "bare.yaml"]);
    assert_eq!(shown.code, 2, "{}", shown.err);
    assert!(shown.err.contains("say which plan to compare with, as '--recipe"), "{}", shown.err);
}

#[test]
fn a_plan_of_several_channels_scales_each_by_its_name() {
    let lab = lab(Channels(4));
    new(&lab, &["--recipe", "nnunet-resenc-m", "--gpu-memory", "24G"]);
    let text = fs::read_to_string(lab.path("new.yaml")).expect("a workflow");
    assert!(text.contains("(nnUNetPlannerResEncM, 24 GB)"), "{text}");
    let shown = lab.voxflow(&["new", "--update", "new.yaml"]);
    assert!(shown.err.contains("the plan is as the workflow has it"), "{}{}", shown.err, shown.out);
    assert!(text.contains("name: \"residual_encoder_unet\""), "{text}");
    is_understood(&lab);
}

#[test]
fn regions_and_voxels_to_ignore_of_a_dataset_json_go_all_the_way() {
    let lab = Lab::new();
    let files =
        [("imagesTr/c#_0000.nii.gz", Bordered), ("labelsTr/c#.nii.gz", Label(&[1, 2, 3, 4]))];
    write(&lab, "data", &files);
    lab.write(
        "data/dataset.json",
        r#"{ "channel_names": { "0": "MRI" }, "file_ending": ".nii.gz", "numTraining": 6,
             "labels": { "background": 0, "whole": [1, 2, 3], "core": [2, 3], "tip": 3, "ignore": 4 },
             "regions_class_order": [1, 2, 3] }"#,
    );
    new(&lab, &["--recipe", "nnunet"]);
    let text = fs::read_to_string(lab.path("new.yaml")).expect("a workflow");
    for words in [
        "mark_outside: true",
        "name: \"zero_outside\"",
        "regions:  # of dataset.json",
        "- { name: \"whole\", value: 1, labels: [1, 2, 3] }",
    ] {
        assert!(text.contains(words), "'{words}' in\n{text}");
    }
    is_understood(&lab);
    let shorter = ["model.epochs=1", "model.steps_per_epoch=2", "model.inference.flips=false"];
    let flags = shorter.iter().flat_map(|setting| ["--set", setting]);
    let shown = lab.voxflow(&["run", "new.yaml"].into_iter().chain(flags).collect::<Vec<_>>());
    assert_eq!(shown.code, 0, "{}\n{text}", shown.err);
    let metrics = lab.last_run().metrics();
    let scored: std::collections::BTreeSet<&str> = metrics
        .iter()
        .filter(|row| row[0] == "final" && row[1]["metric"] == "dice")
        .filter_map(|row| row[1]["label"].as_str())
        .collect();
    assert_eq!(scored.into_iter().collect::<Vec<_>>(), ["core", "tip", "whole"]);
    let image = format!("data/imagesTr/c{}_0000.nii.gz", CASES[0]);
    for command in [
        &["predict", "--model", "latest", "--out", "found", image.as_str(), "--probabilities"][..],
        &["export", "latest", "--format", "torchscript", "--out", "script"],
        &["report", "latest"],
        &["new", "data", "--out", "quick.yaml"],
    ] {
        let shown = lab.voxflow(command);
        assert_eq!(shown.code, 0, "{command:?}: {}", shown.err);
    }
    let quick = fs::read_to_string(lab.path("quick.yaml")).expect("a workflow");
    assert!(quick.contains("regions:  # of dataset.json"), "{quick}");
}

#[test]
fn flags_without_a_plan_say_what_is_missing() {
    let lab = lab(Image(0));
    for (flags, words) in [
        (&["new", "data", "--gpu-memory", "8G"][..], "add '--recipe nnunet'"),
        (&["new", "--update", "new.yaml", "--recipe", "quick"], "has no plan to compare with"),
        (&["new", "--stats", "stats.json"], "name the task or folder"),
        (&["new", "data", "--recipe", "nnunet", "--gpu-memory", "8M"], "write gigabytes, as 24G"),
    ] {
        let shown = lab.voxflow(flags);
        assert_eq!(shown.code, 2, "{}", shown.err);
        assert!(shown.err.contains(words), "'{words}' in {}", shown.err);
    }
}
