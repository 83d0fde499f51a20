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
        let stages = shown.out.lines().count();
        assert!(shown.out.lines().next().unwrap().contains("run because not made before"), "{}", shown.out);
        assert_eq!(shown.out.matches("follows ").count(), stages - 1, "{}", shown.out);
        let resolved = lab.voxflow(&["check", &name, "--resolved"]).out;
        lab.write("resolved.yaml", &resolved);
        assert_eq!(lab.voxflow(&["check", "resolved.yaml", "--resolved"]).out, resolved, "resolved is at rest");
        seen += 1;
    }
    assert!(seen >= 5, "{seen} workflows");
}

#[test]
fn a_file_that_is_not_there_is_said_before_any_work() {
    let mut lab = Lab::new();
    lab.set("DATA_ROOT", "/nowhere");
    let workflow = concat!(env!("CARGO_MANIFEST_DIR"), "/../workflows/hippocampus.yaml");
    let shown = lab.voxflow(&["plan", workflow]);
    assert_eq!(shown.code, 2);
    assert!(
        shown.out.starts_with("archive  download    cannot run: /nowhere/Task04_Hippocampus.tar: "),
        "{}",
        shown.out
    );
    let shown = lab.voxflow(&["run", workflow]);
    assert_eq!(shown.code, 2);
    assert!(shown.err.contains("stage 'archive': /nowhere/Task04_Hippocampus.tar: "), "{}", shown.err);
    assert!(lab.runs().is_empty());
}
