//! Events: the facts of a run, in order. Console lines, the journal and the tables are renderings
//! of them; this file renders nothing.

use crate::error::Result;
use crate::job_facts::JobFacts;
use crate::outcome::{Outcome, RunOutcome};
use crate::run::RunRecord;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use voxflow_cache::Fingerprint;
use voxflow_stages::Message;

/// One fact and when it became one. A line of `events.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Milliseconds since 1970, UTC.
    pub at_ms: i64,
    /// The fact.
    #[serde(flatten)]
    pub fact: Fact,
}

/// The facts of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Fact {
    /// The run's folder exists and the plan is known.
    RunStarted {
        /// The run's id, the name of its folder.
        run: String,
        /// The workflow's name.
        workflow: String,
        /// The run's folder.
        folder: PathBuf,
        /// The stages in topological order, with what is to be done about each.
        stages: Vec<Planned>,
    },
    /// A stage that must be made has begun.
    StageStarted {
        /// The stage's id.
        stage: String,
        /// The fingerprint of its recipe.
        fingerprint: Fingerprint,
        /// The reason for making it, for people.
        reason: String,
    },
    /// Another process or run makes the same; the stage waits for it and holds no slot meanwhile.
    StageWaiting {
        /// The stage's id.
        stage: String,
    },
    /// A stage said something; the metrics and then the warnings of a reused stage are said
    /// again, in order.
    StageSaid {
        /// The stage's id.
        stage: String,
        /// True where it is said again from the store's entry.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        replayed: bool,
        /// The message.
        message: Message,
    },
    /// A stage is over, one way or another. Each stage of a run is over exactly once.
    StageFinished(Box<Finished>),
    /// A first Ctrl-C or SIGTERM: stages end after what they have in hand.
    Stopping,
    /// The run is over. The last event.
    RunFinished {
        /// The outcome.
        outcome: RunOutcome,
        /// Wall time.
        seconds: f64,
    },
}

/// One stage of the plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Planned {
    /// The stage's id.
    pub stage: String,
    /// Its kind.
    pub kind: String,
    /// The decision.
    #[serde(flatten)]
    pub decision: Decision,
}

/// The decision of a plan about a stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "decision", rename_all = "snake_case")]
pub enum Decision {
    /// The store has it.
    Reuse {
        /// The fingerprint of its recipe.
        fingerprint: Fingerprint,
        /// Seconds that making it took.
        seconds: f64,
        /// Worth knowing, such as an accepted older version.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    },
    /// It must be made.
    Run {
        /// The fingerprint of its recipe.
        fingerprint: Fingerprint,
        /// The reason, for people.
        reason: String,
        /// Seconds that the last making of its kind and name took, where known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cost_seconds: Option<f64>,
    },
    /// Known only once these stages are made.
    Follows {
        /// The ids of the stages.
        stages: Vec<String>,
    },
    /// Left out by `--only` or `--until`.
    Excluded,
    /// Cannot be known: an input outside the store cannot be read.
    Blocked {
        /// The error, for people.
        reason: String,
    },
}

/// All that is known of a stage once it is over. A row of `stages.parquet`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finished {
    /// The stage's id.
    pub stage: String,
    /// Its kind.
    pub kind: String,
    /// The outcome.
    pub outcome: Outcome,
    /// The fingerprint of its recipe, where it was known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<Fingerprint>,
    /// The reason why it was made, reused or skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The error; several lines if several cases failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Items (cases) made.
    #[serde(default)]
    pub items_made: u64,
    /// Items found in the store.
    #[serde(default)]
    pub items_reused: u64,
    /// When it began, in milliseconds since 1970; `None` if it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at_ms: Option<i64>,
    /// Wall time in this run.
    #[serde(default)]
    pub seconds: f64,
    /// Wall time of the making that is reused, or of this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_in_seconds: Option<f64>,
    /// Processor time, where it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_seconds: Option<f64>,
    /// Largest resident memory of the process that made it, where it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_rss_bytes: Option<u64>,
    /// The device of whoever made it ("cpu", "cuda:0 …").
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// The job of a cluster that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobFacts>,
}

/// Someone who is told every event of a run, in order, on one thread.
pub trait Observer {
    /// Takes note of an event. An error stops the run: nothing that should be written is lost
    /// silently.
    fn observe(&mut self, event: &Event) -> Result<()>;

    /// Hears once, after the last event, what was recorded of the run.
    fn recorded(&mut self, _record: &RunRecord) {}
}

/// Milliseconds since 1970, now.
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
