//! Node probe for `voxflow site check --try`.

use crate::executor::child;
use crate::executor::remote::files::Closed;
use crate::gpus::Gpus;
use crate::machine;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::SystemTime;
use voxflow_cache::{ByteLock, disk};
use voxflow_stages::protocol::Build;
use voxflow_stages::{Error, Result};

/// File marking an attempt folder as a probe.
pub const QUESTION: &str = "probe.json";
/// File in which the asking program holds a lock.
pub const LOCK: &str = "lock";
const ANSWER: &str = "probed.json";

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Question {
    /// Build of the asking program.
    pub sender: Build,
}

/// A node's equipment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeFacts {
    pub host: String,
    /// Build mismatch, if any.
    pub build: Option<String>,
    /// The worker's libtorch version.
    pub libtorch: Option<String>,
    /// Trouble with the worker, if any.
    pub worker: Option<String>,
    /// Graphics card models.
    pub gpus: Vec<String>,
    /// Seconds the node's clock is ahead of the file system's.
    pub clock_ahead: f64,
    /// True if the asking program's lock is visible.
    pub sees_locks: bool,
    /// CPU cores available to the job.
    pub cores: usize,
}

impl NodeFacts {
    /// The answer in a folder, if present.
    pub fn read(folder: &Path) -> Option<NodeFacts> {
        Closed::read(&folder.join(ANSWER))
    }
}

/// Examines the node and writes the answer.
pub(super) fn answer(folder: &Path) -> Result<()> {
    let path = folder.join(QUESTION);
    let text = std::fs::read(&path).map_err(Error::io("read", &path))?;
    let question: Question = serde_json::from_slice(&text)
        .map_err(|error| Error::failed(format!("{}: {error}", path.display())))?;
    let (libtorch, worker) = match child::libtorch_version() {
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
