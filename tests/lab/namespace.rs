//! Namespaces of Linux: a file system and process ids of a program's own, where this machine allows
//! them.
#![allow(clippy::print_stdout)]

use super::Lab;
use std::process::{Command, Stdio};

/// What to put before a command so that it has a mount table of its own, or words for why not.
pub fn of_mounts(lab: &Lab) -> Option<Vec<&'static str>> {
    let place = lab.path("probe");
    std::fs::create_dir_all(&place).unwrap();
    let mount = format!("mount -t tmpfs -o size=1m none '{}'", place.display());
    allowed(&["--mount"], &mount)
}

/// What to put before a command so that it is process 1.
pub fn of_processes() -> Option<Vec<&'static str>> {
    allowed(&["--pid", "--fork", "--kill-child"], "test $$ = 1")
}

/// As root, or as an ordinary user who is root inside.
fn allowed(flags: &[&'static str], probe: &str) -> Option<Vec<&'static str>> {
    let as_root = [&["unshare"][..], flags].concat();
    let as_user = [&["unshare", "--user", "--map-root-user"][..], flags].concat();
    let works = |wrapper: &[&str]| {
        let mut command = Command::new(wrapper[0]);
        command
            .args(&wrapper[1..])
            .args(["sh", "-c", probe])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let found = [as_root, as_user].into_iter().find(|wrapper| works(wrapper));
    if found.is_none() {
        println!("skipped: this machine allows no 'unshare {}'", flags.join(" "));
    }
    found
}
