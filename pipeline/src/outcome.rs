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
    /// Not attempted: a needed stage failed, or the run stopped earlier.
    Skipped,
}

impl Outcome {
    /// Table word: made, reused, failed, skipped.
    pub fn word(self) -> &'static str {
        match self {
            Outcome::Made => "made",
            Outcome::Reused => "reused",
            Outcome::Failed => "failed",
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
    /// Stopped by a signal.
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
