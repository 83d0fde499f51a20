//! The summary of a run: what a comparison needs of it, in one small file beside its tables.
//!
//! A view: it is made of `run.json` and the metrics table, carries their sizes and times and its
//! own digest, and is made again where it is missing, damaged, or they have changed. So a thousand
//! runs are compared without reading millions of rows.

use super::metrics::MetricRow;
use super::params::ParamRow;
use super::read::read_metrics;
use super::table::METRICS;
use crate::error::Result;
use crate::outcome::RunOutcome;
use crate::run::{RunFolder, RunRecord, Sweep};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::UNIX_EPOCH;
use voxflow_cache::{Digest, disk};
use voxflow_stages::Metric;

/// The file of the summary in a run's folder.
pub const SUMMARY: &str = "summary";

/// The summary of a run for comparisons.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The run's id.
    pub run: String,
    /// The workflow's name.
    pub workflow: String,
    /// The outcome.
    pub outcome: RunOutcome,
    /// When it began, in milliseconds since 1970.
    pub started_at_ms: i64,
    /// Wall time in seconds.
    pub seconds: Option<f64>,
    /// The sweep it is part of.
    pub sweep: Option<Sweep>,
    /// Its parameters, stage by stage.
    pub params: Vec<Param>,
    /// Its final metrics: of no single case, the last epoch where there are epochs.
    pub finals: Vec<Final>,
    /// The set of testing cases that it was scored on, as a short digest of their names.
    pub test_set: Option<String>,
}

/// A parameter of a stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Param {
    /// The stage's id.
    pub stage: String,
    /// The dotted path.
    pub key: String,
    /// The value: words as they are, anything else as JSON.
    pub value: String,
}

/// A final metric of a stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Final {
    /// The stage's id.
    pub stage: String,
    /// Its kind.
    pub kind: String,
    /// The metric.
    pub found: Metric,
}

/// A summary as it lies in the folder, with what it was made of.
#[derive(Serialize, Deserialize)]
struct Kept<'a> {
    record: Stamp,
    metrics: Stamp,
    summary: Cow<'a, Summary>,
}

/// By what a changed file is known: its size and its time of change; nothing where it is not there.
type Stamp = Option<(u64, u64)>;

impl Summary {
    /// Sums up a run.
    pub fn of(record: &RunRecord, metrics: &[MetricRow]) -> Summary {
        let params = record
            .stages
            .iter()
            .flat_map(|stage| ParamRow::flatten("", &stage.stage, &stage.params));
        Summary {
            run: record.run.clone(),
            workflow: record.workflow.clone(),
            outcome: record.outcome,
            started_at_ms: record.started_at_ms,
            seconds: record.seconds,
            sweep: record.sweep.clone(),
            params: params
                .map(|ParamRow { stage, key, value, .. }| Param { stage, key, value })
                .collect(),
            finals: finals(metrics),
            test_set: test_set(metrics),
        }
    }

    /// The summary in a run's folder, made anew where there is none that fits.
    pub fn read(folder: &RunFolder) -> Result<Summary> {
        match fs::read(folder.file(SUMMARY)).ok().and_then(|bytes| kept(&bytes)) {
            Some(kept)
                if kept.summary.outcome != RunOutcome::Running
                    && (kept.record, kept.metrics) == stamps(folder.path()) =>
            {
                Ok(kept.summary.into_owned())
            }
            _ => {
                let stamps = stamps(folder.path());
                let record = folder.record()?;
                let summary = Summary::of(&record, &read_metrics(folder.path())?);
                // How a run ended that did not say so itself is judged anew by each reader.
                if record.note.is_none() && record.outcome != RunOutcome::Running {
                    summary.keep(folder.path(), stamps);
                }
                Ok(summary)
            }
        }
    }

    /// Keeps the summary of a run whose record and tables have just been written.
    pub(super) fn write(&self, folder: &Path) {
        self.keep(folder, stamps(folder));
    }

    /// Writes the file; where that cannot be done the next reader makes it again.
    fn keep(&self, folder: &Path, (record, metrics): (Stamp, Stamp)) {
        let kept = Kept { record, metrics, summary: Cow::Borrowed(self) };
        let Ok(text) = serde_json::to_string(&kept) else { return };
        let sealed = format!("{}\n{text}\n", Digest::of(text.as_bytes()).to_hex());
        if let Err(error) = disk::replace(&folder.join(SUMMARY), sealed.as_bytes()) {
            tracing::debug!("{error}");
        }
    }

    /// The final metrics; measurements of time, speed and memory only where asked.
    pub fn finals_of(&self, measured: bool) -> impl Iterator<Item = &Final> {
        self.finals.iter().filter(move |one| measured || !one.found.measured)
    }

    /// The one number of a run, with the stage that found it.
    pub fn headline(&self) -> Option<(&str, f64)> {
        super::scores::headline_of(
            self.finals.iter().map(|one| (one.stage.as_str(), one.kind.as_str(), &one.found)),
        )
    }
}

/// The content of a file if its first line is the digest of its second.
fn kept(bytes: &[u8]) -> Option<Kept<'static>> {
    let (digest, text) = std::str::from_utf8(bytes).ok()?.trim_end().split_once('\n')?;
    (Digest::of(text.as_bytes()).to_hex() == digest).then(|| serde_json::from_str(text).ok())?
}

fn stamps(folder: &Path) -> (Stamp, Stamp) {
    let stamp = |name: &str| {
        let metadata = fs::metadata(folder.join(name)).ok()?;
        let modified = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
        Some((metadata.len(), u64::try_from(modified.as_nanos()).ok()?))
    };
    (stamp("run.json"), stamp(METRICS))
}

/// A note where runs were scored on different testing cases.
pub fn unequal_test_sets(runs: &[Summary]) -> Option<&'static str> {
    let sets: BTreeSet<&String> = runs.iter().filter_map(|run| run.test_set.as_ref()).collect();
    (sets.len() > 1).then_some(
        "these runs were tested on different cases ('test set'): their test scores are not \
         comparable",
    )
}

/// The digest of the names of all cases in rows of the testing part; `None` if there are none.
fn test_set(rows: &[MetricRow]) -> Option<String> {
    let testing = rows.iter().filter(|row| row.found.split.as_deref() == Some("testing"));
    let cases: BTreeSet<&str> = testing.filter_map(|row| row.found.case.as_deref()).collect();
    let names: Vec<&str> = cases.into_iter().collect();
    (!names.is_empty()).then(|| Digest::of(names.join("\n").as_bytes()).to_hex()[..8].to_string())
}

/// Identity of a metric: stage, split, label, grid, name.
pub(super) type MetricKey<'a> =
    (&'a str, Option<&'a str>, Option<&'a str>, Option<&'a str>, &'a str);

pub(super) fn metric_key<'a>(stage: &'a str, found: &'a Metric) -> MetricKey<'a> {
    (stage, found.split.as_deref(), found.label.as_deref(), found.grid.as_deref(), &*found.metric)
}

/// The row without an epoch, or else that of the last epoch, of each metric, in the order in which
/// they came first.
fn finals(rows: &[MetricRow]) -> Vec<Final> {
    let mut at: BTreeMap<MetricKey, usize> = BTreeMap::new();
    let mut last: Vec<&MetricRow> = vec![];
    let rank = |row: &MetricRow| row.found.epoch.map_or(u64::MAX, u64::from);
    for row in rows.iter().filter(|row| row.is_summary()) {
        let index = *at.entry(metric_key(&row.stage, &row.found)).or_insert(last.len());
        match last.get(index) {
            None => last.push(row),
            Some(kept) if rank(row) >= rank(kept) => last[index] = row,
            Some(_) => {}
        }
    }
    let bare = |row: &MetricRow| Final {
        stage: row.stage.clone(),
        kind: row.kind.clone(),
        found: Metric { epoch: None, step: None, ..row.found.clone() },
    };
    last.into_iter().map(bare).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs;

    fn folder(base: &Path) -> RunFolder {
        let home = runs::tests::home(base);
        RunFolder::at(home.runs().join("20260101-000000-demo-abc123"))
    }

    #[test]
    fn a_summary_has_the_last_epoch_and_no_single_case() {
        let base = tempfile::tempdir().expect("a folder");
        let summary = Summary::read(&folder(base.path())).expect("reads");
        let shown: Vec<_> =
            summary.finals.iter().map(|one| (one.stage.as_str(), one.found.value)).collect();
        let expected = [
            ("model", Some(0.75)),
            ("model", Some(12.5)),
            ("final", Some(0.5)),
            ("final", None),
            ("final", Some(6.0)),
        ];
        assert_eq!(shown[..5], expected);
        assert_eq!(summary.headline(), Some(("final", 0.5)));
    }

    #[test]
    fn it_is_kept_and_made_again_once_the_tables_change() {
        let base = tempfile::tempdir().expect("a folder");
        let folder = folder(base.path());
        let first = Summary::read(&folder).expect("reads");
        assert!(folder.file(SUMMARY).is_file());
        let mut bytes = fs::read(folder.file(SUMMARY)).expect("reads");
        let at = bytes.windows(4).position(|bytes| bytes == b"0.75").expect("a score") + 2;
        bytes[at] = b'8';
        fs::write(folder.file(SUMMARY), bytes).expect("writes");
        assert_eq!(Summary::read(&folder).expect("a damaged one is made again"), first);
        super::super::write(folder.path(), &super::super::example("abc123", 0.625))
            .expect("writes");
        assert_eq!(Summary::read(&folder).expect("reads").headline(), Some(("final", 0.625)));
    }
}
