//! A run: a folder recording one execution, and its record `run.json`.
//!
//! Its other files are written by `journal`, `tables` and `outputs`.

use crate::checksums;
use crate::error::{Error, Result};
use crate::liveness::{self, Liveness};
use crate::outcome::{Outcome, RunOutcome};
use crate::{humanize, machine};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use time::{OffsetDateTime, macros::format_description};
use voxflow_cache::{Artifact, Digest, Fingerprint, Recipe, disk};

/// `<home>/runs/<time>-<workflow>-<short id>/`.
#[derive(Clone, Debug, PartialEq)]
pub struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    pub fn at(path: PathBuf) -> RunFolder {
        RunFolder { path }
    }

    /// Creates a new run's folder exclusively; its name starts with the UTC time.
    pub fn create(runs: &Path, workflow: &str) -> Result<RunFolder> {
        let name: String = workflow
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .take(40)
            .collect();
        for attempt in 0u32..100 {
            let path = runs.join(format!("{}-{name}-{}", timestamp(), short_id(attempt)));
            if disk::create_folder(&path)? {
                return Ok(RunFolder { path });
            }
        }
        Err(Error::Storage(format!("{}: no free name for a run; remove old runs", runs.display())))
    }

    /// Run id, equal to the folder's name.
    pub fn id(&self) -> String {
        self.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Home containing this run's `runs/` folder.
    pub fn home(&self) -> &Path {
        self.path.ancestors().nth(2).unwrap_or(&self.path)
    }

    /// Path to a file in the run: `workflow.yaml`, `events.jsonl`, `metrics.parquet`, …
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Reads `run.json`. Errors if modified after the run ended. A running record without a living
    /// process reads as interrupted.
    pub fn record(&self) -> Result<RunRecord> {
        let record = self.read_record()?;
        if record.outcome != RunOutcome::Running {
            return Ok(record);
        }
        let host = record.machine.get("host").map_or("", String::as_str);
        match liveness::judge(&self.path, host, &machine::host()) {
            Liveness::Alive => Ok(record),
            Liveness::Unseen(age) => {
                let age = humanize::duration(age.as_secs_f64());
                let note = format!("on {host}, last sign {age} ago");
                Ok(RunRecord { note: Some(note), ..record })
            }
            // Read again: a run that ended meanwhile has said how before it let the lock go.
            Liveness::Gone => Ok(self.read_record()?.without_process()),
        }
    }

    fn read_record(&self) -> Result<RunRecord> {
        let path = self.file("run.json");
        let text = fs::read(&path).map_err(Error::io("read", &path))?;
        if !checksums::holds(&self.path, "run.json", &text) {
            let words = checksums::damaged(&self.path, "run.json");
            return Err(Error::Failed(format!("{words}; 'voxflow cache verify' sets it aside")));
        }
        serde_json::from_slice(&text)
            .map_err(|error| Error::Failed(format!("{}: {error}", path.display())))
    }

    /// Replaces `run.json` atomically.
    pub fn write_record(&self, record: &RunRecord) -> Result<()> {
        let mut text = serde_json::to_vec_pretty(record)
            .map_err(|error| Error::Failed(format!("run.json: {error}")))?;
        text.push(b'\n');
        Ok(disk::replace(&self.file("run.json"), &text)?)
    }
}

/// Content of `run.json`: everything needed to explain a run, independent from the store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// File format: 1.
    pub format: u32,
    pub run: String,
    pub workflow: String,
    /// Stays `running` in the file if the process died; [`RunFolder::record`] corrects it.
    pub outcome: RunOutcome,
    /// Remark about an unfinished run, added while reading; never stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Start in milliseconds since 1970.
    pub started_at_ms: i64,
    /// Wall time; `None` while running.
    pub seconds: Option<f64>,
    /// The workflow's seed.
    pub seed: Option<u64>,
    /// Set for runs in a sweep.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sweep: Option<Sweep>,
    /// `--set` arguments.
    #[serde(default)]
    pub overrides: Vec<String>,
    /// Requested device: auto, cpu, cuda or cuda:N.
    pub device: String,
    /// Threads per stage.
    pub threads: usize,
    /// Program and library versions by name.
    pub versions: BTreeMap<String, String>,
    /// Commit of the git repository around the current folder, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git_commit: Option<String>,
    /// Machine facts by name: host, system, processor, cores, memory.
    pub machine: BTreeMap<String, String>,
    pub store: PathBuf,
    /// Artifacts of earlier runs that stages read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub earlier: Vec<EarlierRecord>,
    /// Stages in topological order.
    pub stages: Vec<StageRecord>,
}

/// An artifact of an earlier run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EarlierRecord {
    /// "RUN/STAGE", as among needs.
    pub id: String,
    pub kind: String,
    pub fingerprint: Option<Fingerprint>,
    /// Digest over the whole artifact.
    pub digest: Digest,
}

/// A run's place in a sweep.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sweep {
    /// Common to all runs in the sweep.
    pub id: String,
    /// Variant number from 1; repetitions share it.
    #[serde(default)]
    pub variant: usize,
    /// This run's values by dotted path.
    pub values: BTreeMap<String, Value>,
    /// Paths that merely repeat a variant: folds and seeds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repeats: Vec<String>,
    /// True for the final test of the chosen variant.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub chosen: bool,
}

impl Sweep {
    pub fn new_id() -> String {
        format!("sweep-{}", short_id(0))
    }
}

/// A stage in `run.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageRecord {
    pub stage: String,
    pub kind: String,
    /// Ids of needed stages by role.
    pub needs: BTreeMap<String, Vec<String>>,
    /// Parsed parameters including locators, without credentials.
    pub params: Value,
    /// `None` if never determined.
    pub recipe: Option<Recipe>,
    pub fingerprint: Option<Fingerprint>,
    pub artifact: Option<Artifact>,
    /// Digest over the whole artifact.
    pub digest: Option<Digest>,
    /// `None` until it ends.
    pub outcome: Option<Outcome>,
    /// Reason for making, reusing or skipping.
    pub reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Warnings, replayed on reuse; equal warnings from many cases are merged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Wall time in this run.
    pub seconds: f64,
    /// Wall time when the artifact was made.
    pub made_in_seconds: Option<f64>,
    /// Maker's host, device, threads and versions.
    pub maker: Value,
}

impl RunRecord {
    pub fn stage(&self, id: &str) -> Option<&StageRecord> {
        self.stages.iter().find(|stage| stage.stage == id)
    }

    /// Number of stages with this outcome.
    pub fn count(&self, outcome: Outcome) -> u64 {
        self.stages.iter().filter(|stage| stage.outcome == Some(outcome)).count() as u64
    }

    /// "done", "interrupted: its process is gone", "running on node-3, last sign 12 s ago".
    pub fn outcome_words(&self) -> String {
        let word = self.outcome.word();
        match &self.note {
            None => word.to_string(),
            Some(note) if self.outcome == RunOutcome::Running => format!("{word} {note}"),
            Some(note) => format!("{word}: {note}"),
        }
    }

    /// (stage, warning) pairs.
    pub fn warnings(&self) -> impl Iterator<Item = (&str, &str)> {
        self.stages.iter().flat_map(|stage| {
            stage.warnings.iter().map(|words| (stage.stage.as_str(), words.as_str()))
        })
    }

    /// Record for a dead run: interrupted, with the stages that had begun; the others skipped.
    fn without_process(mut self) -> RunRecord {
        if self.outcome != RunOutcome::Running {
            return self;
        }
        let gone = "its process is gone";
        (self.outcome, self.note) = (RunOutcome::Interrupted, Some(gone.into()));
        for stage in self.stages.iter_mut().filter(|stage| stage.outcome.is_none()) {
            let had_begun = stage.fingerprint.is_some();
            (stage.outcome, stage.reason) = if had_begun {
                (Some(Outcome::Interrupted), Some(format!("interrupted: {gone}")))
            } else {
                (Some(Outcome::Skipped), Some("not begun: the run was interrupted".into()))
            };
        }
        self
    }
}

/// UTC time as `20251123-125029`.
fn timestamp() -> String {
    let form = format_description!("[year][month][day]-[hour][minute][second]");
    OffsetDateTime::now_utc().format(form).unwrap_or_default()
}

/// Six hex digits, distinct across processes, times and attempts.
fn short_id(attempt: u32) -> String {
    let now =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let seed = format!("{} {} {attempt}", std::process::id(), now.as_nanos());
    Digest::of(seed.as_bytes()).to_hex()[..6].to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_run_has_a_folder_of_its_own_whatever_its_workflow_is_called() {
        let folder = tempfile::tempdir().unwrap();
        let runs: Vec<_> =
            (0..20).map(|_| RunFolder::create(folder.path(), "a/../b c").unwrap().id()).collect();
        let different: std::collections::BTreeSet<_> = runs.iter().collect();
        assert_eq!(different.len(), 20);
        assert!(runs.iter().all(|id| id.contains("-a----b-c-")), "{runs:?}");
    }
}
