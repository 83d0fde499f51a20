//! Executors: ways to make a stage. The stage's thread holds claim and draft, calls
//! [`Executor::make`], then publishes the draft.
//!
//! [`here`] runs a kind in this process and [`child`] in a `voxflow-worker`; [`Local`] chooses by
//! kind. [`remote`] submits cluster jobs. `program` runs a program that a stage orders.

pub mod child;
mod child_items;
pub mod here;
mod local;
mod output_log;
pub(crate) mod pid_file;
pub(crate) mod process_group;
pub(crate) mod program;
mod programs_usage;
pub mod remote;

pub use local::Local;
pub use programs_usage::ProgramsUsage;

use crate::job_facts::JobFacts;
use crate::machine::Usage;
use crate::stop::Stop;
use crate::workflow::stage_resources::StageResources;
use remote::verdict::FileRead;
use std::path::{Path, PathBuf};
use voxflow_cache::{Recipe, SettledFile};
use voxflow_stages::{Host, Kind, Result, Task};

pub trait Executor: Sync {
    /// Makes the stage's files in `order.task.draft`, blocking until complete. Called on the
    /// stage's own thread under its claim. Messages and item recalls go through `host`.
    ///
    /// # Errors
    /// [`Error::Stopped`](voxflow_stages::Error::Stopped) after a stop; any other error fails the
    /// stage.
    fn make(&self, order: &StageOrder, host: &dyn Host, stop: &Stop) -> Result<MadeFacts>;

    /// Removes leftovers after publishing.
    fn tidy(&self, _recipe: &Recipe) {}
}

/// A stage to be made.
#[derive(Clone, Copy)]
pub struct StageOrder<'a> {
    pub kind: &'static Kind,
    /// Serialisable description for a worker or job.
    pub task: &'a Task,
    /// Creates a folder for the executor's own files on demand.
    pub workdir: &'a (dyn Fn() -> Result<PathBuf> + Sync),
    /// Log file for other processes' stderr.
    pub log: &'a Path,
    /// Graphics cards to reserve; 0 for CPU stages.
    pub gpus: usize,
    /// Resources requested by the workflow.
    pub asked: &'a StageResources,
    /// Peak memory in bytes of the process that made the stage last.
    pub last_peak: Option<u64>,
    /// Resources taken by programs that the stage runs.
    pub programs: &'a ProgramsUsage,
    /// Publishes an item settled in a folder on the store's file system.
    pub keep_item: &'a (dyn Fn(&HandedItem) -> Result<()> + Sync),
}

/// An item made outside this program.
#[derive(Clone, Debug)]
pub struct HandedItem {
    pub recipe: Recipe,
    pub folder: PathBuf,
    pub files: Vec<SettledFile>,
    /// Wall time in seconds.
    pub seconds: f64,
    /// The person's own files that it was made of, as they were.
    pub read: Vec<FileRead>,
}

/// Result of [`Executor::make`].
#[derive(Clone, Debug)]
pub struct MadeFacts {
    /// CPU time, memory, input and output.
    pub usage: Usage,
    /// Set if the files are not in the draft.
    pub elsewhere: Option<MadeElsewhere>,
}

/// Files made by a cluster job.
#[derive(Clone, Debug)]
pub struct MadeElsewhere {
    /// Folder on the store's file system.
    pub folder: PathBuf,
    pub files: Vec<SettledFile>,
    /// Wall time in seconds.
    pub seconds: f64,
    pub job: JobFacts,
}
