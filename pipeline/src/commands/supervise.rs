//! `voxflow supervise`: runs a program of the person's own and ends all that it started. Called by
//! this program, not by users.

use crate::containers::engine::ContainerEngine;
use crate::containers::kept::KeptContainer;
use crate::error::{Exit, Result};
use crate::supervisor::{self, Bounds, Surroundings};
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
    /// Engine of the container in which it runs, as NAME=PROGRAM
    #[arg(long, value_name = "ENGINE")]
    pub engine: Option<String>,
    /// Name of the container that the engine keeps
    #[arg(long, value_name = "NAME", requires = "engine")]
    pub container: Option<String>,
    /// The program and its arguments
    #[arg(last = true, required = true)]
    pub words: Vec<String>,
}

impl SuperviseArgs {
    pub fn run(&self) -> Result<Exit> {
        let time = self.seconds.map(Duration::try_from_secs_f64).transpose().unwrap_or(None);
        let bounds = Bounds { time, memory: self.memory, processes: self.processes };
        supervisor::run(&self.words, &bounds, &self.surroundings()).map(|()| Exit::Done)
    }

    fn surroundings(&self) -> Surroundings {
        let engine = self.engine.as_deref().and_then(ContainerEngine::read);
        let is_contained = engine.is_some();
        let kept = engine.zip(self.container.clone());
        let kept = kept.map(|(engine, name)| KeptContainer { engine, name });
        Surroundings { is_contained, kept }
    }
}
