//! The tables made again of what they are views of: the journal, and the parameters and the place
//! in a sweep in `run.json`.

use super::gathering::Gathering;
use super::params::ParamRow;
use super::sweeps::write_sweep;
use super::table::write;
use crate::checksums;
use crate::event::Event;
use crate::run::RunFolder;
use std::path::Path;
use voxflow_stages::{Error, Result};

/// Writes the tables of the run in `folder` anew. A line of the journal that cannot be read is left
/// out and said; a journal that is not the sealed one is not believed.
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

/// Makes the table `name` again if it is not the one that the run ended with.
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
