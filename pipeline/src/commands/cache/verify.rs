//! `voxflow cache verify` and `voxflow cache rebuild`: both read the whole store and compare
//! contents with names; `verify` also checks runs' checksums and output links.

use super::store::{read_all, store, threads};
use crate::error::{Exit, Result};
use crate::globals::Globals;
use crate::{checksums, outputs, tables};
use clap::Args;
use std::sync::atomic::{AtomicU64, Ordering};
use voxflow_cache::parallel_map;

#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Files read concurrently; one per core by default
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
}

#[derive(Debug, Args)]
pub struct RebuildArgs {
    /// Files read concurrently; one per core by default
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
}

impl VerifyArgs {
    /// Lists damaged files on stdout; exit code 3 if any.
    pub fn run(&self, globals: &Globals) -> Result<Exit> {
        let home = globals.home();
        let store = store(&home)?;
        let (threads, runs) = (threads(self.threads), home.all_runs()?);
        let of_runs: u64 = runs.iter().map(|run| checksums::bytes_of(run.path())).sum();
        read_all(globals, |progress| {
            let of_store = AtomicU64::new(0);
            let mut bad = store.verify(threads, &|done, all| {
                of_store.store(all, Ordering::Relaxed);
                progress(done, all + of_runs);
            })?;
            let all = of_store.into_inner() + of_runs;
            let done = AtomicU64::new(all - of_runs);
            let found = parallel_map(threads, &runs, |run| {
                let bytes = checksums::bytes_of(run.path());
                let bad = checksums::verify(run.path(), |run| tables::rebuild(run).is_ok());
                progress(done.fetch_add(bytes, Ordering::Relaxed) + bytes, all);
                bad
            });
            found.into_iter().try_for_each(|found| found.map(|found| bad.extend(found)))?;
            let records: Vec<_> = runs.iter().filter_map(|run| run.record().ok()).collect();
            bad.extend(outputs::verify(&home, &records)?);
            Ok(bad)
        })
    }
}

impl RebuildArgs {
    /// Verifies into an empty index.
    pub fn run(&self, globals: &Globals) -> Result<Exit> {
        let store = store(&globals.home())?;
        read_all(globals, |progress| Ok(store.rebuild_index(threads(self.threads), progress)?))
    }
}
