//! A program of the person's own, as a stage orders it, and its end as the host saw it.

use crate::container::Container;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// A program to be run.
#[derive(Clone, Debug)]
pub struct Program {
    /// The stage, and the case if it runs for each: the start of its lines in the log.
    pub name: String,
    /// The program and its arguments.
    pub words: Vec<String>,
    /// Its whole environment.
    pub environment: BTreeMap<String, String>,
    /// Its working folder.
    pub folder: PathBuf,
    /// The container in which it runs, if any.
    pub container: Option<Container>,
    /// Bounds at which it is ended.
    pub limits: ProgramLimits,
}

/// Bounds of a program, together with the processes that it starts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProgramLimits {
    /// Wall time, without time in which it was suspended.
    pub time: Option<Duration>,
    /// Resident memory in bytes; pages shared by several processes count once.
    pub memory: Option<u64>,
    /// Processes at once.
    pub processes: u64,
    /// Bytes of output.
    pub output: u64,
}

/// The end of a program. Nothing of it runs any more.
#[derive(Clone, Debug, PartialEq)]
pub struct ProgramEnd {
    /// The reason.
    pub ending: Ending,
    /// Resources that it took.
    pub usage: Usage,
    /// The last lines of its output.
    pub last_lines: Vec<String>,
    /// The file with its output.
    pub log: PathBuf,
}

/// Resources that a process took, or a program with all processes that it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// User plus system time.
    pub cpu_seconds: f64,
    /// Peak resident memory; of a program that of all its processes at once.
    pub peak_rss_bytes: u64,
    /// Bytes read from disks; what the system had in memory does not count.
    #[serde(default)]
    pub read_bytes: u64,
    /// Bytes written to disks.
    #[serde(default)]
    pub written_bytes: u64,
}

/// The reason of a program's end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// It ended by itself with this exit code.
    Exited(i32),
    /// A signal ended it.
    Signalled(i32),
    /// It could not be started, for this reason.
    NotStarted(String),
    /// It ended and left processes of these names, which were ended.
    LeftBehind(Vec<String>),
    /// It was ended at its limit of time.
    TimeLimit,
    /// It was ended at its limit of memory.
    MemoryLimit,
    /// It was ended at its limit of processes.
    ProcessLimit,
    /// It was ended at its limit of output.
    OutputLimit,
    /// It was asked to stop, and ended or was ended.
    Stopped,
}
