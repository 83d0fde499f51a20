//! `voxflow cache`: the store as a person keeps it in order.

pub mod gc;
pub mod size;
pub mod verify;

use crate::console::Meter;
use crate::exit::{Error, Exit, Result};
use crate::globals::Globals;
use crate::home::Home;
use crate::{machine, words};
use clap::Subcommand;
use std::collections::BTreeSet;
use voxflow_cache::{Bad, Store};

/// What to do with the store.
#[derive(Debug, Subcommand)]
pub enum Cache {
    /// Say what takes space, by kind, workflow and run, and what could go
    Size(size::Size),
    /// Read every file of the store and the runs and set aside what is damaged; the next run makes
    /// it again
    Verify(verify::Verify),
    /// Let go of what nobody needs any more; safe beside running experiments
    ///
    /// Without --max-size, --older-than or --keep-runs only what no entry names goes. Never goes:
    /// what a run in progress uses, what the newest run needs (or the newest N, by --keep-runs),
    /// and what an unfinished training needs. What went is made again when a run wants it. Runs of
    /// other homes that share the store count by when they last used something.
    Gc(gc::Gc),
    /// Make the index anew from the files, all of which are read
    Rebuild(verify::Rebuild),
}

impl Cache {
    /// Runs the command.
    pub fn run(&self, globals: &Globals) -> Result<Exit> {
        match self {
            Cache::Size(command) => command.run(globals),
            Cache::Verify(command) => command.run(globals),
            Cache::Gc(command) => command.run(globals),
            Cache::Rebuild(command) => command.run(globals),
        }
    }
}

/// The store of a home. None is made for a command that only keeps it in order.
fn store(home: &Home) -> Result<Store> {
    if !home.store().is_dir() {
        let place = home.store().display();
        return Err(Error::usage(format!(
            "no store in '{place}' yet: 'voxflow run WORKFLOW' makes one"
        )));
    }
    Ok(Store::open(home.store())?)
}

/// Reads all files of the store by `read`, with a bar, and lists the bad ones.
fn read_all(globals: &Globals, read: impl FnOnce(&Progress) -> Result<Vec<Bad>>) -> Result<Exit> {
    let meter = Meter::stderr(globals.quiet);
    let total = std::sync::atomic::AtomicU64::new(0);
    let bad = read(&|done, all| {
        total.store(all, std::sync::atomic::Ordering::Relaxed);
        meter.at(done, all);
    })?;
    drop(meter);
    let lines: BTreeSet<String> =
        bad.iter().map(|bad| format!("{}: {}\n", bad.path.display(), bad.trouble)).collect();
    super::answer(&lines.into_iter().collect::<String>())?;
    let read = words::bytes(total.into_inner());
    let found = match bad.len() {
        0 => "nothing is damaged".to_string(),
        count => {
            format!(
                "{} set aside or made again; the next run makes what else it needs",
                words::count(count as u64, "bad file")
            )
        }
    };
    if !globals.quiet {
        super::tell(&format!("{read} read: {found}"));
    }
    Ok(if bad.is_empty() { Exit::Done } else { Exit::Storage })
}

type Progress<'a> = dyn Fn(u64, u64) + Sync + 'a;

/// Threads for reading: as many as asked for, or the machine's.
fn threads(asked: Option<u16>) -> usize {
    asked.map_or_else(machine::cores, usize::from)
}
