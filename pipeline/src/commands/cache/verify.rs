//! `voxflow cache verify` and `voxflow cache rebuild`: every file of the store is read and
//! compared with its name, and `verify` compares the files of the runs with their seals.

use super::{read_all, store, threads};
use crate::cli::Globals;
use crate::exit::{Exit, Result};
use crate::seal;
use clap::Args;

/// How to read.
#[derive(Debug, Args)]
pub struct Verify {
    /// Files read at once; by default one for each core
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
}

/// How to read.
#[derive(Debug, Args)]
pub struct Rebuild {
    /// Files read at once; by default one for each core
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
}

impl Verify {
    /// Lists bad files on stdout. Exit code 3 if there are any.
    pub fn run(&self, globals: &Globals) -> Result<Exit> {
        let home = globals.home();
        let store = store(&home)?;
        read_all(globals, |progress| {
            let mut bad = store.verify(threads(self.threads), progress)?;
            for run in home.all_runs()? {
                bad.extend(seal::verify(run.path())?);
            }
            Ok(bad)
        })
    }
}

impl Rebuild {
    /// The same, into a new index.
    pub fn run(&self, globals: &Globals) -> Result<Exit> {
        let store = store(&globals.home())?;
        read_all(globals, |progress| Ok(store.rebuild_index(threads(self.threads), progress)?))
    }
}
