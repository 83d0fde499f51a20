//! A disk that is full or broken at one moment of a run: exit code 3 and the system's words, nothing
//! damaged, and the same command afterwards finishes. `VOXFLOW_TORTURE_STEP` is how many operations lie
//! between two faults; 1 is every one.
#![allow(clippy::print_stdout)]

mod lab;

use lab::{Lab, TINY};
use std::os::unix::process::CommandExt;
use voxflow_cache::fault::{MARK, VARIABLE};

#[test]
fn a_disk_that_fails_once_is_an_error_of_the_disk_and_the_same_command_finishes() {
    let step: usize = std::env::var("VOXFLOW_TORTURE_STEP").map_or(23, |step| step.parse().expect("a number"));
    let calm = Lab::new();
    let expected = calm.run(TINY, &[], 0);
    let (mut faults, mut told, mut number) = (0, 0, 1);
    loop {
        let how = if faults % 2 == 0 { "ENOSPC" } else { "EIO" };
        let mut lab = Lab::new();
        lab.write("workflow.yaml", TINY);
        lab.set(VARIABLE, format!("{number}:{how}"));
        lab.set(MARK, lab.path("failed").display().to_string());
        let shown = lab.voxflow(&["run", "workflow.yaml", "--threads", "1"]);
        let story = format!("{how} at operation {number}: {}", shown.err);
        if !lab.path("failed").exists() {
            assert_eq!(shown.code, 0, "{story}");
            break;
        }
        // A fault where the store only tidies up, or where the index is but a hint, hurts nobody.
        assert!([0, 3].contains(&shown.code), "exit code {}: {story}", shown.code);
        if shown.code == 3 {
            told += 1;
            assert!(shown.err.contains("os error 28") || shown.err.contains("os error 5"), "{story}");
        }
        lab.set(VARIABLE, "");
        let run = lab.run(TINY, &[], 0);
        assert_eq!(run.sorted_metrics(), expected.sorted_metrics(), "{story}");
        for stage in ["dataset", "split", "volumes", "cache"] {
            assert_eq!(run.stage(stage)["digest"], expected.stage(stage)["digest"], "{story}");
        }
        assert_eq!(lab.voxflow(&["cache", "verify"]).code, 0, "{story}");
        faults += 1;
        number += step;
    }
    println!("faults                {faults} in {number} operations, {told} of them with exit code 3");
    assert!(told > 0, "no fault was told");
}

#[test]
fn files_that_may_not_grow_are_a_full_disk() {
    let lab = Lab::new();
    lab.write("workflow.yaml", TINY);
    let mut command = lab.command(&["run", "workflow.yaml"]);
    // SAFETY: between fork and exec only two system calls are made, both safe there.
    unsafe {
        command.pre_exec(|| {
            libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
            let limit = libc::rlimit { rlim_cur: 8_000, rlim_max: 8_000 };
            if libc::setrlimit(libc::RLIMIT_FSIZE, &limit) == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
        });
    }
    let output = command.output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "{words}");
    assert!(words.contains("File too large"), "{words}");
    lab.run(TINY, &[], 0);
    assert_eq!(lab.voxflow(&["cache", "verify"]).code, 0);
}

#[test]
fn a_home_where_nothing_can_be_made_is_named() {
    let lab = Lab::new();
    lab.write("workflow.yaml", TINY);
    lab.write("file", "");
    let shown = lab.voxflow(&["run", "workflow.yaml", "--home", "file/home"]);
    assert_eq!(shown.code, 3);
    assert!(shown.err.contains("file/home"), "{}", shown.err);
}
