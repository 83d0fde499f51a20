//! Reads a run's tables, rebuilding damaged ones first.

use super::frame::Frame;
use super::metrics::{self, MetricRow};
use super::rebuild::mend;
use super::table::{METRICS, PARAMS, STAGES, Tables};
use super::{params, score_at_time, spread, stages};
use std::path::Path;
use voxflow_stages::Result;

/// Reads the three tables. Missing tables are empty; missing columns (older runs) are null.
pub fn read(run_dir: &Path) -> Result<Tables> {
    [STAGES, PARAMS].iter().try_for_each(|name| mend(run_dir, name))?;
    Ok(Tables {
        metrics: read_metrics(run_dir)?,
        stages: stages::rows(&Frame::read(&run_dir.join(STAGES))?)?,
        params: params::rows(&Frame::read(&run_dir.join(PARAMS))?)?,
    })
}

/// Reads only the metrics table, with the spread of scores over cases and the scores at
/// times of training (older runs lack them).
pub fn read_metrics(run_dir: &Path) -> Result<Vec<MetricRow>> {
    mend(run_dir, METRICS)?;
    let mut rows = metrics::rows(&Frame::read(&run_dir.join(METRICS))?)?;
    spread::add(&mut rows, None);
    score_at_time::add(&mut rows, None);
    Ok(rows)
}
