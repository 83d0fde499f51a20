//! The device that a person insists on: whether it can be used is asked before any work is done.

use crate::executor::child;
use std::process::{Command, Stdio};
use voxflow_stages::protocol::Probed;

/// The reason why a named CUDA device cannot be used. Of "auto" and "cpu" nothing is asked, and
/// what a worker of another build answers is left to its first task.
pub fn trouble(device: &str) -> Option<String> {
    if !device.starts_with("cuda") {
        return None;
    }
    let mut probe = Command::new(child::program());
    probe.args(["--device", device]).stdin(Stdio::null()).stderr(Stdio::null());
    let output = probe.output().ok()?;
    match serde_json::from_slice(&output.stdout).ok()? {
        Probed::Usable(_) => None,
        Probed::Unusable(words) => {
            Some(format!("{words}; '--device auto' takes the processor where there is no card"))
        }
    }
}
