//! Facts about a cluster job, for records, events and tables.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct JobFacts {
    pub cluster: String,
    pub host: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// Seconds from submission to start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_seconds: Option<f64>,
    /// Attempts, including the last.
    pub attempts: u64,
    /// Requested cores.
    pub cpus: u64,
    /// Requested memory in bytes.
    pub memory_bytes: u64,
    /// Requested graphics cards.
    pub gpus: u64,
}
