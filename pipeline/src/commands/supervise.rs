//! `voxflow supervise`: runs a program of the person's own and ends all that it started. Called by
//! this program, not by users.

use crate::error::{Exit, Result};
use crate::supervisor::{self, Bounds};
use clap::Args;
use std::time::Duration;

#[derive(Debug, Args)]
pub struct SuperviseArgs {
    /// Limit of wall time
    #[arg(long, value_name = "SECONDS")]
    pub seconds: Option<f64>,
    /// Limit of resident memory
    #[arg(long, value_name = "BYTES")]
    pub memory: Option<u64>,
    /// Limit of processes at once
    #[arg(long, value_name = "N")]
    pub processes: u64,
    /// The program and its arguments
    #[arg(last = true, required = true)]
    pub words: Vec<String>,
}

impl SuperviseArgs {
    pub fn run(&self) -> Result<Exit> {
        let time = self.seconds.map(Duration::try_from_secs_f64).transpose().unwrap_or(None);
        let bounds = Bounds { time, memory: self.memory, processes: self.processes };
        supervisor::run(&self.words, &bounds).map(|()| Exit::Done)
    }
}
