//! A draft as a workflow.

use crate::workflow::{Diagnostic, Workflow};
use std::path::Path;
use voxflow_stages::kinds::KINDS;

/// Reads a draft as `voxflow run` will.
pub(super) fn workflow(text: &str, file: &Path) -> std::result::Result<Workflow, Vec<Diagnostic>> {
    Workflow::parse(&file.display().to_string(), text.as_bytes(), &[], KINDS, &|_| None)
}
