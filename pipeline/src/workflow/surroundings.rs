//! Everything beside its text that a workflow is read with.

use super::earlier::EarlierRuns;
use super::environment::Environment;
use super::extends::ReadFile;
use voxflow_stages::Kind;

/// Kinds, variables and earlier runs.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    pub kinds: &'static [Kind],
    /// Variables by name.
    pub environment: &'a Environment<'a>,
    /// Runs whose artifacts needs may name.
    pub runs: &'a dyn EarlierRuns,
    /// Reads files that are extended.
    pub files: &'a ReadFile<'a>,
}
