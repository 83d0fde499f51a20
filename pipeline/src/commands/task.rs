//! `voxflow task`: the stage of an attempt, made on a node. Jobs call it; people need not.

use crate::error::{Exit, Result};
use crate::node;
use clap::Args;
use std::path::PathBuf;

/// The attempt.
#[derive(Debug, Args)]
pub struct TaskArgs {
    /// Folder of the attempt
    pub attempt: PathBuf,
}

impl TaskArgs {
    /// Makes the stage and leaves a verdict.
    pub fn run(&self) -> Result<Exit> {
        node::run(&self.attempt)
    }
}
