//! Reads the tables of a run. A damaged table is made again of the journal first.

use super::frame::Frame;
use super::metrics::{self, MetricRow};
use super::rebuild::mend;
use super::table::{METRICS, PARAMS, STAGES, Tables};
use super::{params, stages};
use std::path::Path;
use voxflow_stages::Result;

/// Reads the three tables of a run's folder. A table that is not there is empty; a column that is
/// not there (an older run) is null.
pub fn read(run_dir: &Path) -> Result<Tables> {
    [STAGES, PARAMS].iter().try_for_each(|name| mend(run_dir, name))?;
    Ok(Tables {
        metrics: read_metrics(run_dir)?,
        stages: stages::rows(&Frame::read(&run_dir.join(STAGES))?)?,
        params: params::rows(&Frame::read(&run_dir.join(PARAMS))?)?,
    })
}

/// Reads the metrics table alone.
pub fn read_metrics(run_dir: &Path) -> Result<Vec<MetricRow>> {
    mend(run_dir, METRICS)?;
    metrics::rows(&Frame::read(&run_dir.join(METRICS))?)
}
