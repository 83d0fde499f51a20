//! A run: the folder where the events of one execution are written down, and `run.json`, its
//! record.
//!
//! Who fills the folder is elsewhere: the journal (`journal`), the tables (`tables`), the links to
//! outputs (`outputs`).

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

/// The folder of one run: `<home>/runs/<time>-<workflow>-<short id>/`.
#[derive(Clone, Debug, PartialEq)]
pub struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    /// The run at an existing folder.
    pub fn at(path: PathBuf) -> RunFolder {
        RunFolder { path }
    }

    /// Creates the folder of a new run, exclusively. The id begins with the time in UTC.
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

    /// The run's id: the name of its folder.
    pub fn id(&self) -> String {
        self.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The home that its `runs/` lies in.
    pub fn home(&self) -> &Path {
        self.path.ancestors().nth(2).unwrap_or(&self.path)
    }

    /// A file of the run: `workflow.yaml`, `events.jsonl`, `metrics.parquet`, …
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Reads `run.json`. One that changed after the run ended is an error. A run whose process is
    /// gone without a word is interrupted, whatever the file says.
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

    /// Writes `run.json` whole: a temporary file, then a rename.
    pub fn write_record(&self, record: &RunRecord) -> Result<()> {
        let mut text = serde_json::to_vec_pretty(record)
            .map_err(|error| Error::Failed(format!("run.json: {error}")))?;
        text.push(b'\n');
        Ok(disk::replace(&self.file("run.json"), &text)?)
    }
}

/// `run.json`: all that is needed to say what was done, on what, and why; it outlives the store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// The form of this file: 1.
    pub format: u32,
    /// The run's id.
    pub run: String,
    /// The workflow's name.
    pub workflow: String,
    /// How it ended. In the file `running` also where its process died; `RunFolder::record`
    /// knows better.
    pub outcome: RunOutcome,
    /// A remark on an unfinished run, added by the reader; never in the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// When it began, in milliseconds since 1970.
    pub started_at_ms: i64,
    /// Wall time; `None` while it runs.
    pub seconds: Option<f64>,
    /// The workflow's seed.
    pub seed: Option<u64>,
    /// The sweep it is part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sweep: Option<Sweep>,
    /// The `--set` of the command line.
    #[serde(default)]
    pub overrides: Vec<String>,
    /// The device asked for: auto, cpu, cuda or cuda:N.
    pub device: String,
    /// Threads per stage.
    pub threads: usize,
    /// Versions of the program and its parts, by name.
    pub versions: BTreeMap<String, String>,
    /// The git commit of the current folder, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git_commit: Option<String>,
    /// The machine, in words by name: host, system, processor, cores, memory.
    pub machine: BTreeMap<String, String>,
    /// The folder of the store.
    pub store: PathBuf,
    /// The stages in topological order.
    pub stages: Vec<StageRecord>,
}

/// The variant of a sweep that a run is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sweep {
    /// The same for all runs of the sweep.
    pub id: String,
    /// The number of the variant, from 1; its repetitions have the same.
    #[serde(default)]
    pub variant: usize,
    /// The values of this run by dotted path.
    pub values: BTreeMap<String, Value>,
    /// The paths among them that only repeat the variant: folds and seeds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repeats: Vec<String>,
    /// True if it came after the choice, to test the chosen variant.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub chosen: bool,
}

impl Sweep {
    /// A new sweep's id.
    pub fn new_id() -> String {
        format!("sweep-{}", short_id(0))
    }
}

/// One stage in `run.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageRecord {
    /// The stage's id.
    pub stage: String,
    /// Its kind.
    pub kind: String,
    /// The stages it reads, by role.
    pub needs: BTreeMap<String, Vec<String>>,
    /// The parameters as understood, locators included, credentials stripped.
    pub params: Value,
    /// The recipe; `None` if it was never known.
    pub recipe: Option<Recipe>,
    /// The recipe's fingerprint.
    pub fingerprint: Option<Fingerprint>,
    /// The artifact: names, digests, sizes.
    pub artifact: Option<Artifact>,
    /// The digest of the whole artifact.
    pub digest: Option<Digest>,
    /// The outcome; `None` until it ends.
    pub outcome: Option<Outcome>,
    /// The reason why it was made, reused or skipped.
    pub reason: Option<String>,
    /// The error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Warnings, replayed if it is reused; one line for many cases.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Wall time in this run.
    pub seconds: f64,
    /// Wall time of the making.
    pub made_in_seconds: Option<f64>,
    /// Host, device, threads and versions of its maker.
    pub maker: Value,
}

impl RunRecord {
    /// The stage of that id.
    pub fn stage(&self, id: &str) -> Option<&StageRecord> {
        self.stages.iter().find(|stage| stage.stage == id)
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

    /// The stages and their warnings.
    pub fn warnings(&self) -> impl Iterator<Item = (&str, &str)> {
        self.stages.iter().flat_map(|stage| {
            stage.warnings.iter().map(|words| (stage.stage.as_str(), words.as_str()))
        })
    }

    /// The record of a run that died: interrupted, with what it had begun.
    fn without_process(mut self) -> RunRecord {
        if self.outcome != RunOutcome::Running {
            return self;
        }
        let gone = "its process is gone";
        (self.outcome, self.note) = (RunOutcome::Interrupted, Some(gone.into()));
        for stage in self.stages.iter_mut().filter(|stage| stage.outcome.is_none()) {
            let had_begun = stage.fingerprint.is_some();
            stage.outcome = Some(Outcome::Skipped);
            stage.reason = Some(if had_begun {
                format!("interrupted: {gone}")
            } else {
                "not begun: the run was interrupted".into()
            });
        }
        self
    }
}

/// The time in UTC as `20251123-125029`.
fn timestamp() -> String {
    let form = format_description!("[year][month][day]-[hour][minute][second]");
    OffsetDateTime::now_utc().format(form).unwrap_or_default()
}

/// Six hex digits that differ between processes, moments and attempts.
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
