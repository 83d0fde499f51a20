//! Items across a pipe: requests from a worker, which has no store, to the program that started it,
//! and the answers. A request is a line on the worker's stdout, an answer a line on its stdin.

use crate::record::Reply;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use voxflow_cache::{Artifact, Recipe};

/// A request of a worker. `id` is the worker's own number for the item, repeated by answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case")]
pub enum Request {
    /// Looks an item up by its recipe; the answer may be to make it.
    Recall {
        /// The item's number.
        id: u64,
        /// Its name for people.
        name: String,
        /// The recipe.
        recipe: Recipe,
    },
    /// The end of a making.
    Made {
        /// The item's number.
        id: u64,
        /// The failure, if it failed.
        failed: Option<Reply>,
    },
}

/// An answer to a worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum Answer {
    /// Not found: make it in this empty folder.
    Make {
        /// The item's number.
        id: u64,
        /// The folder.
        folder: PathBuf,
    },
    /// Here it is.
    Found {
        /// The item's number.
        id: u64,
        /// Its files.
        artifact: Artifact,
        /// Paths of the files, by name.
        paths: BTreeMap<String, PathBuf>,
    },
    /// It could not be had.
    Failed {
        /// The item's number.
        id: u64,
        /// The reason.
        reply: Reply,
    },
}

impl Answer {
    /// The item's number.
    pub fn id(&self) -> u64 {
        match self {
            Answer::Make { id, .. } | Answer::Found { id, .. } | Answer::Failed { id, .. } => *id,
        }
    }
}
