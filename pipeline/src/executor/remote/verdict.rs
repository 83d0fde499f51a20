//! The end of an attempt, and of an item, as a node hands it back.

use crate::machine::Usage;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use voxflow_cache::{Blob, Recipe, SettledFile};
use voxflow_stages::Reply;

/// Reason of a node to stop early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// The time of its job was nearly over.
    Walltime,
    /// Somebody ended the job.
    Asked,
    /// Another process began on the same stage later.
    Fenced,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "end", rename_all = "snake_case")]
pub enum End {
    /// The artifact is in `files/`.
    Made {
        /// Its files, safe on the disk.
        files: Vec<SettledFile>,
        /// Blobs of the store that belong to it, by name.
        adopted: BTreeMap<String, Blob>,
    },
    /// The items of its shard are made.
    Shard,
    /// The stage failed by itself.
    Failed {
        /// The error as a worker tells it.
        error: Reply,
    },
    /// It stopped with its unfinished state kept.
    Stopped {
        /// The reason.
        why: StopReason,
        /// True if this start got further than those before it.
        has_moved: bool,
    },
}

/// The end of a start, with its circumstances.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The end.
    #[serde(flatten)]
    pub end: End,
    /// Bytes of `said.jsonl` that belong to it.
    pub said_bytes: u64,
    /// Wall time in seconds.
    pub seconds: f64,
    /// Processor time and memory.
    pub usage: Usage,
    /// The machine.
    pub host: String,
}

impl Verdict {
    /// True if the stage, or the items of a shard, were made.
    pub fn is_good(&self) -> bool {
        matches!(self.end, End::Made { .. } | End::Shard)
    }
}

/// An item that a node has made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ItemMade {
    /// Its name for people.
    pub name: String,
    /// Its recipe.
    pub recipe: Recipe,
    /// Its files, safe on the disk.
    pub files: Vec<SettledFile>,
    /// Wall time in seconds.
    pub seconds: f64,
}
