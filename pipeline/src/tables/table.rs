//! A run's three tables as rows, and writing them.

use super::metrics::{self, MetricRow};
use super::params::{self, ParamRow};
use super::stages::{self, StageRow};
use std::path::Path;
use voxflow_stages::Result;

pub const METRICS: &str = "metrics.parquet";
pub const STAGES: &str = "stages.parquet";
pub const PARAMS: &str = "params.parquet";

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tables {
    pub metrics: Vec<MetricRow>,
    pub stages: Vec<StageRow>,
    /// Parsed parameters, one row per value.
    pub params: Vec<ParamRow>,
}

/// Writes all three tables, each replaced atomically.
pub fn write(run_dir: &Path, tables: &Tables) -> Result<()> {
    metrics::frame(&tables.metrics)?.write(&run_dir.join(METRICS))?;
    stages::frame(&tables.stages)?.write(&run_dir.join(STAGES))?;
    params::frame(&tables.params)?.write(&run_dir.join(PARAMS))
}
