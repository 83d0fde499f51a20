//! Everything beside the text for reading a workflow.

use super::earlier::EarlierRuns;
use super::environment::Environment;
use super::extends::ReadFile;
use voxflow_stages::Kind;

/// Kinds, variables and earlier runs.
#[derive(Clone, Copy)]
pub struct ParseContext<'a> {
    pub kinds: &'static [Kind],
    /// Variables by name.
    pub environment: &'a Environment<'a>,
    /// Earlier runs for needs.
    pub runs: &'a dyn EarlierRuns,
    /// Reads base files.
    pub files: &'a ReadFile<'a>,
}
