//! Workflow files: reading, checking and sorting. A [`Workflow`] is always valid.
//!
//! `parse` and `source_map` read the text, `merge_keys` applies `<<`, `overrides` handles `--set`,
//! `environment` expands variables, `schema`, `validate` and `roles` find mistakes, `check` combines
//! them, `resolved` writes a workflow back. `paths` checks user files. `axes` parses a sweep, `sweep`
//! expands it into runs. `earlier` has the names of earlier runs' artifacts among needs.

mod axes;
mod check;
mod diagnostic;
pub mod earlier;
pub mod environment;
mod merge_keys;
mod order;
mod overrides;
mod parse;
pub mod paths;
mod resolved;
mod roles;
mod schema;
pub mod settings;
mod source_map;
mod spec;
pub mod stage_resources;
mod surroundings;
pub mod sweep;
#[cfg(test)]
mod tests;
mod text_nodes;
#[cfg(test)]
pub(crate) mod toys;
mod validate;

use earlier::NoRuns;

pub use diagnostic::{Diagnostic, SourceSpan, either, nearest};
pub use environment::Environment;
pub use overrides::{Override, Setting};
pub use roles::Roles;
pub use schema::describe;
pub use source_map::MOST_BYTES;
pub use spec::{Axis, StageSpec, Workflow};
pub use surroundings::Surroundings;
pub use sweep::Variant;

use voxflow_stages::Kind;

impl Workflow {
    /// Parses and checks a workflow without earlier runs; `file` is its name in mistakes.
    pub fn parse(
        file: &str,
        text: &[u8],
        overrides: &[Override],
        kinds: &'static [Kind],
        environment: &Environment,
    ) -> Result<Workflow, Vec<Diagnostic>> {
        Workflow::read(file, text, overrides, Surroundings { kinds, environment, runs: &NoRuns })
    }

    /// Like [`Workflow::parse`], with the runs that its needs may name.
    pub fn read(
        file: &str,
        text: &[u8],
        overrides: &[Override],
        around: Surroundings,
    ) -> Result<Workflow, Vec<Diagnostic>> {
        let (document, mistakes) = parse::parse(file, text)?;
        check::check(document, mistakes, overrides, around)
    }
}
