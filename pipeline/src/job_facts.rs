//! The job of a cluster behind a stage, for records, events and tables.

use serde::{Deserialize, Serialize};

/// The job that made a stage.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct JobFacts {
    /// The cluster.
    pub cluster: String,
    /// The node.
    pub host: String,
    /// The job's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// Time from the submission to the beginning, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_seconds: Option<f64>,
    /// Attempts at the stage, the last included.
    pub attempts: u64,
    /// Cores that the job asked for.
    pub cpus: u64,
    /// Memory that it asked for, in bytes.
    pub memory_bytes: u64,
    /// Graphics cards that it asked for.
    pub gpus: u64,
}
