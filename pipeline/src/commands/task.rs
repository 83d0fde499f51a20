//! `voxflow task`: makes an attempt's stage on a cluster node. Called by jobs, not users.

use crate::error::{Exit, Result};
use crate::node;
use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct TaskArgs {
    /// Attempt folder
    pub attempt: PathBuf,
}

impl TaskArgs {
    pub fn run(&self) -> Result<Exit> {
        node::run(&self.attempt)
    }
}
