//! Flags for `voxflow compare`.

use super::condition::Condition;
use crate::commands::output::OutputArgs;
use clap::Args;

#[derive(Debug, Default, Args)]
pub struct CompareArgs {
    /// Runs: latest, ids, id prefixes, folders; a workflow's name selects all its runs, a sweep's
    /// id (or 'sweep', the newest) its variants; without names, all runs
    #[arg(value_name = "RUN")]
    pub runs: Vec<String>,
    /// Only runs fulfilling this condition, as 'model.learning_rate < 0.001' or 'score.dice > 0.8':
    /// a name, a comparison (< <= > >= = !=), a value; may be repeated, all must hold
    #[arg(long = "where", value_name = "CONDITION")]
    pub conditions: Vec<Condition>,
    /// Show differences from this run; side by side, the first run is the baseline
    #[arg(long, value_name = "RUN")]
    pub baseline: Option<String>,
    /// One run per row, sorted by this column: a parameter or a metric, best first
    #[arg(long, value_name = "COLUMN")]
    pub sort: Option<String>,
    /// Reverse the order
    #[arg(long, requires = "sort")]
    pub reverse: bool,
    /// Compare the best validation Dice within this wall time of training, for example 15m; one run
    /// per row, best first
    #[arg(long, value_name = "TIME", conflicts_with_all = ["cases", "each"])]
    pub at: Option<String>,
    /// Only these metrics, for example dice or final.dice
    #[arg(long = "metric", value_name = "NAME")]
    pub metrics: Vec<String>,
    /// Only these stages
    #[arg(long = "stage", value_name = "ID")]
    pub stages: Vec<String>,
    /// Show all metrics, those that are equal too, and runs with identical parameters and results
    /// one by one
    #[arg(long)]
    pub all: bool,
    /// Also compare Dice per case, from greatest loss to greatest gain, with a paired test
    #[arg(long)]
    pub cases: bool,
    /// Also show times, speeds and memory
    #[arg(long)]
    pub measured: bool,
    /// Compare a sweep's runs instead of its variants
    #[arg(long)]
    pub each: bool,
    #[command(flatten)]
    pub output: OutputArgs,
}

impl CompareArgs {
    pub fn wants_stage(&self, stage: &str) -> bool {
        self.stages.is_empty() || self.stages.iter().any(|name| name == stage)
    }

    /// True if a stage's cases are compared: it is among the stages, and a metric's column, as
    /// 'final.dice', if any is given, belongs to it.
    pub fn wants_cases_of(&self, stage: &str) -> bool {
        let mut columns = self.metrics.iter().filter(|name| name.contains('.')).peekable();
        let is_named = columns.peek().is_none()
            || columns
                .any(|name| name.strip_prefix(stage).is_some_and(|rest| rest.starts_with('.')));
        self.wants_stage(stage) && is_named
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_and_metrics_choose_whose_cases_are_compared() {
        let named = |stages: &[&str], metrics: &[&str]| CompareArgs {
            stages: stages.iter().map(ToString::to_string).collect(),
            metrics: metrics.iter().map(ToString::to_string).collect(),
            ..CompareArgs::default()
        };
        let of =
            |compare: CompareArgs| ["score", "final"].map(|stage| compare.wants_cases_of(stage));
        assert_eq!(of(named(&[], &[])), [true, true]);
        assert_eq!(of(named(&[], &["dice"])), [true, true]);
        assert_eq!(of(named(&[], &["final.dice"])), [false, true]);
        assert_eq!(of(named(&["score"], &["dice"])), [true, false]);
    }
}
