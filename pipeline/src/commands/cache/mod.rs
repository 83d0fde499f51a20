//! `voxflow cache`: store maintenance.

pub mod gc;
pub mod size;
mod store;
pub mod verify;

use crate::error::{Exit, Result};
use crate::globals::Globals;
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub enum CacheCommand {
    /// Show disk usage by kind, workflow and run, and removable entries
    Size(size::SizeArgs),
    /// Read every file in the store and the runs and set damaged files aside; the next run makes
    /// them again
    Verify(verify::VerifyArgs),
    /// Remove unneeded entries; safe beside running experiments
    ///
    /// Without --max-size, --older-than or --keep-runs, only blobs without entries are removed.
    /// Always kept: entries used by a run in progress, needed by the newest run (or the newest N,
    /// with --keep-runs), by a tagged run, or by an unfinished training. Removed artifacts are made
    /// again when a run needs them. Entries needed by runs in other homes sharing the store are
    /// kept too;
    /// --older-than removes them if unused, except those needed by each home's newest run.
    Gc(gc::GcArgs),
    /// Rebuild the index by reading all files
    Rebuild(verify::RebuildArgs),
}

impl CacheCommand {
    pub fn run(&self, globals: &Globals) -> Result<Exit> {
        match self {
            CacheCommand::Size(command) => command.run(globals),
            CacheCommand::Verify(command) => command.run(globals),
            CacheCommand::Gc(command) => command.run(globals),
            CacheCommand::Rebuild(command) => command.run(globals),
        }
    }
}
