//! Checks an explicitly requested device before any work starts.

use crate::executor::child;
use std::process::Stdio;
use voxflow_stages::protocol::Probed;

/// Reason why a named CUDA device is unusable. Always `None` for "auto" and "cpu", and if the
/// worker's answer cannot be parsed: its first task then reports the mismatch.
pub fn trouble(device: &str) -> Option<String> {
    if !device.starts_with("cuda") {
        return None;
    }
    let mut probe = child::command().ok()?;
    probe.args(["--device", device]).stdin(Stdio::null()).stderr(Stdio::null());
    let output = probe.output().ok()?;
    match serde_json::from_slice(&output.stdout).ok()? {
        Probed::Usable(_) => None,
        Probed::Unusable(words) => {
            Some(format!("{words}; '--device auto' takes the processor where there is no card"))
        }
    }
}
