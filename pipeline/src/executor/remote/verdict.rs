//! Verdicts: results of attempts and items, as reported by nodes.

use crate::machine::Usage;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use voxflow_cache::{Blob, Recipe, SettledFile};
use voxflow_stages::Reply;

/// Reason for stopping early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// The job's time limit was near.
    Walltime,
    /// The job was asked to end.
    Asked,
    /// A later process took over the stage.
    Fenced,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "end", rename_all = "snake_case")]
pub enum End {
    /// The artifact is in `files/`.
    Made {
        /// Settled files.
        files: Vec<SettledFile>,
        /// Blobs adopted from the store, by name.
        adopted: BTreeMap<String, Blob>,
    },
    /// The shard's items are made.
    Shard,
    /// The stage itself failed.
    Failed {
        /// Error as reported by the worker.
        error: Reply,
    },
    /// Stopped; unfinished state is kept.
    Stopped {
        why: StopReason,
        /// True if this start made progress.
        has_moved: bool,
    },
}

/// A start's end with its circumstances.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    #[serde(flatten)]
    pub end: End,
    /// Length of `said.jsonl` covered by the verdict.
    pub said_bytes: u64,
    /// Wall time in seconds.
    pub seconds: f64,
    /// CPU time and memory.
    pub usage: Usage,
    pub host: String,
}

impl Verdict {
    /// True if the stage, or a shard's items, were made.
    pub fn is_good(&self) -> bool {
        matches!(self.end, End::Made { .. } | End::Shard)
    }
}

/// An item made on a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ItemMade {
    /// Display name.
    pub name: String,
    pub recipe: Recipe,
    /// Settled files.
    pub files: Vec<SettledFile>,
    /// Wall time in seconds.
    pub seconds: f64,
}
