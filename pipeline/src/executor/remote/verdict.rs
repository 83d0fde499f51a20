//! Verdicts: results of attempts and items, as reported by nodes.

use crate::machine::Usage;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use voxflow_cache::{Blob, FileStat, Recipe, SettledFile};
use voxflow_stages::{Reply, Result};

/// A person's own file that a node read, with the stat that it had before and after.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FileRead {
    /// The absolute path.
    pub path: PathBuf,
    /// Its stat; `None` where no file was.
    pub stat: Option<FileStat>,
}

impl FileRead {
    /// The files as they are now.
    ///
    /// # Errors
    /// An input/output error.
    pub fn all(paths: impl IntoIterator<Item = PathBuf>) -> Result<Vec<FileRead>> {
        let read = paths.into_iter().map(|path| {
            let stat = FileStat::of_opened(&path)?;
            Ok(FileRead { path, stat })
        });
        read.collect()
    }

    /// The first file that is not as it was when it was read.
    ///
    /// # Errors
    /// An input/output error.
    pub fn changed(files: &[FileRead]) -> Result<Option<&Path>> {
        let now = FileRead::all(files.iter().map(|file| file.path.clone()))?;
        let changed = files.iter().zip(&now).find(|(then, now)| then != now);
        Ok(changed.map(|(file, _)| file.path.as_path()))
    }
}

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
    /// The person's own files that the stage itself read.
    pub read: Vec<FileRead>,
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
    /// The person's own files that it was made of.
    pub read: Vec<FileRead>,
}
