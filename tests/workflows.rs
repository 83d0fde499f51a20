//! Every workflow that is shipped is checked and planned, without its data.

mod lab;

use lab::Lab;
use std::fs;
use std::path::Path;

#[test]
fn every_shipped_workflow_is_right_and_can_be_planned() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../workflows");
    let mut lab = Lab::new();
    lab.write("data/Task04_Hippocampus.tar", "stands in for the archive");
    lab.set("DATA_ROOT", lab.path("data").display().to_string());
    let mut seen = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.display().to_string();
        let shown = lab.voxflow(&["check", &name]);
        assert_eq!(shown.code, 0, "{}", shown.err);
        let shown = lab.voxflow(&["plan", &name]);
        assert_eq!(shown.code, 0, "{}\n{}", shown.out, shown.err);
        // A line for each stage, and the total.
        let stages = shown.out.lines().count();
        assert!(
            shown.out.lines().next().unwrap().contains("run because first run of this workflow"),
            "{}",
            shown.out
        );
        assert_eq!(shown.out.matches("depends on ").count(), stages - 2, "{}", shown.out);
        let resolved = lab.voxflow(&["check", &name, "--resolved"]).out;
        lab.write("resolved.yaml", &resolved);
        assert_eq!(
            lab.voxflow(&["check", "resolved.yaml", "--resolved"]).out,
            resolved,
            "resolved is at rest"
        );
        seen += 1;
    }
    assert!(seen >= 5, "{seen} workflows");
}

#[test]
fn an_end_decided_by_validation_is_one_step_away_from_a_number_of_epochs() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../workflows");
    let lab = Lab::new();
    lab.write("Task04_Hippocampus.tar", "");
    let file = format!("archive.file={}", lab.path("Task04_Hippocampus.tar").display());
    let archive = ["--set", file.as_str()];
    for (name, data) in [("demo", &[][..]), ("hippocampus", &archive), ("hippocampus_cv", &archive)]
    {
        let path = folder.join(format!("{name}.yaml")).display().to_string();
        let auto = [&["check", &path, "--set", "model.epochs=auto"], data].concat();
        let shown = lab.voxflow(&auto);
        assert_eq!(shown.code, 0, "{}", shown.err);
        let late = ["--set", "model.schedule.name=polynomial"];
        let shown = lab.voxflow(&[&auto[..], &late].concat());
        assert_eq!(shown.code, 2, "{}", shown.err);
        assert!(shown.err.contains("set it to 'constant' or 'step'"), "{}", shown.err);
    }
}

#[test]
fn the_recipes_in_the_docs_say_what_the_workflows_resolve_to() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let text = fs::read_to_string(root.join("docs/recipes.md")).unwrap();
    let lab = Lab::new();
    let (mut resolved, mut rows) = (serde_yaml::Value::Null, 0);
    for line in text.lines() {
        if let Some(file) = line.strip_prefix("## ").and_then(|title| title.split(':').next()) {
            let workflow = root.join("workflows").join(file).display().to_string();
            resolved = serde_yaml::from_str(&lab.voxflow(&["check", &workflow, "--resolved"]).out)
                .unwrap();
        }
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let Some((stage, keys)) = cells.get(1).and_then(|path| path.split_once('.')) else {
            continue;
        };
        let found =
            keys.split('.').fold(&resolved["stages"][stage]["with"], |value, key| &value[key]);
        let said: serde_yaml::Value = serde_yaml::from_str(cells[2]).unwrap();
        assert!(
            equal(found, &said),
            "{stage}.{keys}: {found:?} in the workflow, {said:?} in docs/recipes.md"
        );
        rows += 1;
    }
    assert!(rows > 70, "{rows} rows");
}

/// Equal values, whole numbers and others alike.
fn equal(one: &serde_yaml::Value, other: &serde_yaml::Value) -> bool {
    match (one.as_sequence(), other.as_sequence()) {
        (Some(one), Some(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(a, b)| equal(a, b))
        }
        _ if one.is_number() => one.as_f64() == other.as_f64(),
        _ => one == other,
    }
}

#[test]
fn a_file_that_is_not_there_is_said_before_any_work() {
    let mut lab = Lab::new();
    lab.set("DATA_ROOT", "/nowhere");
    let workflow = concat!(env!("CARGO_MANIFEST_DIR"), "/../workflows/hippocampus.yaml");
    let shown = lab.voxflow(&["plan", workflow]);
    assert_eq!(shown.code, 2);
    assert!(
        shown.out.starts_with(
            "archive  download    cannot run: '/nowhere/Task04_Hippocampus.tar' is not there"
        ),
        "{}",
        shown.out
    );
    let shown = lab.voxflow(&["run", workflow]);
    assert_eq!(shown.code, 2);
    assert!(
        shown.err.contains("stage 'archive': '/nowhere/Task04_Hippocampus.tar' is not there"),
        "{}",
        shown.err
    );
    assert!(lab.runs().is_empty());
}
