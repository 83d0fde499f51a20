//! Parses sweep axes: dotted paths with value lists, `folds` and `seeds`.

use super::StageSpec;
use super::check::{WorkflowChecker, keys};
use super::diagnostic::SourceSpan;
use super::folds::{FOLDS, only_split};
use super::overrides::{Override, Setting};
use super::spec::Axis;
use super::sweep::MOST_RUNS;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use voxflow_stages::stage::{ArtifactType, Yields};

const BESIDE_FOLDS: &str = "stands beside 'folds' at the top, with which a single run has all \
                            folds: leave one of the two out";

impl WorkflowChecker<'_> {
    /// All axes, repeating ones last.
    pub(super) fn sweep(&mut self, top: &Map<String, Value>, stages: &[StageSpec]) -> Vec<Axis> {
        let fields = match top.get("sweep") {
            None | Some(Value::Null) => return vec![],
            Some(Value::Object(fields)) => fields,
            Some(_) => {
                let trouble = "must be a mapping from dotted path to a list of values".to_string();
                self.say(&keys(&["sweep"]), false, trouble, None);
                return vec![];
            }
        };
        let mut axes: Vec<Axis> =
            fields.iter().filter_map(|(name, values)| self.axis(name, values, stages)).collect();
        self.each_once(&axes);
        let runs =
            axes.iter().fold(1, |runs: usize, axis| runs.saturating_mul(axis.settings.len()));
        if runs > MOST_RUNS {
            let trouble = format!(
                "comes to {runs} runs, and {MOST_RUNS} is the most: try fewer values at once"
            );
            self.say(&keys(&["sweep"]), true, trouble, None);
        }
        axes.sort_by_key(|axis| axis.repeats);
        axes
    }

    fn axis(&mut self, name: &str, values: &Value, stages: &[StageSpec]) -> Option<Axis> {
        let here = keys(&["sweep", name]);
        let top_folds = self.document.value.get(FOLDS).is_some_and(|folds| !folds.is_null());
        let place = self.document.places.value(&here);
        let found = match name {
            "folds" if top_folds => Err(BESIDE_FOLDS.into()),
            "folds" => folds(values, stages),
            "seeds" => seeds(values, stages),
            paths => settings(paths, values).map(|settings| (settings, vec![])),
        };
        let (settings, common) = match found {
            Ok(found) => found,
            Err(trouble) => {
                self.say(&here, false, trouble, None);
                return None;
            }
        };
        let axis = Axis { settings, common, repeats: matches!(name, "folds" | "seeds"), place };
        self.leads_somewhere(&axis, &here);
        Some(axis)
    }

    /// Reports paths leading nowhere; values are checked later per run.
    fn leads_somewhere(&mut self, axis: &Axis, here: &[String]) {
        let mut trial = self.document.value.clone();
        for (path, value) in axis.settings.iter().flatten() {
            let value = Setting::Value(value.clone());
            let setting = Override { path: path.clone(), value, place: SourceSpan::Nowhere };
            if let Err((trouble, nearest)) = setting.apply(&mut trial, self.kinds) {
                return self.say(here, true, trouble, nearest);
            }
        }
    }

    /// Reports paths varied by two axes, which would overwrite each other.
    fn each_once(&mut self, axes: &[Axis]) {
        let mut seen = BTreeSet::new();
        for (path, _) in axes.iter().flat_map(|axis| &axis.settings[0]) {
            if !seen.insert(path) {
                self.say(
                    &keys(&["sweep"]),
                    true,
                    format!("'{path}' is varied twice: leave one of them out"),
                    None,
                );
            }
        }
    }
}

type Settings = Vec<Vec<(String, Value)>>;
type AxisSettings = Result<(Settings, Vec<(String, Value)>), String>;

/// `model.rate: [0.1, 0.2]`, or `model.rate, model.epochs: [[0.1, 20], [0.2, 10]]`.
fn settings(paths: &str, values: &Value) -> Result<Settings, String> {
    let paths: Vec<&str> = paths.split(',').map(str::trim).collect();
    let values = values.as_array().filter(|values| !values.is_empty());
    let values = values.ok_or("must be a list of values to try")?;
    values
        .iter()
        .map(|value| match (&paths[..], value) {
            ([path], value) => Ok(vec![((*path).to_string(), value.clone())]),
            (_, Value::Array(each)) if each.len() == paths.len() => {
                Ok(paths.iter().map(|path| (*path).to_string()).zip(each.iter().cloned()).collect())
            }
            (_, other) => Err(format!(
                "'{other}' must be a list of {} values, one for each path",
                paths.len()
            )),
        })
        .collect()
}

/// `folds: 5`: validates each variant on every fold.
fn folds(count: &Value, stages: &[StageSpec]) -> AxisSettings {
    let count = count.as_u64().filter(|count| *count >= 2);
    let count = count.ok_or("must be a whole number from 2")?;
    if count > MOST_RUNS as u64 {
        return Err(format!("must be at most {MOST_RUNS}"));
    }
    let splits: Vec<&StageSpec> =
        stages.iter().filter(|stage| stage.kind.makes == ArtifactType::Split).collect();
    let ids: Vec<String> = splits.iter().map(|stage| stage.id.clone()).collect();
    let split = only_split(&ids)?;
    let path = |key: &str| format!("{split}.{key}");
    let mut common = vec![(path("folds"), json!(count))];
    // What training and validation were told gives way to the folds.
    let told = ["training", "validation"]
        .into_iter()
        .filter(|key| splits.iter().any(|stage| stage.written.get(*key).is_some()));
    common.extend(told.map(|key| (path(key), Value::Null)));
    Ok(((0..count).map(|fold| vec![(path("fold"), json!(fold))]).collect(), common))
}

/// `seeds: [0, 1, 2]`: trains each variant with every seed.
fn seeds(seeds: &Value, stages: &[StageSpec]) -> AxisSettings {
    let wanted = "must be a list of whole numbers from 0";
    let seeds = seeds
        .as_array()
        .filter(|seeds| !seeds.is_empty() && seeds.iter().all(Value::is_u64))
        .ok_or(wanted)?;
    let trained: Vec<&StageSpec> =
        stages.iter().filter(|stage| stage.kind.yields == Yields::Curves).collect();
    if trained.is_empty() {
        return Err(
            "needs a stage of the kind 'train' whose seed it sets, and there is none".into()
        );
    }
    Ok((
        seeds
            .iter()
            .map(|seed| {
                trained.iter().map(|stage| (format!("{}.seed", stage.id), seed.clone())).collect()
            })
            .collect(),
        vec![],
    ))
}
