//! The making of one stage as plain data.

use crate::workflow::stage_resources::StageResources;
use std::collections::BTreeMap;
use std::path::PathBuf;
use voxflow_cache::Recipe;
use voxflow_stages::{Input, Kind};

/// A stage to be made.
pub struct Job {
    /// The stage's number in the schedule.
    pub id: usize,
    /// The stage's id in the workflow.
    pub stage: String,
    /// Its kind.
    pub kind: &'static Kind,
    /// The recipe.
    pub recipe: Recipe,
    /// The parameters with their locators.
    pub params: serde_json::Value,
    /// The inputs by role.
    pub inputs: BTreeMap<String, Vec<Input>>,
    /// The device.
    pub device: String,
    /// Threads it may keep busy.
    pub threads: usize,
    /// Graphics cards it is to have.
    pub gpus: usize,
    /// Resources that the workflow names.
    pub asked: StageResources,
    /// Largest memory in bytes of the process that made the stage last.
    pub last_peak: Option<u64>,
    /// Processes that train together where it is a training: the cards that the workflow asks for.
    pub ranks: usize,
    /// Read every blob before it is reused.
    pub verify: bool,
    /// Log file for the worker's stderr.
    pub log: PathBuf,
}
