//! `voxflow completions`: a completion script for a shell.

use crate::cli::Cli;
use crate::exit::{Exit, Result};
use clap::{Args, CommandFactory};
use clap_complete::Shell;

/// The shell to write for.
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell
    pub shell: Shell,
}

impl Completions {
    /// Writes the script to stdout.
    pub fn run(&self) -> Result<Exit> {
        clap_complete::generate(self.shell, &mut Cli::command(), "voxflow", &mut std::io::stdout());
        Ok(Exit::Done)
    }
}
