//! A file system that is too small, or may only be read: a run on it ends with exit code 3 and the
//! system's words, nothing that was published is damaged, and with room made the same command goes
//! on. Where nothing can be mounted this is skipped and said; `faults` limits the length of files
//! instead. `VOXFLOW_TORTURE_DISKS` is how many sizes are tried.

mod lab;

use lab::cubes::{CUBES, Dataset};
use lab::namespace::of_mounts;
use lab::{Lab, Record, Shown, TINY, tally};
use std::fs;
use std::process::Command;

/// A disk of `BYTES`, and a command on it: its words and exit code are kept under the name that
/// comes first.
const DISK: &str = r#"
mkdir disk && mount -t tmpfs -o size="$BYTES" none disk || exit 99
voxflow() {
    name=$1; shift
    "$VOXFLOW" --home disk/home "$@" >"$name.out" 2>"$name.err"; echo $? >"$name.code"
}
"#;

/// Runs a workflow, makes room, runs it again, and keeps the home.
const ROOM: &str = r#"
voxflow small run workflow.yaml --threads 1
mount -o remount,size=1g disk || exit 99
voxflow verify cache verify
voxflow large run workflow.yaml --threads 1
cp -r disk/home .voxflow
"#;

/// Runs a workflow, forbids writing, and looks at it.
const READ_ONLY: &str = r#"
voxflow first run workflow.yaml
mount -o remount,ro disk || exit 99
voxflow again run workflow.yaml --force split
voxflow show show latest
voxflow plan plan workflow.yaml
"#;

fn lab(workflow: &str) -> Lab {
    let lab = Lab::new();
    Dataset::write(&lab.path("data"), 7, 0);
    lab.write("workflow.yaml", workflow);
    lab
}

/// Goes through a story on a disk of so many bytes.
fn tell(lab: &Lab, wrapper: &[&str], story: &str, bytes: usize) {
    let mut command = Command::new(wrapper[0]);
    command
        .args(&wrapper[1..])
        .args(["sh", "-c", &format!("{DISK}{story}")])
        .current_dir(lab.path(""));
    command
        .env("BYTES", bytes.to_string())
        .env("VOXFLOW", env!("CARGO_BIN_EXE_voxflow"))
        .env("NO_COLOR", "1");
    let output = command.env_remove("VOXFLOW_HOME").env_remove("VOXFLOW_STORE").output().unwrap();
    assert!(output.status.success(), "{bytes} bytes: {}", String::from_utf8_lossy(&output.stderr));
}

/// What a command of the story left.
fn shown(lab: &Lab, name: &str) -> Shown {
    let read =
        |end: &str| fs::read_to_string(lab.path(&format!("{name}.{end}"))).unwrap_or_default();
    Shown { code: read("code").trim().parse().unwrap(), out: read("out"), err: read("err") }
}

/// Whether a disk of so many bytes was too small. With room, the run is the `expected` one.
fn too_small(wrapper: &[&str], workflow: &str, bytes: usize, expected: &Record) -> bool {
    let lab = lab(workflow);
    tell(&lab, wrapper, ROOM, bytes);
    let story = format!("{bytes} bytes");
    let (small, large) = (shown(&lab, "small"), shown(&lab, "large"));
    let full = small.code != 0;
    if full {
        assert_eq!(small.code, 3, "{story}: {}", small.err);
        assert!(small.err.contains("No space left on device"), "{story}: {}", small.err);
        assert!(small.err.contains("disk/home"), "what is full is named; {story}: {}", small.err);
        assert!(!small.err.contains("panic"), "{story}: {}", small.err);
    }
    let verified = shown(&lab, "verify");
    // A disk on which not even a store could be begun has none to verify.
    assert!(
        verified.code == 0 || verified.err.contains("no store"),
        "{story}: {}{}",
        verified.out,
        verified.err
    );
    assert_eq!(large.code, 0, "{story}: {}", large.err);
    assert!(!large.err.contains("damaged"), "{story}: {}", large.err);
    let run = lab.last_run();
    assert_eq!(run.sorted_metrics(), expected.sorted_metrics(), "{story}");
    for (stage, other) in run.value["stages"]
        .as_array()
        .unwrap()
        .iter()
        .zip(expected.value["stages"].as_array().unwrap())
    {
        assert_eq!(stage["digest"], other["digest"], "{story}");
    }
    full
}

/// Tries disks of more and more bytes; gives how many were too small.
fn try_sizes(workflow: &str, sizes: impl Iterator<Item = usize>) -> usize {
    let calm = lab(workflow);
    let Some(wrapper) = of_mounts(&calm) else { return 0 };
    let expected = calm.run(workflow, &["--threads", "1"], 0);
    let full = sizes.filter(|bytes| too_small(&wrapper, workflow, *bytes, &expected)).count();
    assert!(full > 0, "no disk was too small");
    full
}

#[test]
fn on_a_disk_that_is_too_small_nothing_is_lost_and_with_room_the_same_command_goes_on() {
    let disks = tally::wanted("VOXFLOW_TORTURE_DISKS", 8);
    let full = try_sizes(TINY, (1..=disks).map(|disk| disk * (1 << 20) / disks));
    tally::tell("faults", full, &format!("of {disks} disks of up to 1 MiB too small for a run"));
}

#[test]
fn a_home_that_may_only_be_read_is_named_and_can_still_be_looked_at() {
    let lab = lab(TINY);
    let Some(wrapper) = of_mounts(&lab) else { return };
    tell(&lab, &wrapper, READ_ONLY, 64 << 20);
    assert_eq!(shown(&lab, "first").code, 0);
    let again = shown(&lab, "again");
    assert_eq!(again.code, 3, "{}", again.err);
    assert!(
        again.err.contains("Read-only file system") && again.err.contains("disk/home"),
        "{}",
        again.err
    );
    for look in ["show", "plan"] {
        let shown = shown(&lab, look);
        assert_eq!(shown.code, 0, "{look}: {}", shown.err);
    }
}

#[test]
fn a_training_whose_checkpoint_finds_no_room_goes_on_when_there_is_some() {
    let disks = tally::wanted("VOXFLOW_TORTURE_DISKS", 8).div_ceil(4);
    let workflow = CUBES.replace("epochs: 2", "epochs: 4\n      checkpoint_every: 1");
    let full = try_sizes(&workflow, (1..=disks).map(|disk| disk * (768 << 10) / disks));
    tally::tell(
        "faults",
        full,
        &format!("of {disks} disks of up to 768 KiB too small for a training"),
    );
}
