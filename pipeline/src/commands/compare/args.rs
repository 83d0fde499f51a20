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
    /// Only these metrics, as dice or final.dice
    #[arg(long = "metric", value_name = "NAME")]
    pub metrics: Vec<String>,
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
