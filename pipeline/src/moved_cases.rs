//! Cases that changed sides since the last split, such as testing cases now used for training.
//! Scores from different test sets are not comparable; `plan` warns beforehand, `run` after
//! splitting.

use crate::explain::Explainer;
use crate::plan::Plan;
use crate::workflow::StageSpec;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use voxflow_cache::{Artifact, Store};
use voxflow_stages::dataset::{Listing, Split};
use voxflow_stages::kinds::split::SplitCases;
use voxflow_stages::stage::ArtifactType;

const MOST_NAMES: usize = 8;

pub fn is_split(stage: &StageSpec) -> bool {
    stage.makes == ArtifactType::Split
}

/// Message on cases with a new side, compared with the newest earlier run whose split had equal
/// parameters except `exclude`; `None` without changes.
pub fn words(
    artifact: &Artifact,
    workflow: &str,
    stage: &StageSpec,
    store: &Store,
    history: &Explainer,
) -> Option<String> {
    let before = last(workflow, stage, history)?;
    if before == artifact {
        return None;
    }
    moved(&read(before, store)?, &read(artifact, store)?)
}

/// Same check in advance, for splits with a known or listable dataset: stage ids and messages.
/// Empty if everything is reused.
pub fn foreseen(plan: &Plan, store: &Store, history: &Explainer) -> Vec<(String, String)> {
    if (0..plan.steps.len()).all(|index| !plan.is_open(index)) {
        return vec![];
    }
    let splits = plan.workflow.stages.iter().filter(|stage| is_split(stage));
    let each = splits.filter_map(|stage| {
        let before = read(last(&plan.workflow.name, stage, history)?, store)?;
        let now = match plan.artifact(&stage.id) {
            Some(artifact) => read(artifact, store)?,
            None => foresee(plan, stage, store)?,
        };
        Some((stage.id.clone(), moved(&before, &now)?))
    });
    each.collect()
}

/// Predicts a stage's split if its dataset is made or listable.
fn foresee(plan: &Plan, stage: &StageSpec, store: &Store) -> Option<Split> {
    let id = stage.needs.values().flatten().next()?;
    let listing: Listing = match plan.artifact(id) {
        Some(artifact) => json(&store.path(artifact.get("dataset.json")?))?,
        None => {
            let dataset = plan.workflow.stage(id)?;
            dataset.kind.listing(&dataset.params)?
        }
    };
    let params: SplitCases = serde_json::from_value(stage.params.clone()).ok()?;
    params.of_listing(listing).ok().map(|(split, _)| split)
}

/// Artifact from the newest run's split with equal parameters.
fn last<'h>(workflow: &str, stage: &StageSpec, history: &'h Explainer) -> Option<&'h Artifact> {
    let now = without_exclude(&stage.kind.hashed(&stage.params));
    history
        .records(workflow, &stage.id)
        .filter(|row| {
            row.recipe.as_ref().is_some_and(|recipe| without_exclude(&recipe.params) == now)
        })
        .find_map(|row| row.artifact.as_ref())
}

fn without_exclude(params: &Value) -> Value {
    let mut params = params.clone();
    if let Value::Object(fields) = &mut params {
        fields.remove("exclude");
    }
    params
}

fn read(artifact: &Artifact, store: &Store) -> Option<Split> {
    json(&store.path(artifact.get("split.json")?))
}

fn json<T: serde::de::DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

/// Describes cases present in both splits with different sides.
fn moved(before: &Split, now: &Split) -> Option<String> {
    let (before, now) = (sides(before), sides(now));
    let each = before.iter().filter_map(|(name, from)| {
        let to = now.get(name).filter(|to| *to != from)?;
        Some(format!("{name} {from} -> {to}"))
    });
    let each: Vec<String> = each.collect();
    let count = each.len();
    if count == 0 {
        return None;
    }
    let more = count.saturating_sub(MOST_NAMES);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    let named = each.into_iter().take(MOST_NAMES).collect::<Vec<_>>().join("; ");
    let cases = if count == 1 { "case" } else { "cases" };
    Some(format!(
        "{count} {cases} changed sides since the last run: {named}{more}. Scores of the two are \
         not comparable; 'order: hash' keeps cases where they are when others come or go"
    ))
}

fn sides(split: &Split) -> BTreeMap<&str, &'static str> {
    let parts = [
        ("training", &split.training),
        ("validation", &split.validation),
        ("testing", &split.testing),
    ];
    let each = parts.into_iter().flat_map(|(part, names)| names.iter().map(move |n| (n, part)));
    each.map(|(name, part)| (name.as_str(), part)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(training: &[&str], testing: &[&str]) -> Split {
        let names = |each: &[&str]| each.iter().map(|name| name.to_string()).collect();
        Split { training: names(training), testing: names(testing), ..Split::default() }
    }

    #[test]
    fn cases_on_another_side_are_named_and_new_ones_are_not() {
        let before = split(&["a", "b", "c"], &["d", "e"]);
        let now = split(&["a", "b", "d", "new"], &["e", "c"]);
        let words = moved(&before, &now).unwrap();
        assert!(
            words.starts_with(
                "2 cases changed sides since the last run: c training -> testing; d testing -> training."
            ),
            "{words}"
        );
        assert_eq!(moved(&before, &split(&["a", "b", "c", "new"], &["d", "e"])), None);
        assert_eq!(moved(&before, &split(&["a", "b"], &["d", "e"])), None, "an excluded case");
    }
}
