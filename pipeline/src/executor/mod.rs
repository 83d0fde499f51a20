//! Executors: the places where stages are made. A stage's thread holds the claim and the draft,
//! calls [`Executor::make`], and publishes the draft afterwards; the way in between is the
//! executor's own.
//!
//! [`here`] runs a kind in this process and [`child`] in a `voxflow-worker`; [`Local`] chooses
//! between the two by the kind. [`remote`] makes stages by the jobs of a cluster.

pub mod child;
mod child_items;
pub mod here;
mod local;
mod pid_file;
mod process_group;
pub mod remote;

pub use local::Local;

use crate::job_facts::JobFacts;
use crate::machine::Usage;
use crate::stop::Stop;
use crate::workflow::stage_resources::StageResources;
use std::path::{Path, PathBuf};
use voxflow_cache::{Recipe, SettledFile};
use voxflow_stages::{Host, Kind, Result, Task};

/// A place where stages are made.
pub trait Executor: Sync {
    /// Makes the files of a stage in the folder `order.task.draft`; blocks until they are whole.
    /// Called on the stage's own thread, under its claim. News go to `host`; items are recalled
    /// through it.
    ///
    /// # Errors
    /// [`Error::Stopped`](voxflow_stages::Error::Stopped) after a stop; any other error fails the
    /// stage.
    fn make(&self, order: &StageOrder, host: &dyn Host, stop: &Stop) -> Result<MadeFacts>;

    /// Removes what is left of a stage that has been published.
    fn tidy(&self, _recipe: &Recipe) {}

    /// True if items are made outside of this program and handed to `order.keep_item`.
    fn hands_items(&self) -> bool {
        false
    }
}

/// One stage to be made.
#[derive(Clone, Copy)]
pub struct StageOrder<'a> {
    /// The kind.
    pub kind: &'static Kind,
    /// The work as plain data.
    pub task: &'a Task,
    /// A folder for files of the executor's own, made when it is asked for.
    pub workdir: &'a (dyn Fn() -> Result<PathBuf> + Sync),
    /// Log file for the standard error of other processes.
    pub log: &'a Path,
    /// Graphics cards that the stage is to have; 0 for a stage on the processor.
    pub gpus: usize,
    /// Resources that the workflow names.
    pub asked: &'a StageResources,
    /// Keeps an item that was made and settled in a folder of the store's file system.
    pub keep_item: &'a (dyn Fn(&HandedItem) -> Result<()> + Sync),
}

/// An item that was made outside of this program.
#[derive(Clone, Debug)]
pub struct HandedItem {
    /// Its recipe.
    pub recipe: Recipe,
    /// The folder of its files.
    pub folder: PathBuf,
    /// Its files.
    pub files: Vec<SettledFile>,
    /// Wall time in seconds.
    pub seconds: f64,
}

/// Facts about a stage that was made.
#[derive(Clone, Debug)]
pub struct MadeFacts {
    /// Processor time and memory.
    pub usage: Usage,
    /// The files, where they are not in the draft.
    pub elsewhere: Option<MadeElsewhere>,
}

/// Files of a stage that was made by a job.
#[derive(Clone, Debug)]
pub struct MadeElsewhere {
    /// The folder of the files, on the store's file system.
    pub folder: PathBuf,
    /// The files.
    pub files: Vec<SettledFile>,
    /// Wall time of the making in seconds.
    pub seconds: f64,
    /// The job.
    pub job: JobFacts,
}
