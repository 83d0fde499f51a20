//! Rebuilds tables from the journal and `run.json`.

use super::gathering::Gathering;
use super::params::ParamRow;
use super::sweeps::write_sweep;
use super::table::write;
use crate::checksums;
use crate::event::Event;
use crate::run::RunFolder;
use std::path::Path;
use voxflow_stages::{Error, Result};

/// Rebuilds a run's tables. Unreadable journal lines are skipped with a warning; a journal failing
/// its checksum is an error.
pub fn rebuild(folder: &Path) -> Result<()> {
    const JOURNAL: &str = "events.jsonl";
    let path = folder.join(JOURNAL);
    let journal = std::fs::read(&path).map_err(Error::io("read", &path))?;
    if !checksums::holds(folder, JOURNAL, &journal) {
        return Err(Error::failed(checksums::damaged(folder, JOURNAL)));
    }
    let record = RunFolder::at(folder.to_path_buf())
        .record()
        .map_err(|error| Error::failed(error.to_string()))?;
    let mut gathering = Gathering::default();
    let mut torn = 0;
    for line in journal.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        match serde_json::from_slice::<Event>(line) {
            Ok(event) => gathering.take(&event),
            Err(_) => torn += 1,
        }
    }
    if torn > 0 {
        tracing::warn!("{}: {torn} torn lines are left out", path.display());
    }
    let params = record
        .stages
        .iter()
        .flat_map(|stage| ParamRow::flatten(&record.run, &stage.stage, &stage.params));
    gathering.tables.params = params.collect();
    if let Some(sweep) = &record.sweep {
        write_sweep(folder, &record.run, sweep)?;
    }
    write(folder, &gathering.tables)
}

/// Rebuilds the table `name` if its checksum differs.
pub(super) fn mend(folder: &Path, name: &str) -> Result<()> {
    let whole =
        checksums::is_whole(folder, name).map_err(|error| Error::failed(error.to_string()))?;
    if whole {
        return Ok(());
    }
    let words = checksums::damaged(folder, name);
    rebuild(folder)
        .map_err(|error| Error::failed(format!("{words}, and cannot be made again: {error}")))?;
    tracing::warn!("{words}; made again of the journal");
    Ok(())
}
