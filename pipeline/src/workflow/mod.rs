//! Workflow files: reading, checking and sorting. A [`Workflow`] is always valid.
//!
//! `parse` and `source_map` read the text, `merge_keys` applies `<<`, `extends` merges files,
//! `overrides` handles `--set`, `environment` expands variables, `schema`, `validate` and `roles`
//! find mistakes, `check` combines them, with those of each stage from `stage_check`; `resolved`
//! writes a workflow back. `paths` checks user files. `folds` repeats stages for the folds of a
//! cross-validation, `axes` parses a sweep, `sweep` expands it into runs. `earlier` has the names
//! of earlier runs' artifacts among needs.

mod axes;
mod base;
mod check;
mod diagnostic;
pub mod earlier;
pub mod environment;
pub mod extends;
mod folds;
mod merge_keys;
mod order;
mod overrides;
mod parse;
mod parse_context;
pub mod paths;
mod resolved;
mod roles;
mod schema;
pub mod settings;
mod source_map;
mod spec;
mod stage_check;
pub mod stage_resources;
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
pub use parse_context::ParseContext;
pub use roles::Roles;
pub use schema::describe;
pub use source_map::MOST_BYTES;
pub use spec::{Axis, StageSpec, Workflow};
pub use sweep::Variant;

use std::io;
use std::path::Path;
use voxflow_stages::Kind;

impl Workflow {
    /// Parses and checks a workflow alone, without earlier runs and other files; `file` is its name
    /// in mistakes.
    pub fn parse(
        file: &str,
        text: &[u8],
        overrides: &[Override],
        kinds: &'static [Kind],
        environment: &Environment,
    ) -> Result<Workflow, Vec<Diagnostic>> {
        let files = &no_files;
        let around = ParseContext { kinds, environment, runs: &NoRuns, files };
        Workflow::read(file, text, overrides, around)
    }

    /// Like [`Workflow::parse`], with runs that its needs may name, and files that it may extend.
    pub fn read(
        file: &str,
        text: &[u8],
        overrides: &[Override],
        around: ParseContext,
    ) -> Result<Workflow, Vec<Diagnostic>> {
        let (document, mut mistakes) = parse::parse(file, text)?;
        let (document, more) = extends::apply(document, around.files)?;
        mistakes.extend(more);
        check::check(document, mistakes, overrides, around)
    }
}

fn no_files(_path: &Path) -> io::Result<Vec<u8>> {
    Err(io::Error::other("other files are not looked up here"))
}
