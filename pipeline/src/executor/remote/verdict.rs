//! The end of an attempt, and of an item: what a node hands back. It is closed by its own digest,
//! so that a file that another machine does not yet see whole is not believed.

use super::attempt::write_text;
use crate::machine::Usage;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use voxflow_cache::{Blob, Digest, Recipe, Settled};
use voxflow_stages::{Reply, Result, Trouble};

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
        files: Vec<Settled>,
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
    pub files: Vec<Settled>,
    /// Wall time in seconds.
    pub seconds: f64,
}

/// Files of one value in JSON, with its digest as the second line.
pub struct Closed;

impl Closed {
    /// Writes a value, whole or not at all.
    pub fn write<T: Serialize>(path: &Path, value: &T) -> Result<()> {
        let mut text = serde_json::to_vec(value).trouble_at(path)?;
        let digest = Digest::of(&text);
        text.extend(format!("\n{}\n", digest.to_hex()).bytes());
        write_text(path, &text)
    }

    /// Reads a value; `None` where the file is not there or not whole.
    pub fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
        let text = fs::read_to_string(path).ok()?;
        let (json, digest) = text.trim_end().rsplit_once('\n')?;
        (Digest::of(json.as_bytes()).to_hex() == digest).then(|| serde_json::from_str(json).ok())?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_that_is_not_whole_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("verdict.json");
        let end = End::Stopped { why: StopReason::Walltime, has_moved: true };
        let usage = Usage { cpu_seconds: 1.5, peak_rss_bytes: 7 };
        let verdict = Verdict { end, said_bytes: 3, seconds: 2.0, usage, host: "n1".into() };
        Closed::write(&path, &verdict).unwrap();
        assert_eq!(Closed::read::<Verdict>(&path), Some(verdict));
        let text = fs::read_to_string(&path).unwrap();
        for cut in 0..text.len() - 1 {
            fs::write(&path, &text[..cut]).unwrap();
            assert_eq!(Closed::read::<Verdict>(&path), None, "{cut} bytes");
        }
        fs::write(&path, text.replace("1.5", "1.6")).unwrap();
        assert_eq!(Closed::read::<Verdict>(&path), None);
    }
}
