//! Sweep table: a run's variant, one row per swept value.

use super::frame::{Columns, Frame};
use crate::humanize;
use crate::run::Sweep;
use std::path::Path;
use voxflow_stages::Result;

/// File name in a sweep run's folder.
pub const SWEEP: &str = "sweep.parquet";

/// Writes the table; it never changes afterwards.
pub fn write_sweep(run_dir: &Path, run_id: &str, sweep: &Sweep) -> Result<()> {
    frame(run_id, sweep)?.write(&run_dir.join(SWEEP))
}

pub(super) fn frame(run_id: &str, sweep: &Sweep) -> Result<Frame> {
    let paths = || sweep.values.keys();
    let values: Vec<String> = sweep.values.values().map(humanize::value).collect();
    let variant = u32::try_from(sweep.variant).unwrap_or(u32::MAX);
    Columns::default()
        .text("run_id", paths().map(|_| Some(run_id)))
        .text("sweep_id", paths().map(|_| Some(sweep.id.as_str())))
        .small("variant", paths().map(|_| Some(variant)))
        .text("path", paths().map(|path| Some(path.as_str())))
        .text("value", values.iter().map(|value| Some(value.as_str())))
        .flag("repeats", paths().map(|path| sweep.repeats.contains(path)))
        .flag("chosen", paths().map(|_| sweep.chosen))
        .frame()
}
