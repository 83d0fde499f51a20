//! Files that people and servers should never send, through the program: each gets one clear error
//! that names the file or the case, in little time and memory, and nothing worse.

mod archives;
mod downloads;
mod images;
#[path = "../lab/mod.rs"]
mod lab;
mod listings;
mod workflows;

use lab::watch::watch;
use lab::{Lab, Shown};

/// The most memory that refusing something may take: the libraries' own, and a little.
const MOST_MEMORY: u64 = 400 << 20;

/// Runs a workflow's bytes and returns what was said, which must be no panic and take little
/// memory.
fn run(lab: &Lab, what: &str, workflow: &[u8]) -> Shown {
    std::fs::write(lab.path("workflow.yaml"), workflow).unwrap();
    let watched = watch(lab.command(&["run", "workflow.yaml", "--threads", "1"]));
    let Shown { code, err, .. } = &watched.shown;
    assert!((0..=3).contains(code), "{what}: ended with {code}: {err}");
    assert!(!err.contains("panic"), "{what}: {err}");
    assert!(watched.peak_bytes < MOST_MEMORY, "{what}: took {} MB", watched.peak_bytes >> 20);
    watched.shown
}

/// Asserts that a workflow's bytes are refused, before or in the work, with these words in one
/// error.
#[track_caller]
fn refused(lab: &Lab, what: &str, workflow: &[u8], words: &[&str]) {
    let shown = run(lab, what, workflow);
    assert!([1, 2].contains(&shown.code), "{what}: ended with {}: {}", shown.code, shown.err);
    for word in words {
        assert!(shown.err.contains(word), "{what}: '{word}' is missing in:\n{}", shown.err);
    }
}

/// Asserts that it does no harm: the run ends well, with these words on the way.
#[track_caller]
fn harmless(lab: &Lab, what: &str, workflow: &[u8], words: &[&str]) {
    let shown = run(lab, what, workflow);
    assert_eq!(shown.code, 0, "{what}: {}", shown.err);
    for word in words {
        assert!(shown.err.contains(word), "{what}: '{word}' is missing in:\n{}", shown.err);
    }
}
