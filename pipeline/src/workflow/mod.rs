//! Workflows: the file of an experiment, read, checked and sorted. A [`Workflow`] is valid or does
//! not exist.
//!
//! `parse` and `places` read the text, `overrides` is `--set`, `environment` fills in variables,
//! `schema`, `judge` and `roles` know right from wrong, `check` puts them together, `resolved`
//! writes it back. `paths` looks for a person's own files. `axes` reads a sweep, `sweep` is the runs it comes to.

mod axes;
mod check;
pub mod environment;
mod judge;
mod mistake;
mod order;
mod overrides;
mod parse;
pub mod paths;
mod places;
mod resolved;
mod roles;
mod schema;
pub mod sweep;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod toys;

pub use environment::Environment;
pub use mistake::{Mistake, Place, either, nearest};
pub use overrides::{Override, Setting};
pub use places::MOST_BYTES;
pub use roles::{Roles, type_name};
pub use schema::describe;
pub use sweep::{Axis, Variant};

use serde_json::Value;
use std::collections::HashMap;
use voxflow_stages::Kind;

/// A valid workflow, its stages in topological order.
#[derive(Clone)]
pub struct Workflow {
    /// The file as named on the command line.
    pub file: String,
    /// The text as written.
    pub text: String,
    /// The name: `name`, or the file's.
    pub name: String,
    /// The default of each stage's own seed.
    pub seed: Option<u64>,
    /// The stages, each after those it needs.
    pub stages: Vec<StageSpec>,
    /// What is to be varied.
    pub sweep: Vec<Axis>,
    /// The place of each stage in the order, by its id.
    indices: HashMap<String, usize>,
}

/// One stage of a workflow.
#[derive(Clone)]
pub struct StageSpec {
    /// Its id.
    pub id: String,
    /// Its kind.
    pub kind: &'static Kind,
    /// The stages it reads, by role.
    pub needs: Roles,
    /// Its parameters as understood: defaults filled in, locators included.
    pub params: Value,
    /// Its parameters as written, with `${NAME}` and the workflow's seed.
    pub written: Value,
}

impl Workflow {
    /// Reads and checks a workflow's text. `file` is how mistakes name it.
    pub fn parse(
        file: &str,
        text: &[u8],
        overrides: &[Override],
        kinds: &'static [Kind],
        environment: &Environment,
    ) -> Result<Workflow, Vec<Mistake>> {
        let (document, mistakes) = parse::parse(file, text)?;
        check::check(document, mistakes, overrides, kinds, environment)
    }

    /// The stage of that id.
    pub fn stage(&self, id: &str) -> Option<&StageSpec> {
        self.index(id).map(|index| &self.stages[index])
    }

    /// The place of a stage in the order.
    pub fn index(&self, id: &str) -> Option<usize> {
        self.indices.get(id).copied()
    }
}

impl StageSpec {
    /// The ids of the stages it needs, each once, in the order of roles.
    pub fn needed(&self) -> Vec<&str> {
        let mut ids: Vec<&str> = vec![];
        for id in self.needs.values().flatten() {
            if !ids.contains(&id.as_str()) {
                ids.push(id);
            }
        }
        ids
    }
}
