//! `voxflow cache size`: disk usage and removable entries.

use super::store::reading;
use crate::commands::answer;
use crate::console::terminal_width;
use crate::error::{Exit, Result};
use crate::globals::Globals;
use crate::home::Home;
use crate::runs::{self, StoredRun};
use crate::store_homes;
use crate::text_table::{Cell, TableFormat, TextTable};
use clap::Args;
use std::collections::BTreeMap;
use voxflow_cache::{FileCount, Fingerprint, Share, StoreSize};

#[derive(Debug, Args)]
pub struct SizeArgs {
    /// Show at most this many runs, newest first; 0 shows all
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20)]
    pub limit: usize,
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    pub format: TableFormat,
}

impl SizeArgs {
    /// Prints a table to stdout.
    pub fn run(&self, globals: &Globals) -> Result<Exit> {
        let home = globals.home();
        let store = reading(&home)?;
        let (runs, troubles) = runs::all(&home)?;
        troubles.iter().for_each(crate::commands::complain);
        let mut sheet = TextTable::new("", ["of", "name", "files", "bytes", "needed by no other"]);
        let (size, all) = (store.size()?, store.shares()?);
        kinds(&size, &mut sheet);
        let workflows = by_workflow(&runs);
        let (shares, _) = all.among(&workflows.values().cloned().collect::<Vec<_>>());
        workflows
            .keys()
            .zip(shares)
            .for_each(|(name, share)| sheet.push(needing("workflow", name, share)));
        let others = others(&home);
        let groups = runs.iter().map(needs).chain(others.iter().map(|(_, needs)| needs.clone()));
        let (shares, of_no_run) = all.among(&groups.collect::<Vec<_>>());
        for ((name, _), share) in others.iter().zip(&shares[runs.len()..]) {
            sheet.push(needing("other home", name, *share));
        }
        let limit = if self.limit == 0 { usize::MAX } else { self.limit };
        for (run, share) in runs.iter().zip(shares).rev().take(limit) {
            sheet.push(needing("run", &run.record.run, share));
        }
        rest(&size, of_no_run, &mut sheet);
        answer(&sheet.write(self.format, terminal_width()))?;
        Ok(Exit::Done)
    }
}

/// Fingerprints needed by other homes sharing the store, as far as known.
fn others(home: &Home) -> Vec<(String, Vec<Fingerprint>)> {
    let others = store_homes::others(home, false).unwrap_or_else(|error| {
        crate::commands::complain(&error);
        vec![]
    });
    others
        .into_iter()
        .map(|other| {
            let runs = other.home.as_ref().and_then(|home| runs::all(home).ok());
            let listed = other.listed.into_iter().flatten().collect();
            let needs = runs.map_or(listed, |(runs, _)| runs.iter().flat_map(needs).collect());
            (other.name, needs)
        })
        .collect()
}

/// Bytes in the store that only the runs `own` need, of this and other homes' runs; 0 without a
/// store.
pub fn needed_by_none_but(home: &Home, own: &[StoredRun], rest: &[StoredRun]) -> Result<u64> {
    if !home.store().is_dir() {
        return Ok(0);
    }
    let elsewhere = others(home).into_iter().map(|(_, needs)| needs);
    let here = [own, rest].map(|runs| runs.iter().flat_map(needs).collect());
    let groups: Vec<Vec<Fingerprint>> = here.into_iter().chain(elsewhere).collect();
    let (shares, _) = reading(home)?.shares()?.among(&groups);
    Ok(shares.first().map_or(0, |share| share.alone))
}

/// Fingerprints of a run's stages.
pub(super) fn needs(run: &StoredRun) -> Vec<Fingerprint> {
    let earlier = run.record.earlier.iter().filter_map(|earlier| earlier.fingerprint);
    run.record.stages.iter().filter_map(|stage| stage.fingerprint).chain(earlier).collect()
}

fn by_workflow(runs: &[StoredRun]) -> BTreeMap<String, Vec<Fingerprint>> {
    let mut workflows: BTreeMap<String, Vec<Fingerprint>> = BTreeMap::new();
    for run in runs {
        workflows.entry(run.record.workflow.clone()).or_default().extend(needs(run));
    }
    workflows
}

fn kinds(all: &StoreSize, sheet: &mut TextTable) {
    for (kind, size) in &all.kinds {
        sheet.push(counted("kind", kind, size.kept));
        if size.checkpoints.files > 0 {
            let name = format!("{kind}, of these kept states");
            sheet.push(counted("kind", &name, size.checkpoints));
        }
        if size.referenced.files > 0 {
            sheet.push(counted("kind", &format!("{kind}, outside the store"), size.referenced));
        }
    }
}

/// Rows for unneeded, unfinished and damaged files, and store totals.
fn rest(size: &StoreSize, of_no_run: u64, sheet: &mut TextTable) {
    sheet.push(needing("could go", "of no run", Share { bytes: of_no_run, alone: of_no_run }));
    sheet.push(counted("could go", "named by no entry", size.unnamed));
    sheet.push(counted("could go", "set aside as damaged", size.bad));
    sheet.push(counted("unfinished", "checkpoints", size.unfinished));
    sheet.push(counted("unfinished", "drafts", size.drafts));
    sheet.push(counted("store", "entries", size.entries));
    sheet.push(counted("store", "index", size.index));
    sheet.push(counted("store", "all blobs", size.blobs));
}

fn counted(of: &str, name: &str, count: FileCount) -> Vec<Cell> {
    vec![
        Cell::text(of),
        Cell::text(name),
        Cell::Count(count.files),
        Cell::Bytes(count.bytes),
        Cell::Empty,
    ]
}

fn needing(of: &str, name: &str, share: Share) -> Vec<Cell> {
    vec![
        Cell::text(of),
        Cell::text(name),
        Cell::Empty,
        Cell::Bytes(share.bytes),
        Cell::Bytes(share.alone),
    ]
}
