//! The three tables of a run as rows, and how they are written.

use super::metrics::{self, MetricRow};
use super::params::{self, ParamRow};
use super::stages::{self, StageRow};
use std::path::Path;
use voxflow_stages::Result;

/// The file of the metrics table in a run's folder.
pub const METRICS: &str = "metrics.parquet";
/// The file of the stages table.
pub const STAGES: &str = "stages.parquet";
/// The file of the parameters table.
pub const PARAMS: &str = "params.parquet";

/// The three tables of a run, as rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tables {
    /// Rows of metrics.
    pub metrics: Vec<MetricRow>,
    /// Rows of stages.
    pub stages: Vec<StageRow>,
    /// The parameters as understood, one row a value.
    pub params: Vec<ParamRow>,
}

/// Writes the three tables into a run's folder, each replaced at once.
pub fn write(run_dir: &Path, tables: &Tables) -> Result<()> {
    metrics::frame(&tables.metrics)?.write(&run_dir.join(METRICS))?;
    stages::frame(&tables.stages)?.write(&run_dir.join(STAGES))?;
    params::frame(&tables.params)?.write(&run_dir.join(PARAMS))
}
