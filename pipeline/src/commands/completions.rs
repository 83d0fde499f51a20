//! `voxflow completions`: a completion script for a shell.

use crate::error::{Exit, Result};
use clap::{Args, Command};
use clap_complete::Shell;

/// The shell to write for.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    pub shell: Shell,
}

impl CompletionsArgs {
    /// Writes the script for the whole command line to stdout.
    pub fn run(&self, mut command: Command) -> Result<Exit> {
        clap_complete::generate(self.shell, &mut command, "voxflow", &mut std::io::stdout());
        Ok(Exit::Done)
    }
}
