//! Workflow files: reading, checking and sorting. A [`Workflow`] is always valid.
//!
//! `parse` and `source_map` read the text, `merge_keys` applies `<<`, `overrides` handles `--set`,
//! `environment` expands variables, `schema`, `validate` and `roles` find mistakes, `check`
//! combines them, `resolved` writes a workflow back. `paths` checks user files. `folds` repeats
//! stages for the folds of a cross-validation, `axes` parses a sweep, `sweep` expands it into runs.

mod axes;
mod check;
mod diagnostic;
pub mod environment;
mod folds;
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
pub mod sweep;
#[cfg(test)]
mod tests;
mod text_nodes;
#[cfg(test)]
pub(crate) mod toys;
mod validate;

pub use diagnostic::{Diagnostic, SourceSpan, either, nearest};
pub use environment::Environment;
pub use overrides::{Override, Setting};
pub use roles::Roles;
pub use schema::describe;
pub use source_map::MOST_BYTES;
pub use spec::{Axis, StageSpec, Workflow};
pub use sweep::Variant;

use voxflow_stages::Kind;

impl Workflow {
    /// Parses and checks a workflow; `file` is its name in mistakes.
    pub fn parse(
        file: &str,
        text: &[u8],
        overrides: &[Override],
        kinds: &'static [Kind],
        environment: &Environment,
    ) -> Result<Workflow, Vec<Diagnostic>> {
        let (document, mistakes) = parse::parse(file, text)?;
        check::check(document, mistakes, overrides, kinds, environment)
    }
}
