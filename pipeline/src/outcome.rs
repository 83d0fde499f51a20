//! Outcomes of stages and runs.

use serde::{Deserialize, Serialize};

/// The outcome of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Made now.
    Made,
    /// Found in the store.
    Reused,
    /// It failed.
    Failed,
    /// Not tried: something it needs failed, or the run stopped before it.
    Skipped,
}

impl Outcome {
    /// The word used in tables: made, reused, failed, skipped.
    pub fn word(self) -> &'static str {
        match self {
            Outcome::Made => "made",
            Outcome::Reused => "reused",
            Outcome::Failed => "failed",
            Outcome::Skipped => "skipped",
        }
    }
}

/// The outcome of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunOutcome {
    /// Not yet, or its process died.
    Running,
    /// Every stage was made or reused.
    Done,
    /// A stage failed.
    Failed,
    /// It was stopped by a signal.
    Interrupted,
}

impl RunOutcome {
    /// The word used in lists: running, done, failed, interrupted.
    pub fn word(self) -> &'static str {
        match self {
            RunOutcome::Running => "running",
            RunOutcome::Done => "done",
            RunOutcome::Failed => "failed",
            RunOutcome::Interrupted => "interrupted",
        }
    }
}
