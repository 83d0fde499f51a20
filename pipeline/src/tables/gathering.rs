//! Collects a run's table rows from its events.

use super::metrics::MetricRow;
use super::params::ParamRow;
use super::stages::StageRow;
use super::table::Tables;
use super::{score_at_time, spread};
use crate::event::{Event, Fact, Finished};
use std::collections::BTreeMap;
use time::OffsetDateTime;
use voxflow_stages::Message;

/// Rows in memory.
#[derive(Default)]
pub(crate) struct Gathering {
    run_id: String,
    workflow: String,
    kinds: BTreeMap<String, String>,
    pub(crate) tables: Tables,
}

impl Gathering {
    pub(crate) fn new(run_id: String, params: Vec<ParamRow>) -> Gathering {
        let tables = Tables { params, ..Tables::default() };
        Gathering { run_id, tables, ..Gathering::default() }
    }

    /// Adds an event's contribution.
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
            Fact::StageFinished(finished) => {
                spread::add(&mut self.tables.metrics, Some(&finished.stage));
                score_at_time::add(&mut self.tables.metrics, Some(&finished.stage));
                self.tables.stages.push(row(&self.run_id, finished));
            }
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
        read_bytes: finished.read_bytes,
        written_bytes: finished.written_bytes,
        device: finished.device.clone(),
        job: finished.job.clone(),
        reason: finished.error.clone().or_else(|| finished.reason.clone()),
    }
}

/// Converts milliseconds since 1970.
pub(crate) fn moment(at_ms: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(at_ms) * 1_000_000)
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Outcome;
    use crate::tables::recorded::finished;

    #[test]
    fn a_failed_stage_has_its_error_as_the_reason() {
        let failed = Finished {
            error: Some("out of memory".into()),
            ..finished("model", "train", Outcome::Failed)
        };
        assert_eq!(row("r1", &failed).reason.as_deref(), Some("out of memory"));
    }
}
