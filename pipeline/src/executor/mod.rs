//! Executors: the places where stages are made. A stage's thread holds the claim and the draft,
//! calls [`Executor::make`], and publishes the draft afterwards; the way in between is the
//! executor's own.
//!
//! [`here`] runs a kind in this process and [`child`] in a `voxflow-worker`; [`Local`] chooses
//! between the two by the kind. Another place (a cluster) is another implementation.

pub mod child;
mod child_items;
pub mod here;
mod local;
mod process_group;

pub use local::Local;

use crate::machine::Usage;
use crate::stop::Stop;
use std::path::{Path, PathBuf};
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
    fn make(&self, order: &Order, host: &dyn Host, stop: &Stop) -> Result<Finished>;
}

/// One stage to be made.
#[derive(Clone, Copy)]
pub struct Order<'a> {
    /// The kind.
    pub kind: &'static Kind,
    /// The work as plain data.
    pub task: &'a Task,
    /// A folder for files of the executor's own, made when it is asked for.
    pub workdir: &'a dyn Fn() -> Result<PathBuf>,
    /// Log file for the standard error of other processes.
    pub log: &'a Path,
    /// Graphics cards that the stage is to have; 0 for a stage on the processor.
    pub gpus: usize,
}

/// Facts about a stage that was made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Finished {
    /// Processor time and memory.
    pub usage: Usage,
}
