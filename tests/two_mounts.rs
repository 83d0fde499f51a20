//! One store through two mounts, as two hosts have it: locks and device numbers differ, stats and
//! missing names are remembered for 20 s, and no file is renamed without replacing. Played by
//! `bindfs`, as root only.
#![allow(clippy::print_stdout)]

mod lab;

use lab::cubes::{CUBES, Dataset};
use lab::{Lab, Record, TINY};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;
use voxflow_cache::disk;

/// A folder and its two mounts, `a` and `b`.
struct Mounts {
    folder: TempDir,
}

impl Mounts {
    /// The mounts, or words for why this machine has none.
    fn new() -> Option<Mounts> {
        Mounts::remembering(20)
    }

    /// Mounts that remember everything for so many seconds.
    fn remembering(seconds: u32) -> Option<Mounts> {
        let mounts = Mounts { folder: tempfile::tempdir().unwrap() };
        fs::create_dir(mounts.path("all")).unwrap();
        for name in ["a", "b"] {
            fs::create_dir(mounts.path(name)).unwrap();
            let options =
                ["attr", "entry", "negative"].map(|what| format!("{what}_timeout={seconds}"));
            let mut bindfs = Command::new("bindfs");
            bindfs.args(["-o", &options.join(",")]).arg(mounts.path("all")).arg(mounts.path(name));
            if !bindfs.output().is_ok_and(|output| output.status.success()) {
                println!("skipped: two mounts need root, FUSE and the package 'bindfs'");
                return None;
            }
        }
        Some(mounts)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The two hosts.
    fn hosts(&self) -> [Host<'_>; 2] {
        ["a", "b"].map(|mount| Host::new(self, mount))
    }
}

impl Drop for Mounts {
    fn drop(&mut self) {
        for name in ["a", "b"] {
            let _ = Command::new("umount").arg("-l").arg(self.path(name)).output();
        }
    }
}

/// A host with a home and a cache folder of its own, and a mount.
struct Host<'a> {
    lab: Lab,
    mounts: &'a Mounts,
    mount: &'static str,
}

impl<'a> Host<'a> {
    fn new(mounts: &'a Mounts, mount: &'static str) -> Host<'a> {
        let mut lab = Lab::new();
        lab.set("XDG_CACHE_HOME", lab.path("cache").display().to_string());
        Host { lab, mounts, mount }
    }

    /// A path of the common folder as this host has it.
    fn path(&self, name: &str) -> String {
        self.mounts.path(self.mount).join(name).display().to_string()
    }

    fn arguments(&self, command: &[&str]) -> Vec<String> {
        let store = ["--store".to_string(), self.path("store")];
        command.iter().map(|word| word.to_string()).chain(store).collect()
    }

    /// Runs a command that must end well.
    fn voxflow(&self, command: &[&str]) -> String {
        let arguments = self.arguments(command);
        let shown = self.lab.voxflow(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(shown.code, 0, "{} {command:?}: {}{}", self.mount, shown.err, shown.out);
        shown.out
    }

    fn run(&self, workflow: &str, flags: &[&str]) -> Record {
        self.lab.write("workflow.yaml", workflow);
        self.voxflow(&[&["run", "workflow.yaml"], flags].concat());
        self.lab.last_run()
    }
}

/// A dataset that takes a moment to make.
fn slow() -> String {
    TINY.replace("cases: 6", "cases: 40").replace("shape: [24, 24, 24]", "shape: [48, 48, 48]")
}

/// Files in drafts of the store at this moment, seen past the mounts.
fn files_in_drafts(mounts: &Mounts) -> usize {
    let drafts = fs::read_dir(mounts.path("all/store/drafts")).into_iter().flatten().flatten();
    drafts.map(|draft| count(&draft.path())).sum()
}

fn count(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| if entry.path().is_dir() { count(&entry.path()) } else { 1 }).sum()
}

#[test]
fn a_run_is_not_hurt_by_what_is_done_through_another_mount_while_it_writes() {
    let Some(mounts) = Mounts::new() else { return };
    let [a, b] = mounts.hosts();
    let expected = Lab::new().run(&slow(), &[], 0).digests();
    a.lab.write("workflow.yaml", &slow());
    b.lab.write("workflow.yaml", &slow());
    let arguments = a.arguments(&["run", "workflow.yaml"]);
    let child = a.lab.spawn(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    let process = Pid::from_child(&child);
    for _ in 0..30_000 {
        if files_in_drafts(&mounts) > 2 {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    kill_process(process, Signal::STOP).unwrap();
    // What it has asked of the file system by now is done.
    std::thread::sleep(Duration::from_secs(1));
    let held = files_in_drafts(&mounts);
    assert!(held > 2, "a draft is half written");
    // Each of these opens the store, where drafts of dead processes are swept.
    b.voxflow(&["plan", "workflow.yaml"]);
    b.run(TINY, &[]);
    b.voxflow(&["cache", "gc"]);
    b.voxflow(&["cache", "verify"]);
    assert_eq!(files_in_drafts(&mounts), held);
    kill_process(process, Signal::CONT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(a.lab.last_run().digests(), expected);
    b.voxflow(&["cache", "verify"]);
    let run = b.run(&slow(), &["--verify"]);
    assert_eq!((run.made(), run.digests()), (vec![], expected));
}

#[test]
fn two_hosts_that_make_the_same_at_once_end_with_the_same_and_leave_nothing() {
    let Some(mounts) = Mounts::new() else { return };
    let hosts = mounts.hosts();
    let expected = Lab::new().run(&slow(), &[], 0).digests();
    std::thread::scope(|scope| {
        for host in &hosts {
            let expected = &expected;
            scope.spawn(move || assert_eq!(&host.run(&slow(), &[]).digests(), expected));
        }
    });
    assert_eq!(files_in_drafts(&mounts), 0);
    for host in &hosts {
        host.voxflow(&["cache", "verify"]);
        assert_eq!(host.run(&slow(), &[]).made(), [] as [&str; 0]);
    }
}

#[test]
fn what_one_host_has_made_another_reuses_though_it_asked_for_it_just_before() {
    let Some(mounts) = Mounts::new() else { return };
    let [a, b] = mounts.hosts();
    b.lab.write("workflow.yaml", TINY);
    let plan = b.voxflow(&["plan", "workflow.yaml"]);
    assert!(plan.contains("run because"), "{plan}");
    assert_eq!(b.run(TINY, &["--until", "split"]).made(), ["dataset", "split"]);
    let other = TINY.replace("training: 3", "training: 2");
    b.lab.write("other.yaml", &other);
    b.voxflow(&["plan", "other.yaml"]);
    assert_eq!(a.run(&other, &[]).made(), ["split", "volumes", "cache"]);
    assert_eq!(b.run(&other, &[]).made(), [] as [&str; 0]);
    assert!(!mounts.path("all/store/index").exists(), "each host has an index of its own");
    assert!(b.lab.path("cache/voxflow/indices").is_dir());
}

#[test]
fn an_image_that_one_host_has_changed_is_noticed_on_the_other_at_once() {
    let Some(mounts) = Mounts::new() else { return };
    let [_, b] = mounts.hosts();
    let data = Dataset::write(&mounts.path("all/data"), 7, 0);
    let workflow = CUBES.replace("path: data", &format!("path: {}", b.path("data")));
    assert_ne!(workflow, CUBES);
    let until = ["--until", "volumes"];
    b.run(&workflow, &until);
    assert_eq!(b.run(&workflow, &until).made(), [] as [&str; 0]);
    data.write_case(3, 1);
    let run = b.run(&workflow, &until);
    assert!(run.made().contains(&"volumes"), "{:?}", run.made());
    let lab = Lab::new();
    Dataset::write(&lab.path("data"), 7, 0).write_case(3, 1);
    let expected = lab.run(CUBES, &until, 0);
    assert_eq!(run.stage("volumes")["digest"], expected.stage("volumes")["digest"]);
}

#[test]
fn a_folder_that_another_host_has_made_is_waited_for_until_it_is_seen() {
    let Some(mounts) = Mounts::remembering(2) else { return };
    let folder = mounts.path("b/folder");
    assert!(!folder.exists(), "asked for before it is there");
    fs::create_dir(mounts.path("all/folder")).unwrap();
    assert!(!folder.exists(), "remembered as missing");
    disk::create_folders(&folder.join("below")).unwrap();
    fs::write(folder.join("below/file"), "").unwrap();
    assert!(mounts.path("all/folder/below/file").exists());
}
