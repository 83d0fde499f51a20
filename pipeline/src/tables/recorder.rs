//! The recorder: gathers the tables of a run from its events and writes them into its folder.

use super::{MetricRow, ParamRow, StageRow, Summary, Tables};
use crate::event::{Event, Fact, Finished, Observer};
use crate::exit::Result;
use crate::run::RunRecord;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use time::OffsetDateTime;
use voxflow_stages::Message;

/// Tables on disk are at most about this much older than the last finished stage.
const REWRITE_AFTER_MS: i64 = 10_000;

/// Writes the tables at the end of a run, and now and then before.
pub struct Recorder {
    folder: PathBuf,
    gathering: Gathering,
    written_at_ms: i64,
}

impl Recorder {
    /// For the run in `folder`, with the parameters of its stages as understood (credentials
    /// stripped).
    pub fn new<'a>(
        folder: &Path,
        params: impl IntoIterator<Item = (&'a str, &'a Value)>,
    ) -> Recorder {
        let run_id =
            folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let params = params
            .into_iter()
            .flat_map(|(stage, params)| ParamRow::flatten(&run_id, stage, params))
            .collect();
        let gathering = Gathering {
            run_id,
            tables: Tables { params, ..Tables::default() },
            ..Gathering::default()
        };
        Recorder { folder: folder.to_path_buf(), gathering, written_at_ms: 0 }
    }

    /// The rows so far.
    pub fn tables(&self) -> &Tables {
        &self.gathering.tables
    }

    fn due(&self, event: &Event) -> bool {
        match &event.fact {
            Fact::RunFinished { .. } => true,
            Fact::StageFinished(_) => event.at_ms - self.written_at_ms > REWRITE_AFTER_MS,
            _ => false,
        }
    }
}

impl Observer for Recorder {
    fn observe(&mut self, event: &Event) -> Result<()> {
        self.gathering.take(event);
        if matches!(event.fact, Fact::RunStarted { .. }) {
            self.written_at_ms = event.at_ms;
        }
        if self.due(event) {
            super::write(&self.folder, self.tables())?;
            self.written_at_ms = event.at_ms;
        }
        Ok(())
    }

    fn recorded(&mut self, record: &RunRecord) {
        Summary::of(record, &self.tables().metrics).write(&self.folder);
    }
}

/// Rows gathered from events, without a disk.
#[derive(Default)]
pub(crate) struct Gathering {
    run_id: String,
    workflow: String,
    kinds: BTreeMap<String, String>,
    pub(crate) tables: Tables,
}

impl Gathering {
    /// Takes what the tables hold of an event.
    pub(crate) fn take(&mut self, event: &Event) {
        match &event.fact {
            Fact::RunStarted { run, workflow, stages, .. } => {
                self.run_id.clone_from(run);
                self.workflow.clone_from(workflow);
                self.kinds =
                    stages.iter().map(|stage| (stage.stage.clone(), stage.kind.clone())).collect();
            }
            Fact::StageSaid { stage, message: Message::Metric(found), .. } => {
                let row = MetricRow {
                    run_id: self.run_id.clone(),
                    workflow: self.workflow.clone(),
                    stage: stage.clone(),
                    kind: self.kinds.get(stage).cloned().unwrap_or_default(),
                    found: found.clone(),
                    at: moment(event.at_ms),
                };
                self.tables.metrics.push(row);
            }
            Fact::StageFinished(finished) => self.tables.stages.push(row(&self.run_id, finished)),
            _ => {}
        }
    }
}

fn row(run_id: &str, finished: &Finished) -> StageRow {
    StageRow {
        run_id: run_id.to_string(),
        stage: finished.stage.clone(),
        kind: finished.kind.clone(),
        fingerprint: finished.fingerprint.map(|fingerprint| fingerprint.to_hex()),
        outcome: finished.outcome.word().to_string(),
        items_made: finished.items_made,
        items_reused: finished.items_reused,
        started_at: finished.started_at_ms.map(moment),
        seconds: Some(finished.seconds),
        cpu_seconds: finished.cpu_seconds,
        peak_rss_bytes: finished.peak_rss_bytes,
        device: finished.device.clone(),
        reason: finished.error.clone().or_else(|| finished.reason.clone()),
    }
}

/// Milliseconds since 1970 as a moment in UTC.
pub(crate) fn moment(at_ms: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(at_ms) * 1_000_000)
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::event::{Decision, Outcome, Planned, RunOutcome};
    use serde_json::json;
    use voxflow_cache::Fingerprint;
    use voxflow_stages::Metric;

    /// A stage that is over.
    pub(crate) fn finished(stage: &str, kind: &str, outcome: Outcome) -> Finished {
        Finished {
            stage: stage.into(),
            kind: kind.into(),
            outcome,
            fingerprint: Some(Fingerprint::from_bytes([7; 32])),
            reason: Some("never made before".into()),
            error: None,
            items_made: 3,
            items_reused: 4,
            started_at_ms: Some(1_700_000_000_000),
            seconds: 1.25,
            made_in_seconds: Some(12.0),
            cpu_seconds: Some(2.5),
            peak_rss_bytes: Some(1024),
            device: Some("cpu".into()),
        }
    }

    /// The facts of a small run: a training and its test.
    pub(crate) fn facts(folder: &Path) -> Vec<Fact> {
        let planned = |stage: &str, kind: &str| Planned {
            stage: stage.into(),
            kind: kind.into(),
            decision: Decision::Follows { stages: vec![] },
        };
        let said = |metric: Metric| Fact::StageSaid {
            stage: "final".into(),
            replayed: false,
            message: Message::Metric(metric.split("testing").grid("original")),
        };
        vec![
            Fact::RunStarted {
                run: "r1".into(),
                workflow: "demo".into(),
                folder: folder.to_path_buf(),
                stages: vec![planned("model", "train"), planned("final", "test")],
            },
            Fact::StageFinished(Box::new(finished("model", "train", Outcome::Reused))),
            Fact::StageStarted {
                stage: "final".into(),
                fingerprint: Fingerprint::from_bytes([8; 32]),
                reason: "never made before".into(),
            },
            said(Metric::new("dice", 0.75).case("case_1").label("spleen")),
            said(Metric::new("dice", 0.75).label("spleen")),
            said(Metric::new("n", 1.0).label("spleen")),
            said(Metric::new("dice", 0.75)),
            Fact::StageFinished(Box::new(finished("final", "test", Outcome::Made))),
            Fact::RunFinished { outcome: RunOutcome::Done, seconds: 2.5 },
        ]
    }

    #[test]
    fn the_tables_of_a_run_are_in_its_folder_when_it_is_over() {
        let base = tempfile::tempdir().expect("a folder");
        let folder = base.path().join("r1");
        std::fs::create_dir(&folder).expect("a run's folder");
        let params = json!({"epochs": 3});
        let mut recorder = Recorder::new(&folder, [("model", &params)]);
        for fact in facts(&folder) {
            recorder.observe(&Event { at_ms: 1_700_000_000_000, fact }).expect("observes");
        }
        let tables = crate::tables::read(&folder).expect("reads");
        assert_eq!(&tables, recorder.tables());
        assert_eq!(tables.metrics.len(), 4);
        assert!(
            tables
                .metrics
                .iter()
                .all(|row| row.run_id == "r1" && row.kind == "test" && row.workflow == "demo")
        );
        let outcomes: Vec<&str> = tables.stages.iter().map(|row| row.outcome.as_str()).collect();
        assert_eq!(outcomes, ["reused", "made"]);
        assert_eq!(tables.params[0].value, "3");
    }

    #[test]
    fn a_failed_stage_has_its_error_as_the_reason() {
        let failed = Finished {
            error: Some("out of memory".into()),
            ..finished("model", "train", Outcome::Failed)
        };
        assert_eq!(row("r1", &failed).reason.as_deref(), Some("out of memory"));
    }
}
