//! Observer that collects a run's tables and writes them to its folder.

use super::gathering::Gathering;
use super::params::ParamRow;
use super::summary::RunSummary;
use super::table::{Tables, write};
use crate::error::Result;
use crate::event::{Event, Fact, Observer};
use crate::run::RunRecord;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Maximum age of tables on disk, relative to the last finished stage.
const REWRITE_AFTER_MS: i64 = 10_000;

/// Writes tables at the run's end and occasionally before.
pub struct Recorder {
    folder: PathBuf,
    gathering: Gathering,
    written_at_ms: i64,
}

impl Recorder {
    /// For the run in `folder`, with its stages' parsed parameters (credentials removed).
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
        let gathering = Gathering::new(run_id, params);
        Recorder { folder: folder.to_path_buf(), gathering, written_at_ms: 0 }
    }

    /// Rows so far.
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
            write(&self.folder, self.tables())?;
            self.written_at_ms = event.at_ms;
        }
        Ok(())
    }

    fn recorded(&mut self, record: &RunRecord) {
        RunSummary::of(record, &self.tables().metrics).write(&self.folder);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::event::{Decision, Finished, Planned};
    use crate::outcome::{Outcome, RunOutcome};
    use serde_json::json;
    use voxflow_cache::Fingerprint;
    use voxflow_stages::{Message, Metric};

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
            read_bytes: Some(512),
            written_bytes: Some(2048),
            device: Some("cpu".into()),
            job: None,
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
}
