//! The end of an attempt, and of an item, as a node hands it back.

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
    /// The person's own files that the stage itself read.
    pub read: Vec<FileRead>,
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
    /// The person's own files that it was made of.
    pub read: Vec<FileRead>,
}
