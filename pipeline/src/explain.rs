//! Explains why a stage must be made: differences to its last making.
//!
//! Compares with the most similar stage record in recent runs of the same workflow, hence reasons
//! outlive the store's entries; otherwise with the most similar entry of the same kind.

use crate::home::Home;
use crate::run::{RunRecord, StageRecord};
use crate::runs::short;
use crate::workflow::StageSpec;
use crate::workflow::paths::LOCAL;
use serde_json::Value;
use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use voxflow_cache::{Entry, Recipe, Store};

/// Recent runs searched.
const MOST_RUNS: usize = 30;
/// Newest entries per kind searched if no run has the stage.
const MOST_ENTRIES: usize = 200;
/// Differences listed in a reason.
const MOST_WORDS: usize = 4;

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

/// Recent runs, newest first.
struct RecentRuns {
    runs: Vec<RunRecord>,
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

    /// Reason for making this recipe, and the last making's wall time.
    pub fn explain(
        &self,
        workflow: &str,
        stage: &StageSpec,
        recipe: &Recipe,
    ) -> (String, Option<f64>) {
        let in_a_run = self.nearest_run(workflow, &stage.id, recipe);
        let in_the_store = || {
            // Programs of other stages have nothing in common with this one.
            let similar = if stage.kind.runs_program { None } else { self.most_similar(recipe) };
            similar.map(|(before, seconds)| (before, Some(seconds), None))
        };
        let Some((before, seconds, run)) = in_a_run.or_else(in_the_store) else {
            return ("not made before".into(), None);
        };
        (explain(&differences(before, recipe), stage, seconds, run), seconds)
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

    /// Recipe, wall time and short run id from the run with fewest differences; the newest among
    /// equals. In a sweep, the neighbouring variant gives the shortest reason.
    fn nearest_run(
        &self,
        workflow: &str,
        stage: &str,
        recipe: &Recipe,
    ) -> Option<(&Recipe, Option<f64>, Option<&str>)> {
        let rows = self.rows(workflow, stage);
        let before = rows.filter_map(|(run, row)| {
            Some((row.recipe.as_ref()?, row.made_in_seconds, Some(short(&run.run))))
        });
        before.min_by_key(|(before, ..)| differences(before, recipe).len())
    }

    /// A stage's records with their runs, newest first.
    fn rows(
        &self,
        workflow: &str,
        stage: &str,
    ) -> impl Iterator<Item = (&RunRecord, &StageRecord)> {
        let RecentRuns { runs, rows } = self.runs.get_or_init(|| RecentRuns::of(self.home));
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
        RecentRuns { runs, rows }
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

/// Leaf values by dotted path; lists are leaves.
fn leaves(value: &Value) -> BTreeMap<String, Value> {
    fn gather(value: &Value, path: &str, out: &mut BTreeMap<String, Value>) {
        match value {
            Value::Object(fields) if !fields.is_empty() => {
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

fn explain(
    differences: &[Difference],
    stage: &StageSpec,
    seconds: Option<f64>,
    run: Option<&str>,
) -> String {
    let kind = stage.kind.name;
    match differences {
        [] => "what was made is no longer in the store".to_string(),
        [Difference::Version { old, new }] => {
            let cost = seconds
                .map(|seconds| format!(": {}", crate::humanize::duration(seconds)))
                .unwrap_or_default();
            format!(
                "{kind} is now version {new}, was {old}{cost}; \
                 '--accept-version {kind}={old}' reuses it"
            )
        }
        _ => {
            let words = all_words(differences, stage);
            let more = words.len().saturating_sub(MOST_WORDS);
            let shown = words[..words.len().min(MOST_WORDS)].join(", ");
            let shown = if more > 0 { format!("{shown} and {more} more") } else { shown };
            match (run, differences) {
                (None, _) => shown,
                (Some(run), [Difference::Param { .. }]) => format!("{shown} in run {run}"),
                (Some(run), _) => format!("{shown}; before is run {run}"),
            }
        }
    }
}

fn all_words(differences: &[Difference], stage: &StageSpec) -> Vec<String> {
    let mut words = vec![];
    let mut files = vec![];
    for difference in differences {
        match difference {
            Difference::Version { old, new } => words.push(format!("version {old} → {new}")),
            Difference::Param { path, old, new } => {
                words.push(format!("'{path}' is {}, was {}", shown(new), shown(old)))
            }
            Difference::Input { name } => match name.strip_prefix(LOCAL) {
                Some(file) => files.push(file),
                None => words.push(input_words(name, stage)),
            },
        }
    }
    match files[..] {
        [] => {}
        [file] => words.push(format!("file '{file}' changed")),
        [first, ..] => words.push(format!("{} files changed, '{first}' first", files.len())),
    }
    words
}

fn input_words(name: &str, stage: &StageSpec) -> String {
    let (role, number) = name
        .split_once('.')
        .map_or((name, 0), |(role, number)| (role, number.parse().unwrap_or(0)));
    match stage.needs.get(role).and_then(|ids| ids.get(number)) {
        Some(id) => format!("what it reads of '{id}' changed"),
        None => format!("input '{name}' is gone"),
    }
}

fn shown(value: &Option<Value>) -> String {
    let text = match value {
        None => return "not there".into(),
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
