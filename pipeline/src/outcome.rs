//! Outcomes of stages and runs.

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Made in this run.
    Made,
    /// Found in the store.
    Reused,
    Failed,
    /// Stopped while being made; its unfinished state is kept, and the next run resumes it.
    Interrupted,
    /// Not attempted: a needed stage failed, or the run stopped earlier.
    Skipped,
}

impl Outcome {
    /// All outcomes, in order of summaries.
    pub const ALL: [Outcome; 5] =
        [Outcome::Made, Outcome::Reused, Outcome::Failed, Outcome::Interrupted, Outcome::Skipped];

    /// Table word: made, reused, failed, interrupted, skipped.
    pub fn word(self) -> &'static str {
        match self {
            Outcome::Made => "made",
            Outcome::Reused => "reused",
            Outcome::Failed => "failed",
            Outcome::Interrupted => "interrupted",
            Outcome::Skipped => "skipped",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunOutcome {
    /// Not finished, or its process died.
    Running,
    /// All stages made or reused.
    Done,
    /// A stage failed.
    Failed,
    /// Stopped by a signal, or by the failure of another run of its sweep.
    Interrupted,
}

impl RunOutcome {
    /// List word: running, done, failed, interrupted.
    pub fn word(self) -> &'static str {
        match self {
            RunOutcome::Running => "running",
            RunOutcome::Done => "done",
            RunOutcome::Failed => "failed",
            RunOutcome::Interrupted => "interrupted",
        }
    }
}
