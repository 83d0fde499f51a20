//! A stage to be made, as plain data.

use crate::workflow::stage_resources::StageResources;
use std::collections::BTreeMap;
use std::path::PathBuf;
use voxflow_cache::Recipe;
use voxflow_stages::{Input, Kind};

pub struct Job {
    /// Index in the schedule.
    pub id: usize,
    /// Stage id in the workflow.
    pub stage: String,
    pub kind: &'static Kind,
    pub recipe: Recipe,
    /// Parameters including locators.
    pub params: serde_json::Value,
    /// Inputs by role.
    pub inputs: BTreeMap<String, Vec<Input>>,
    pub device: String,
    /// Thread limit.
    pub threads: usize,
    /// Graphics cards to reserve.
    pub gpus: usize,
    /// Resources requested by the workflow.
    pub asked: StageResources,
    /// Peak memory in bytes of the process that made the stage last.
    pub last_peak: Option<u64>,
    /// Number of training processes (ranks), equal to the requested graphics cards.
    pub ranks: usize,
    /// Read every blob before reuse.
    pub verify: bool,
    /// Log file for the worker's stderr.
    pub log: PathBuf,
}
