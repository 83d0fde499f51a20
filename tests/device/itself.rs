//! The pretend device itself.

use crate::lab::pretend_cuda;
use std::process::Command;

/// Runs one of the device's own programs, which prints a line for each thing it tried.
fn lines_of(program: &str) -> Option<Vec<String>> {
    let folder = pretend_cuda::folder()?;
    let done = Command::new(folder.join(program)).arg(folder).output().unwrap();
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{program}: {text}{}", String::from_utf8_lossy(&done.stderr));
    Some(text.lines().map(str::to_string).collect())
}

#[test]
fn the_pretend_device_computes_counts_and_keeps_order_as_a_device_does() {
    let Some(lines) = lines_of("selftest") else { return };
    assert!(lines.len() >= 30 && lines.iter().all(|line| line.starts_with("ok ")), "{lines:?}");
}

#[test]
fn every_deliberate_mistake_is_found() {
    let Some(lines) = lines_of("mistakes") else { return };
    assert!(lines.len() >= 20 && lines.iter().all(|line| line.starts_with("found ")), "{lines:?}");
}
