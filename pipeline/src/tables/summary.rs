//! Run summaries: data for comparisons in one small file beside the tables.
//!
//! A cache over `run.json` and the metrics table, tagged with their sizes and times and its own
//! digest; recomputed if missing, damaged or outdated. Comparing a thousand runs then avoids
//! reading millions of rows.

use super::metrics::MetricRow;
use super::params::ParamRow;
use super::read::read_metrics;
use super::score_at_time;
use super::scores::Headlines;
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

/// File name in a run's folder.
pub const SUMMARY: &str = "summary";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunSummary {
    pub run: String,
    pub workflow: String,
    pub outcome: RunOutcome,
    /// Start in milliseconds since 1970.
    pub started_at_ms: i64,
    /// Wall time in seconds.
    pub seconds: Option<f64>,
    pub sweep: Option<Sweep>,
    /// Parameters by stage.
    pub params: Vec<Param>,
    /// Summary metrics, at the last epoch for curves.
    pub finals: Vec<Final>,
    /// Short digest over the testing cases' names.
    pub test_set: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Param {
    pub stage: String,
    /// Dotted path.
    pub key: String,
    /// Strings unquoted, anything else as JSON.
    pub value: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Final {
    pub stage: String,
    pub kind: String,
    pub found: Metric,
}

/// Rises when equal tables give another summary: 2 has the spread over cases and scores at times.
const FORMAT: u32 = 2;

/// File content: summary with its sources' stamps.
#[derive(Serialize, Deserialize)]
struct Kept<'a> {
    /// 0 where the file has none.
    #[serde(default)]
    format: u32,
    record: Stamp,
    metrics: Stamp,
    summary: Cow<'a, RunSummary>,
}

/// Size and modification time for detecting changes; `None` if missing.
type Stamp = Option<(u64, u64)>;

impl RunSummary {
    pub fn of(record: &RunRecord, metrics: &[MetricRow]) -> RunSummary {
        let params = record
            .stages
            .iter()
            .flat_map(|stage| ParamRow::flatten("", &stage.stage, &stage.params));
        RunSummary {
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

    /// Reads a run's summary, recomputing it if outdated.
    pub fn read(folder: &RunFolder) -> Result<RunSummary> {
        match fs::read(folder.file(SUMMARY)).ok().and_then(|bytes| kept(&bytes)) {
            Some(kept)
                if kept.format == FORMAT
                    && kept.summary.outcome != RunOutcome::Running
                    && (kept.record, kept.metrics) == stamps(folder.path()) =>
            {
                Ok(kept.summary.into_owned())
            }
            _ => {
                let stamps = stamps(folder.path());
                let record = folder.record()?;
                let summary = RunSummary::of(&record, &read_metrics(folder.path())?);
                // How a run ended that did not say so itself is judged anew by each reader.
                if record.note.is_none() && record.outcome != RunOutcome::Running {
                    summary.keep(folder.path(), stamps);
                }
                Ok(summary)
            }
        }
    }

    /// Stores the summary right after record and tables were written.
    pub(super) fn write(&self, folder: &Path) {
        self.keep(folder, stamps(folder));
    }

    /// Writes the file; on failure the next reader recomputes.
    fn keep(&self, folder: &Path, (record, metrics): (Stamp, Stamp)) {
        let kept = Kept { format: FORMAT, record, metrics, summary: Cow::Borrowed(self) };
        let Ok(text) = serde_json::to_string(&kept) else { return };
        let sealed = format!("{}\n{text}\n", Digest::of(text.as_bytes()).to_hex());
        if let Err(error) = disk::replace(&folder.join(SUMMARY), sealed.as_bytes()) {
            tracing::debug!("{error}");
        }
    }

    /// Final metrics; `measured` includes time, speed and memory.
    pub fn finals_of(&self, measured: bool) -> impl Iterator<Item = &Final> {
        self.finals.iter().filter(move |one| measured || !one.found.measured)
    }

    /// Adds the best validation Dice of each training within a time, as "dice_at_15m", and its mean
    /// over the folds of a cross-validation; returns the metric's name.
    pub fn add_score_at(&mut self, folder: &RunFolder, time: &str, seconds: f64) -> Result<String> {
        let name = score_at_time::name(time);
        let rows = read_metrics(folder.path())?;
        self.finals.retain(|one| one.found.metric != name);
        let mut scores = score_at_time::at(&rows, &name, seconds);
        let stages = self.params.iter().map(|param| &*param.stage).collect();
        let means = score_at_time::means_of_folds(&scores, &stages);
        scores.splice(0..0, means);
        self.finals.extend(scores.into_iter().map(|found| {
            let (stage, kind, found) = found;
            Final { stage, kind, found: Metric { measured: false, ..found } }
        }));
        Ok(name)
    }

    /// Mean Dice on validation and on testing cases.
    pub fn headlines(&self) -> Headlines {
        Headlines::among(
            self.finals.iter().map(|one| (one.stage.as_str(), one.kind.as_str(), &one.found)),
        )
    }

    /// Headline score with its stage.
    pub fn headline(&self) -> Option<(&str, f64)> {
        super::scores::headline_of(
            self.finals.iter().map(|one| (one.stage.as_str(), one.kind.as_str(), &one.found)),
        )
    }
}

/// Parses a file whose first line is the digest of its second.
fn kept(bytes: &[u8]) -> Option<Kept<'static>> {
    let (digest, text) = std::str::from_utf8(bytes).ok()?.trim_end().split_once('\n')?;
    (Digest::of(text.as_bytes()).to_hex() == digest).then(|| serde_json::from_str(text).ok())?
}

fn stamps(folder: &Path) -> (Stamp, Stamp) {
    (stamp(&folder.join("run.json")), stamp(&folder.join(METRICS)))
}

fn stamp(file: &Path) -> Stamp {
    let metadata = fs::metadata(file).ok()?;
    let modified = metadata.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    Some((metadata.len(), u64::try_from(modified.as_nanos()).ok()?))
}

/// Note on runs tested on different cases.
pub fn unequal_test_sets(runs: &[RunSummary]) -> Option<&'static str> {
    let sets: BTreeSet<&String> = runs.iter().filter_map(|run| run.test_set.as_ref()).collect();
    (sets.len() > 1).then_some(
        "these runs were tested on different cases ('test set'): their test scores are not \
         comparable",
    )
}

/// Short digest over testing case names; `None` without any.
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

/// Last value per metric: the row without epoch, else the last epoch's, in order of appearance.
fn finals(rows: &[MetricRow]) -> Vec<Final> {
    let mut at: BTreeMap<MetricKey, usize> = BTreeMap::new();
    let mut last: Vec<&MetricRow> = vec![];
    for row in rows.iter().filter(|row| row.is_summary()) {
        let index = *at.entry(metric_key(&row.stage, &row.found)).or_insert(last.len());
        match last.get(index) {
            None => last.push(row),
            Some(kept) if epoch_rank(row) >= epoch_rank(kept) => last[index] = row,
            Some(_) => {}
        }
    }
    last.into_iter()
        .map(|row| Final {
            stage: row.stage.clone(),
            kind: row.kind.clone(),
            found: Metric { epoch: None, step: None, ..row.found.clone() },
        })
        .collect()
}

/// A row without epoch ranks above all epochs.
fn epoch_rank(row: &MetricRow) -> u64 {
    row.found.epoch.map_or(u64::MAX, u64::from)
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
        let summary = RunSummary::read(&folder(base.path())).expect("reads");
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
        let first = RunSummary::read(&folder).expect("reads");
        assert!(folder.file(SUMMARY).is_file());
        let mut bytes = fs::read(folder.file(SUMMARY)).expect("reads");
        let at = bytes.windows(4).position(|bytes| bytes == b"0.75").expect("a score") + 2;
        bytes[at] = b'8';
        fs::write(folder.file(SUMMARY), bytes).expect("writes");
        assert_eq!(RunSummary::read(&folder).expect("a damaged one is made again"), first);
        super::super::write(folder.path(), &super::super::example("abc123", 0.625))
            .expect("writes");
        assert_eq!(RunSummary::read(&folder).expect("reads").headline(), Some(("final", 0.625)));
    }
}
