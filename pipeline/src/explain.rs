//! Explains why a stage must be made: differences to its last making.
//!
//! Compares with the most similar stage record in recent runs of the same workflow, hence reasons
//! outlive the store's entries. A changed input is traced to the stages whose parameters or files
//! changed. Other workflows are no reason; the store's entries only tell a new version of a kind.

use crate::home::Home;
use crate::run::{RunRecord, StageRecord};
use crate::runs::short;
use crate::workflow::StageSpec;
use crate::workflow::earlier::EarlierName;
use crate::workflow::paths::LOCAL;
use serde_json::Value;
use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use voxflow_cache::{Entry, Recipe, Store};

/// Recent runs searched.
const MOST_RUNS: usize = 30;
/// Newest entries per kind searched if no run has the stage.
const MOST_ENTRIES: usize = 200;
/// Differences listed for a stage in a reason.
const MOST_WORDS: usize = 4;
const FIRST_RUN: &str = "first run of this workflow";

/// Earlier runs and entries; read on first use.
pub struct Explainer<'a> {
    home: &'a Home,
    store: &'a Store,
    runs: OnceCell<RecentRuns>,
    /// Newest entries by kind.
    entries: OnceCell<BTreeMap<String, Vec<EntryFacts>>>,
}

/// Creation time, recipe, wall time in seconds.
type EntryFacts = (u64, Recipe, f64);

/// A stage of the plan by its id, with its recipe if known.
pub type PlannedRecipes<'p> = dyn Fn(&str) -> Option<(&'p StageSpec, &'p Recipe)> + 'p;

/// Recent runs, newest first.
struct RecentRuns {
    runs: Vec<RunRecord>,
    /// True if no older runs exist.
    are_all: bool,
    /// By workflow and stage: indices (run, stage) for records made or reused.
    rows: HashMap<String, HashMap<String, Vec<(usize, usize)>>>,
}

/// A difference between two recipes.
#[derive(Clone, Debug, PartialEq)]
pub enum Difference {
    Version {
        old: u32,
        new: u32,
    },
    /// A parameter by dotted path; `None` if absent.
    Param {
        path: String,
        old: Option<Value>,
        new: Option<Value>,
    },
    /// An input by its recipe name.
    Input {
        name: String,
    },
}

impl<'a> Explainer<'a> {
    pub fn new(home: &'a Home, store: &'a Store) -> Explainer<'a> {
        Explainer { home, store, runs: OnceCell::new(), entries: OnceCell::new() }
    }

    /// Reason for making this recipe, and the last making's wall time. `planned` knows the stages
    /// before it.
    pub fn explain(
        &self,
        workflow: &str,
        stage: &StageSpec,
        recipe: &Recipe,
        planned: &PlannedRecipes,
    ) -> (String, Option<f64>) {
        if let Some((before, seconds, run)) = self.nearest_run(workflow, &stage.id, recipe) {
            let found = differences(before, recipe);
            let words = match &found[..] {
                [] => "what was made is no longer in the store".to_string(),
                [Difference::Version { old, new }] => versions(stage, *old, *new, seconds),
                _ => {
                    let words = caused(&found, stage, run, planned);
                    format!("{words} (compared with run {})", short(&run.run))
                }
            };
            return (words, seconds);
        }
        // Programs of other stages have nothing in common with this one.
        if !stage.kind.runs_program
            && let Some((before, seconds)) = self.most_similar(recipe)
            && let [Difference::Version { old, new }] = differences(before, recipe)[..]
        {
            return (versions(stage, old, new, Some(seconds)), Some(seconds));
        }
        let words = if self.is_new(workflow) { FIRST_RUN } else { "not made before" };
        (words.into(), None)
    }

    /// True if no run of this workflow exists.
    fn is_new(&self, workflow: &str) -> bool {
        let RecentRuns { rows, are_all, .. } = self.recent();
        *are_all && rows.get(workflow).is_none_or(HashMap::is_empty)
    }

    /// A stage's records in recent runs, newest first, if made or reused.
    pub fn records(&self, workflow: &str, stage: &str) -> impl Iterator<Item = &StageRecord> {
        self.rows(workflow, stage).map(|(_, row)| row)
    }

    /// Wall time of a stage's last making, in seconds.
    pub fn cost(&self, workflow: &str, stage: &str) -> Option<f64> {
        self.rows(workflow, stage).next()?.1.made_in_seconds
    }

    /// Peak memory of the process that made the stage last, in bytes.
    pub fn peak_memory(&self, workflow: &str, stage: &str) -> Option<u64> {
        self.rows(workflow, stage).find_map(|(_, row)| row.maker["peak_rss_bytes"].as_u64())
    }

    /// Size of a stage's last artifact inside the store, in bytes.
    pub fn bytes(&self, workflow: &str, stage: &str) -> Option<u64> {
        let artifact = self.rows(workflow, stage).find_map(|(_, row)| row.artifact.as_ref())?;
        Some(
            artifact
                .0
                .values()
                .filter(|blob| blob.reference.is_none())
                .map(|blob| blob.bytes)
                .sum(),
        )
    }

    /// Recipe, wall time and run of the record with fewest differences; the newest among equals. In
    /// a sweep, the neighbouring variant gives the shortest reason.
    fn nearest_run(
        &self,
        workflow: &str,
        stage: &str,
        recipe: &Recipe,
    ) -> Option<(&Recipe, Option<f64>, &RunRecord)> {
        let rows = self.rows(workflow, stage);
        let before =
            rows.filter_map(|(run, row)| Some((row.recipe.as_ref()?, row.made_in_seconds, run)));
        before.min_by_key(|(before, ..)| differences(before, recipe).len())
    }

    fn recent(&self) -> &RecentRuns {
        self.runs.get_or_init(|| RecentRuns::of(self.home))
    }

    /// A stage's records with their runs, newest first.
    fn rows(
        &self,
        workflow: &str,
        stage: &str,
    ) -> impl Iterator<Item = (&RunRecord, &StageRecord)> {
        let RecentRuns { runs, rows, .. } = self.recent();
        let places = rows.get(workflow).and_then(|stages| stages.get(stage)).into_iter().flatten();
        places.map(|&(run, row)| (&runs[run], &runs[run].stages[row]))
    }

    fn most_similar(&self, recipe: &Recipe) -> Option<(&Recipe, f64)> {
        let entries = self.entries.get_or_init(|| {
            let whole = self
                .store
                .entries()
                .filter_map(Result::ok)
                .filter(|entry| !entry.recipe.kind.contains('/'));
            let mut kinds: BTreeMap<String, Vec<_>> = BTreeMap::new();
            for Entry { recipe, made_at, seconds, .. } in whole {
                kinds.entry(recipe.kind.clone()).or_default().push((made_at, recipe, seconds));
            }
            for entries in kinds.values_mut() {
                entries.sort_by_key(|(made_at, ..)| std::cmp::Reverse(*made_at));
                entries.truncate(MOST_ENTRIES);
            }
            kinds
        });
        let same = entries.get(&recipe.kind)?.iter();
        let (_, before, seconds) =
            same.min_by_key(|(_, before, _)| differences(before, recipe).len())?;
        Some((before, *seconds))
    }
}

impl RecentRuns {
    /// Reads the newest runs in a home.
    fn of(home: &Home) -> RecentRuns {
        let folders = home.all_runs().unwrap_or_default();
        let newest = folders.iter().rev().take(MOST_RUNS);
        let mut runs: Vec<RunRecord> = newest.filter_map(|folder| folder.record().ok()).collect();
        // Folders are named by the second.
        runs.sort_by_key(|run| std::cmp::Reverse(run.started_at_ms));
        let mut rows: HashMap<String, HashMap<String, Vec<_>>> = HashMap::new();
        for (at, run) in runs.iter().enumerate() {
            let stages = rows.entry(run.workflow.clone()).or_default();
            for (row, stage) in
                run.stages.iter().enumerate().filter(|(_, stage)| stage.made_in_seconds.is_some())
            {
                stages.entry(stage.stage.clone()).or_default().push((at, row));
            }
        }
        RecentRuns { runs, are_all: folders.len() <= MOST_RUNS, rows }
    }
}

/// Differences in version, parameters and inputs.
pub fn differences(old: &Recipe, new: &Recipe) -> Vec<Difference> {
    let mut found = vec![];
    if old.version != new.version {
        found.push(Difference::Version { old: old.version, new: new.version });
    }
    let (before, now) = (leaves(&old.params), leaves(&new.params));
    for path in before.keys().chain(now.keys()).collect::<BTreeSet<_>>() {
        let (old, new) = (before.get(path), now.get(path));
        if old.map(comparable) != new.map(comparable) {
            found.push(Difference::Param {
                path: path.clone(),
                old: old.cloned(),
                new: new.cloned(),
            });
        }
    }
    for name in old.inputs.keys().chain(new.inputs.keys()).collect::<BTreeSet<_>>() {
        if old.inputs.get(name) != new.inputs.get(name) {
            found.push(Difference::Input { name: name.clone() });
        }
    }
    found
}

/// Differences in words: version, parameters and own files; empty if only made inputs differ.
pub fn changes(old: &Recipe, new: &Recipe) -> String {
    own_words(&differences(old, new)).join(", ")
}

/// Leaf values by dotted path; lists are leaves.
fn leaves(value: &Value) -> BTreeMap<String, Value> {
    fn gather(value: &Value, path: &str, out: &mut BTreeMap<String, Value>) {
        match value {
            Value::Object(fields) if !fields.is_empty() || path.is_empty() => {
                fields.iter().for_each(|(key, field)| {
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    gather(field, &path, out);
                })
            }
            other => drop(out.insert(path.to_string(), other.clone())),
        }
    }
    let mut out = BTreeMap::new();
    gather(value, "", &mut out);
    out
}

/// Normal form for comparison: numbers as f64, as in recipes.
fn comparable(value: &Value) -> Value {
    match value {
        Value::Number(number) => {
            number.as_f64().map_or(Value::Null, |number| (number + 0.0).into())
        }
        Value::Array(items) => items.iter().map(comparable).collect(),
        Value::Object(fields) => Value::Object(
            fields.iter().map(|(key, field)| (key.clone(), comparable(field))).collect(),
        ),
        other => other.clone(),
    }
}

/// "train is now version 2, was 1: 3 min 12 s; '--accept-version train=1' reuses it".
fn versions(stage: &StageSpec, old: u32, new: u32, seconds: Option<f64>) -> String {
    let kind = stage.kind.name;
    let cost = seconds.map(|seconds| format!(": {}", crate::humanize::duration(seconds)));
    format!(
        "{kind} is now version {new}, was {old}{}; '--accept-version {kind}={old}' reuses it",
        cost.unwrap_or_default()
    )
}

/// The stage's own differences, then those of the stages before it behind its changed inputs:
/// "epochs 2 → 3, 'split' changed: seed 0 → 1".
fn caused(
    differences: &[Difference],
    stage: &StageSpec,
    run: &RunRecord,
    planned: &PlannedRecipes,
) -> String {
    let mut parts = own_words(differences);
    let mut causes: Vec<(String, String)> = vec![];
    for name in inputs(differences) {
        match source(name, stage) {
            Some(id) if EarlierName::is_meant(id) => parts.push(format!("'{name}' is now {id}")),
            Some(id) => trace(id, run, planned, &mut causes),
            None => parts.push(format!("input '{name}' is gone")),
        }
    }
    parts.extend(causes.into_iter().map(|(id, words)| match words.as_str() {
        "" => format!("'{id}' changed"),
        words => format!("'{id}' changed: {words}"),
    }));
    parts.join(", ")
}

/// Adds the stages behind a changed input: `id` itself if its parameters or files changed, and
/// those behind its inputs; `id` without words if neither is known.
fn trace(id: &str, run: &RunRecord, planned: &PlannedRecipes, causes: &mut Vec<(String, String)>) {
    if causes.iter().any(|(known, _)| known == id) {
        return;
    }
    let before = run.stage(id).and_then(|row| row.recipe.as_ref());
    let (Some(before), Some((stage, now))) = (before, planned(id)) else {
        return causes.push((id.to_string(), String::new()));
    };
    let found = differences(before, now);
    let (own, count) = (own_words(&found), causes.len());
    if !own.is_empty() {
        causes.push((id.to_string(), own.join(", ")));
    }
    for before in inputs(&found).filter_map(|name| source(name, stage)) {
        trace(before, run, planned, causes);
    }
    let is_known = inputs(&found).filter_map(|name| source(name, stage)).next().is_some();
    if own.is_empty() && causes.len() == count && !is_known {
        causes.push((id.to_string(), String::new()));
    }
}

/// Names of inputs from other stages.
fn inputs(differences: &[Difference]) -> impl Iterator<Item = &str> {
    differences.iter().filter_map(|difference| match difference {
        Difference::Input { name } if !name.starts_with(LOCAL) => Some(name.as_str()),
        _ => None,
    })
}

/// The stage that an input comes from.
fn source<'s>(name: &str, stage: &'s StageSpec) -> Option<&'s str> {
    let (role, number) = name
        .split_once('.')
        .map_or((name, 0), |(role, number)| (role, number.parse().unwrap_or(0)));
    stage.needs.get(role)?.get(number).map(String::as_str)
}

/// Differences in version, parameters and the person's own files, the first few.
fn own_words(differences: &[Difference]) -> Vec<String> {
    let (mut words, mut files) = (vec![], vec![]);
    for difference in differences {
        match difference {
            Difference::Version { old, new } => words.push(format!("version {old} → {new}")),
            Difference::Param { path, old, new } => {
                words.push(format!("{path} {} → {}", shown(old), shown(new)));
            }
            Difference::Input { name } => files.extend(name.strip_prefix(LOCAL)),
        }
    }
    match files[..] {
        [] => {}
        [file] => words.push(format!("file '{file}' changed")),
        [first, ..] => words.push(format!("{} files changed, '{first}' first", files.len())),
    }
    let more = words.len().saturating_sub(MOST_WORDS);
    words.truncate(MOST_WORDS);
    if more > 0 {
        words.push(format!("{more} more"));
    }
    words
}

fn shown(value: &Option<Value>) -> String {
    let text = match value {
        None => return "(not set)".into(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    if text.chars().count() > 40 { text.chars().take(39).chain(['…']).collect() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use voxflow_cache::Digest;

    fn recipe(params: Value) -> Recipe {
        let inputs = BTreeMap::from([("cache".to_string(), Digest::of(b"1"))]);
        Recipe { kind: "train".into(), version: 3, params, inputs }
    }

    #[test]
    fn a_difference_names_the_parameter_and_both_values() {
        let (old, new) =
            (json!({"rate": 0.1, "a": {"b": [1, 2]}}), json!({"rate": 0.2, "a": {"b": [1, 2.0]}}));
        let expected =
            Difference::Param { path: "rate".into(), old: Some(json!(0.1)), new: Some(json!(0.2)) };
        assert_eq!(differences(&recipe(old), &recipe(new)), [expected]);
    }

    #[test]
    fn a_changed_input_is_traced_to_the_parameter_behind_it() {
        let workflow = crate::workflow::toys::workflow();
        let mut record = crate::runs::tests::record("20260101-000000-toys-abc123", "toys", 0);
        let base = record.stages[0].clone();
        let recipe = |rate: f64, input: &[u8]| Recipe {
            inputs: BTreeMap::from([("data".to_string(), Digest::of(input))]),
            ..recipe(json!({"rate": rate}))
        };
        let row = |id: &str, recipe: Recipe| StageRecord {
            stage: id.into(),
            recipe: Some(recipe),
            ..base.clone()
        };
        record.stages = vec![row("model", recipe(0.1, b"1"))];
        let model = workflow.stage("model").expect("a stage");
        let (now, id) = (recipe(0.2, b"1"), "model");
        let planned = |asked: &str| (asked == id).then_some((model, &now));
        let mut causes = vec![];
        trace("model", &record, &planned, &mut causes);
        trace("model", &record, &planned, &mut causes);
        trace("gone", &record, &planned, &mut causes);
        let expected = [("model", "rate 0.1 → 0.2"), ("gone", "")];
        assert_eq!(causes, expected.map(|(id, words)| (id.to_string(), words.to_string())));
    }

    #[test]
    fn many_differences_are_counted_after_the_first() {
        let params = |value: u32| json!({"a": value, "b": value, "c": value, "d": value, "e": value, "f": null});
        let words = own_words(&differences(&recipe(params(1)), &recipe(params(2))));
        assert_eq!(words, ["a 1 → 2", "b 1 → 2", "c 1 → 2", "d 1 → 2", "1 more"]);
    }

    #[test]
    fn versions_and_inputs_differ_by_themselves() {
        let old = recipe(json!({}));
        let newer = Recipe { version: 4, ..old.clone() };
        assert_eq!(differences(&old, &newer), [Difference::Version { old: 3, new: 4 }]);
        let other = Recipe {
            inputs: BTreeMap::from([("cache".to_string(), Digest::of(b"2"))]),
            ..old.clone()
        };
        assert_eq!(differences(&old, &other), [Difference::Input { name: "cache".into() }]);
        assert_eq!(differences(&old, &old), []);
    }
}
