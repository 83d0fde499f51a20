//! The flags of `voxflow compare`.

use super::condition::Condition;
use crate::commands::output::OutputArgs;
use clap::Args;

/// The runs and the output format.
#[derive(Debug, Default, Args)]
pub struct CompareArgs {
    /// The runs: latest, ids, beginnings of ids, folders; a workflow's name is all its runs, a
    /// sweep's id (or 'sweep', the newest) its variants; without any, all runs there are
    #[arg(value_name = "RUN")]
    pub runs: Vec<String>,
    /// Only runs that fulfil this, as 'model.learning_rate < 0.001' or 'score.dice > 0.8': a name,
    /// a comparison (< <= > >= = !=), a value; may be given several times, and all must hold
    #[arg(long = "where", value_name = "CONDITION")]
    pub conditions: Vec<Condition>,
    /// Show differences from this run; side by side, the first is the baseline
    #[arg(long, value_name = "RUN")]
    pub baseline: Option<String>,
    /// One run a row, sorted by this column: a parameter or a metric, what is better first
    #[arg(long, value_name = "COLUMN")]
    pub sort: Option<String>,
    /// Sort the other way round
    #[arg(long, requires = "sort")]
    pub reverse: bool,
    /// Only these metrics, as dice or final.dice
    #[arg(long = "metric", value_name = "NAME")]
    pub metrics: Vec<String>,
    /// Each case's Dice too, from the greatest loss to the greatest gain, with a paired test
    #[arg(long)]
    pub cases: bool,
    /// Times, speeds and memory too
    #[arg(long)]
    pub measured: bool,
    /// The runs of a sweep rather than its variants
    #[arg(long)]
    pub each: bool,
    /// The form.
    #[command(flatten)]
    pub output: OutputArgs,
}
