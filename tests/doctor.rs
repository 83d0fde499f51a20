//! `voxflow doctor` names each trouble of a machine with its way out.

mod lab;

use lab::{Lab, Shown};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

/// The finding of that name.
fn finding(lab: &Lab, what: &str) -> Value {
    let shown = lab.voxflow(&["doctor", "--format", "json"]);
    let all: Value = serde_json::from_str(&shown.out).expect("JSON");
    let found = all.as_array().unwrap().iter().find(|found| found["what"] == what);
    found.unwrap_or_else(|| panic!("{what}: {all}")).clone()
}

fn trouble(lab: &Lab, what: &str) -> String {
    finding(lab, what)["trouble"].as_str().unwrap_or_default().to_string()
}

#[test]
fn a_machine_is_described_in_a_line_for_each_thing() {
    let lab = Lab::new();
    let Shown { out, err, .. } = lab.voxflow(&["doctor"]);
    assert_eq!(err, "");
    for what in ["voxflow", "libtorch", "processor", "memory", "GPU", "home", "store", "open files"]
    {
        let lines =
            out.lines().filter(|line| line.trim_start_matches(['✓', '✗', ' ']).starts_with(what));
        assert_eq!(lines.count(), 1, "{what}: {out}");
    }
    assert!(finding(&lab, "libtorch")["found"].as_str().unwrap().starts_with("2."), "{out}");
    assert_eq!(trouble(&lab, "libtorch"), "");
    assert!(!lab.path(".voxflow").exists(), "it makes nothing");
}

#[test]
fn a_missing_worker_and_one_that_does_not_start_are_told_with_the_way_out() {
    let mut lab = Lab::new();
    lab.set("VOXFLOW_WORKER", "/nowhere/voxflow-worker");
    let shown = lab.voxflow(&["doctor"]);
    assert_eq!(shown.code, 1, "{}", shown.out);
    assert!(shown.out.contains("✗ libtorch"), "{}", shown.out);
    let words = trouble(&lab, "libtorch");
    assert!(words.contains("'/nowhere/voxflow-worker' is not there"), "{words}");
    assert!(words.contains("make setup"), "{words}");
    let broken =
        "#!/bin/sh\necho 'error while loading shared libraries: libtorch.so' >&2\nexit 127\n";
    let path = lab.write("broken", broken);
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    lab.set("VOXFLOW_WORKER", path.display().to_string());
    let words = trouble(&lab, "libtorch");
    assert!(words.contains("the worker does not start: error while loading shared libraries"));
    assert!(words.contains("'make setup' fetches libtorch"), "{words}");
}

#[test]
fn folders_that_are_full_or_none_and_few_open_files_are_told_with_the_way_out() {
    let mut lab = Lab::new();
    lab.write("file", "");
    let shown = lab.voxflow(&["doctor", "--home", "file/home"]);
    assert_eq!(shown.code, 1, "{}", shown.out);
    assert!(shown.out.contains("file' is no folder; name another by --home"), "{}", shown.out);
    let program = lab.command(&["doctor"]).get_program().to_os_string();
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -S -n 100 && exec \"$0\" doctor"]).arg(program);
    let output = limited.current_dir(lab.path("")).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("100, at most ") && text.contains("' raises it"), "{text}");
    lab.set("VOXFLOW_FREE_BYTES", "1000000");
    let words = trouble(&lab, "store");
    assert!(words.contains("is almost full: 'voxflow cache gc'"), "{words}");
}
