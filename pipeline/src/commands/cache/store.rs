//! Opening and reading the store for maintenance commands.

use crate::commands::{answer, tell};
use crate::console::Meter;
use crate::error::{Error, Exit, Result};
use crate::globals::Globals;
use crate::home::Home;
use crate::{humanize, machine};
use std::collections::BTreeSet;
use voxflow_cache::{DamagedFile, Store};

/// Opens an existing store; maintenance never creates one.
pub(super) fn store(home: &Home) -> Result<Store> {
    check_there(home)?;
    Ok(Store::open(home.store())?)
}

/// Opens an existing store for reading.
pub(super) fn reading(home: &Home) -> Result<Store> {
    check_there(home)?;
    Ok(Store::read_only(home.store())?)
}

fn check_there(home: &Home) -> Result<()> {
    if home.store().is_dir() {
        return Ok(());
    }
    let place = home.store().display();
    Err(Error::usage(format!("no store in '{place}' yet: 'voxflow run WORKFLOW' makes one")))
}

/// Runs `read` with a progress bar and lists damaged files.
pub(super) fn read_all(
    globals: &Globals,
    read: impl FnOnce(&ProgressFn) -> Result<Vec<DamagedFile>>,
) -> Result<Exit> {
    let meter = Meter::stderr(globals.quiet);
    let total = std::sync::atomic::AtomicU64::new(0);
    let bad = read(&|done, all| {
        total.store(all, std::sync::atomic::Ordering::Relaxed);
        meter.at(done, all);
    })?;
    drop(meter);
    let lines: BTreeSet<String> =
        bad.iter().map(|bad| format!("{}: {}\n", bad.path.display(), bad.trouble)).collect();
    answer(&lines.into_iter().collect::<String>())?;
    let read = humanize::bytes(total.into_inner());
    let found = match bad.len() {
        0 => "nothing is damaged".to_string(),
        count => {
            format!(
                "{} set aside or made again; the next run makes what else it needs",
                humanize::count(count as u64, "bad file")
            )
        }
    };
    if !globals.quiet {
        tell(&format!("{read} read: {found}"));
    }
    Ok(if bad.is_empty() { Exit::Done } else { Exit::Storage })
}

type ProgressFn<'a> = dyn Fn(u64, u64) + Sync + 'a;

/// Requested threads, or one per core.
pub(super) fn threads(asked: Option<u16>) -> usize {
    asked.map_or_else(machine::cores, usize::from)
}
