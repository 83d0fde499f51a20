//! Events: a run's facts in order. Console lines, journal and tables render them; nothing is
//! rendered here.

use crate::error::Result;
use crate::job_facts::JobFacts;
use crate::outcome::{Outcome, RunOutcome};
use crate::run::RunRecord;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use voxflow_cache::Fingerprint;
use voxflow_stages::Message;

/// A fact with its time; a line in `events.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Milliseconds since 1970, UTC.
    pub at_ms: i64,
    #[serde(flatten)]
    pub fact: Fact,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Fact {
    /// The run's folder exists and the plan is known.
    RunStarted {
        /// Run id, equal to its folder's name.
        run: String,
        workflow: String,
        folder: PathBuf,
        /// Stages in topological order with planned actions.
        stages: Vec<Planned>,
    },
    /// A stage starts being made.
    StageStarted {
        stage: String,
        fingerprint: Fingerprint,
        /// Reason for making, as text.
        reason: String,
    },
    /// Another process makes the same artifact; the stage waits without holding resources.
    StageWaiting { stage: String },
    /// Message from a stage. A reused stage replays its metrics, then its warnings.
    StageSaid {
        stage: String,
        /// True if replayed from the store.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        replayed: bool,
        message: Message,
    },
    /// A stage ended; sent exactly once per stage.
    StageFinished(Box<Finished>),
    /// First Ctrl-C or SIGTERM: running stages finish their current work.
    Stopping,
    /// Always the last event.
    RunFinished {
        outcome: RunOutcome,
        /// Wall time in seconds.
        seconds: f64,
    },
}

/// A stage in the plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Planned {
    pub stage: String,
    pub kind: String,
    #[serde(flatten)]
    pub decision: Decision,
}

/// Planned action for a stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "decision", rename_all = "snake_case")]
pub enum Decision {
    /// Found in the store.
    Reuse {
        fingerprint: Fingerprint,
        /// Wall time when it was made.
        seconds: f64,
        /// Remark, such as an accepted older version.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    },
    /// To be made.
    Run {
        fingerprint: Fingerprint,
        /// Reason, as text.
        reason: String,
        /// Wall time of the stage's last making, if known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cost_seconds: Option<f64>,
    },
    /// Decided after other stages are made.
    Follows { stages: Vec<String> },
    /// Excluded by `--only` or `--until`.
    Excluded,
    /// Undecidable: an input outside the store cannot be read.
    Blocked { reason: String },
}

/// Facts about a finished stage; a row in `stages.parquet`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finished {
    pub stage: String,
    pub kind: String,
    pub outcome: Outcome,
    /// `None` if never determined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<Fingerprint>,
    /// Reason for making, reusing or skipping.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Error text; several lines if several cases failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Items (cases) made.
    #[serde(default)]
    pub items_made: u64,
    /// Items reused from the store.
    #[serde(default)]
    pub items_reused: u64,
    /// Start in milliseconds since 1970; `None` if never started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at_ms: Option<i64>,
    /// Wall time in this run.
    #[serde(default)]
    pub seconds: f64,
    /// Wall time when the artifact was made, possibly in an earlier run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_in_seconds: Option<f64>,
    /// CPU seconds, if measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_seconds: Option<f64>,
    /// Peak resident memory of the maker's process, if measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_rss_bytes: Option<u64>,
    /// Bytes read from disks, if measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_bytes: Option<u64>,
    /// Bytes written to disks, if measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written_bytes: Option<u64>,
    /// Maker's device ("cpu", "cuda:0 …").
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Cluster job, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobFacts>,
}

/// Receives all events in order, on one thread.
pub trait Observer {
    /// Handles an event. Errors stop the run: losing records silently is worse.
    fn observe(&mut self, event: &Event) -> Result<()>;

    /// Called once after the last event with the final record.
    fn recorded(&mut self, _record: &RunRecord) {}
}

/// Current time in milliseconds since 1970.
pub fn now_ms() -> i64 {
    let since =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use voxflow_stages::Metric;

    #[test]
    fn an_event_survives_the_way_through_the_journal() {
        let finished = Finished {
            stage: "model".into(),
            kind: "train".into(),
            outcome: Outcome::Skipped,
            fingerprint: None,
            reason: Some("'cache' failed".into()),
            error: None,
            items_made: 0,
            items_reused: 0,
            started_at_ms: None,
            seconds: 0.0,
            made_in_seconds: None,
            cpu_seconds: None,
            peak_rss_bytes: None,
            read_bytes: None,
            written_bytes: None,
            device: None,
            job: None,
        };
        let facts = [
            Fact::StageSaid {
                stage: "model".into(),
                replayed: true,
                message: Message::Metric(Metric::new("dice", 0.5).epoch(3)),
            },
            Fact::StageFinished(Box::new(finished)),
            Fact::Stopping,
            Fact::RunFinished { outcome: RunOutcome::Done, seconds: 1.5 },
        ];
        for fact in facts {
            let event = Event { at_ms: 7, fact };
            let line = serde_json::to_string(&event).unwrap();
            assert_eq!(serde_json::from_str::<Event>(&line).unwrap(), event, "{line}");
        }
    }
}
