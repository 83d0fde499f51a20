//! `voxflow cache`: the store as a person keeps it in order.

pub mod gc;
pub mod size;
mod store;
pub mod verify;

use crate::error::{Exit, Result};
use crate::globals::Globals;
use clap::Subcommand;

/// Commands on the store.
#[derive(Debug, Subcommand)]
pub enum CacheCommand {
    /// Say what takes space, by kind, workflow and run, and what could go
    Size(size::SizeArgs),
    /// Read every file of the store and the runs and set aside what is damaged; the next run makes
    /// it again
    Verify(verify::VerifyArgs),
    /// Let go of what nobody needs any more; safe beside running experiments
    ///
    /// Without --max-size, --older-than or --keep-runs only what no entry names goes. Never goes:
    /// what a run in progress uses, what the newest run needs (or the newest N, by --keep-runs),
    /// and what an unfinished training needs. What went is made again when a run wants it. What
    /// runs of other homes need that share the store stays too, but with --older-than what was not
    /// used for so long, save by the newest run of each.
    Gc(gc::GcArgs),
    /// Make the index anew from the files, all of which are read
    Rebuild(verify::RebuildArgs),
}

impl CacheCommand {
    /// Runs the command.
    pub fn run(&self, globals: &Globals) -> Result<Exit> {
        match self {
            CacheCommand::Size(command) => command.run(globals),
            CacheCommand::Verify(command) => command.run(globals),
            CacheCommand::Gc(command) => command.run(globals),
            CacheCommand::Rebuild(command) => command.run(globals),
        }
    }
}
