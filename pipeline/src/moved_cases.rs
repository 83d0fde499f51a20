//! Cases that changed sides: a split that differs from the last one of the same workflow, so that a
//! testing case now trains, or the other way round. Runs with other test sets are not comparable;
//! `plan` says it before any work, `run` when the split is there.

use crate::explain::Explainer;
use crate::plan::Plan;
use crate::run::StageRecord;
use crate::workflow::StageSpec;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use voxflow_cache::{Artifact, Store};
use voxflow_stages::dataset::{Listing, Split};
use voxflow_stages::kinds::split::SplitCases;
use voxflow_stages::stage::ArtifactType;

/// Most cases named in a message.
const MOST_NAMES: usize = 8;

/// True if a stage makes a split.
pub fn is_split(stage: &StageSpec) -> bool {
    stage.kind.makes == ArtifactType::Split
}

/// The cases that changed sides in this split since the newest earlier run of the workflow whose
/// split had the same parameters, `exclude` aside; `None` if there are none.
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

/// The same before any work, for each split whose dataset is known: the stage's id and the words.
/// Nothing is said where all is reused.
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

/// The split that a stage will make, where its dataset is there or can be listed.
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

/// The artifact of the newest run's split with these parameters.
fn last<'h>(workflow: &str, stage: &StageSpec, history: &'h Explainer) -> Option<&'h Artifact> {
    let now = without_exclude(&stage.kind.hashed(&stage.params));
    let is_same = |row: &&StageRecord| {
        row.recipe.as_ref().is_some_and(|recipe| without_exclude(&recipe.params) == now)
    };
    history.records(workflow, &stage.id).filter(is_same).find_map(|row| row.artifact.as_ref())
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

/// The cases of both splits that are on another side in the second.
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
        "{count} {cases} changed sides since the last run: {named}{more}. Scores of the two are not \
         comparable; 'order: hash' keeps cases where they are when others come or go"
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
