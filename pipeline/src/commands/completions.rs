//! `voxflow completions`: shell completion scripts.

use crate::error::{Exit, Result};
use clap::{Args, Command};
use clap_complete::Shell;

#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// Shell to write for
    pub shell: Shell,
}

impl CompletionsArgs {
    /// Writes the completion script to stdout.
    pub fn run(&self, mut command: Command) -> Result<Exit> {
        clap_complete::generate(self.shell, &mut command, "voxflow", &mut std::io::stdout());
        Ok(Exit::Done)
    }
}
