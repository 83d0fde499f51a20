//! Data leakage: a model must not be scored or selected by cases from its training.

use voxflow_stages::model::provenance::{Leak, leak_words};
use voxflow_stages::{Context, Error, Result};

/// Errors if a model has seen cases in a subset, and lists them; warns if allowed.
pub fn refuse_leaks(
    cx: &Context,
    stage: &str,
    subset: &str,
    leaks: &[Leak],
    allow_leakage: bool,
) -> Result<()> {
    if leaks.is_empty() {
        return Ok(());
    }
    let words =
        format!("data leakage: model '{stage}' has seen {subset} cases: {}", leak_words(leaks));
    if allow_leakage {
        cx.warn(words);
        return Ok(());
    }
    Err(Error::failed(format!(
        "{words}; take these cases out of the {subset} part, or set 'allow_leakage: true' to score \
         them all the same"
    )))
}
