//! A look around on a node: what `voxflow site check --try` asks a small job for.

use crate::executor::child;
use crate::executor::remote::files::Closed;
use crate::gpus::Gpus;
use crate::machine;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;
use voxflow_cache::{ByteLock, disk};
use voxflow_stages::protocol::Build;
use voxflow_stages::{Error, Result};

/// The file whose presence makes an attempt's folder a probe's.
pub const QUESTION: &str = "probe.json";
/// A file of which the asking program has locked a byte.
pub const LOCK: &str = "lock";
const ANSWER: &str = "probed.json";

/// The program that asks.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Question {
    /// Its build.
    pub sender: Build,
}

/// What a node has.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeFacts {
    /// The machine.
    pub host: String,
    /// The trouble with the program's build, if any.
    pub build: Option<String>,
    /// The version of libtorch that the worker has.
    pub libtorch: Option<String>,
    /// The trouble with the worker, if any.
    pub worker: Option<String>,
    /// Models of the graphics cards.
    pub gpus: Vec<String>,
    /// Seconds that the node's clock is ahead of the file system's.
    pub clock_ahead: f64,
    /// True if a lock of the asking program is seen.
    pub sees_locks: bool,
    /// Processor cores that the job may use.
    pub cores: usize,
}

impl NodeFacts {
    /// The answer in a folder, once it is there.
    pub fn read(folder: &Path) -> Option<NodeFacts> {
        Closed::read(&folder.join(ANSWER))
    }
}

/// Looks around and leaves an answer in the folder.
pub(super) fn answer(folder: &Path) -> Result<()> {
    let path = folder.join(QUESTION);
    let text = std::fs::read(&path).map_err(Error::io("read", &path))?;
    let question: Question = serde_json::from_slice(&text)
        .map_err(|error| Error::failed(format!("{}: {error}", path.display())))?;
    let (libtorch, worker) = match libtorch() {
        Ok(version) => (Some(version), None),
        Err(trouble) => (None, Some(trouble)),
    };
    let probed = NodeFacts {
        host: machine::host(),
        build: Build::own().difference(&question.sender),
        libtorch,
        worker,
        gpus: Gpus::of_device("auto").models(),
        clock_ahead: clock_ahead(folder)?,
        sees_locks: ByteLock::attempt(&folder.join(LOCK), 0)?.is_none(),
        cores: machine::cores(),
    };
    Closed::write(&folder.join(ANSWER), &probed)
}

/// The version of libtorch, or the trouble with the worker.
fn libtorch() -> std::result::Result<String, String> {
    if let Some(trouble) = child::trouble() {
        return Err(trouble);
    }
    let output = Command::new(child::program()).arg("--version").output();
    let output = output.map_err(|error| error.to_string())?;
    let version: Option<serde_json::Value> = serde_json::from_slice(&output.stdout).ok();
    let version = version.and_then(|said| said["libtorch"].as_str().map(str::to_string));
    version.ok_or_else(|| {
        let words = String::from_utf8_lossy(&output.stderr);
        let line = words.lines().next().unwrap_or("it says nothing");
        format!("the worker does not start: {line}")
    })
}

fn clock_ahead(folder: &Path) -> Result<f64> {
    let path = folder.join("clock");
    disk::write(&path, b"")?;
    let now = SystemTime::now();
    let there = path.metadata().and_then(|facts| facts.modified());
    let there = there.map_err(Error::io("look at", &path))?;
    Ok(match now.duration_since(there) {
        Ok(ahead) => ahead.as_secs_f64(),
        Err(behind) => -behind.duration().as_secs_f64(),
    })
}
