//! From document to workflow: finds all mistakes at once, before any work. `stage_check` has those
//! of a stage.

use super::diagnostic::{Diagnostic, either, nearest};
use super::earlier::{EarlierArtifact, EarlierRuns};
use super::environment::{self, Environment};
use super::extends::EXTENDS;
use super::order;
use super::overrides::Override;
use super::parse::Document;
use super::parse_context::ParseContext;
use super::spec::{StageSpec, Workflow};
use super::validate;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use voxflow_stages::Kind;

const TOP_KEYS: [&str; 6] = ["name", "seed", "folds", "stages", "sweep", EXTENDS];
/// Prefix of top-level keys that hold anything, to be used by aliases and merge keys.
const EXTENSION: &str = "x-";

/// Checks a document with its overrides; `form` holds known mistakes.
pub fn check(
    mut document: Document,
    form: Vec<Diagnostic>,
    overrides: &[Override],
    around: ParseContext,
) -> Result<Workflow, Vec<Diagnostic>> {
    let ParseContext { kinds, environment, runs, .. } = around;
    let mut checker = WorkflowChecker {
        document: &mut document,
        kinds,
        environment,
        runs,
        earlier: BTreeMap::new(),
        mistakes: form,
    };
    checker.overrides(overrides);
    let workflow = checker.workflow();
    let mut mistakes = std::mem::take(&mut checker.mistakes);
    match workflow {
        Some(workflow) if mistakes.is_empty() => Ok(workflow),
        _ => {
            mistakes.sort();
            mistakes.dedup();
            Err(mistakes)
        }
    }
}

pub(super) struct WorkflowChecker<'a> {
    pub(super) document: &'a mut Document,
    pub(super) kinds: &'static [Kind],
    environment: &'a Environment<'a>,
    pub(super) runs: &'a dyn EarlierRuns,
    /// Artifacts of earlier runs by the name as written.
    pub(super) earlier: BTreeMap<String, EarlierArtifact>,
    pub(super) mistakes: Vec<Diagnostic>,
}

pub(super) fn keys(path: &[&str]) -> Vec<String> {
    path.iter().map(|key| (*key).to_string()).collect()
}

impl WorkflowChecker<'_> {
    /// Records a mistake at a path; `on_key` points to the key instead of the value.
    pub(super) fn say(
        &mut self,
        path: &[String],
        on_key: bool,
        trouble: String,
        nearest: Option<String>,
    ) {
        let places = &self.document.places;
        let place = if on_key { places.key(path) } else { places.value(path) };
        let (stage, key) = match path {
            [first, stage, rest @ ..] if first == "stages" => {
                (Some(stage.clone()), below_with(rest))
            }
            path => (None, (!path.is_empty()).then(|| path.join("."))),
        };
        self.mistakes.push(Diagnostic {
            file: self.document.file.clone(),
            place,
            stage,
            key,
            trouble,
            nearest,
        });
    }

    fn overrides(&mut self, overrides: &[Override]) {
        for setting in overrides {
            match setting.apply(&mut self.document.value, self.kinds) {
                Ok(path) => self.document.places.replace(&path, &setting.place),
                Err((trouble, nearest)) => {
                    let (file, place) = (self.document.file.clone(), setting.place.clone());
                    self.mistakes.push(Diagnostic {
                        file,
                        place,
                        stage: None,
                        key: None,
                        trouble,
                        nearest,
                    });
                }
            }
        }
    }

    fn workflow(&mut self) -> Option<Workflow> {
        let folds = self.cross_validation();
        let value = self.document.value.clone();
        let Some(top) = value.as_object() else {
            self.say(&[], false, "must be a mapping with 'name' and 'stages'".into(), None);
            return None;
        };
        let mut named = top.clone();
        named.retain(|key, _| !key.starts_with(EXTENSION));
        self.known_keys(&named, &[], &TOP_KEYS);
        let name = self.name(top);
        let seed = self.seed(top);
        let (stages, sound) = self.stages(top, &name, seed);
        let stages = if sound { self.sorted(stages) } else { None };
        let sweep = self.sweep(top, stages.as_deref().unwrap_or_default());
        let mut stages = stages?;
        if let Some(folds) = &folds {
            stages = self.each_fold(stages, folds);
        }
        Some(Workflow {
            file: self.document.file.clone(),
            text: self.document.text.clone(),
            name,
            seed,
            folds: folds.map(|folds| folds.count),
            indices: stages
                .iter()
                .enumerate()
                .map(|(index, stage)| (stage.id.clone(), index))
                .collect(),
            stages,
            sweep,
            bases: self.document.bases.clone(),
            places: self.document.places.clone(),
            earlier: std::mem::take(&mut self.earlier)
                .into_values()
                .map(|found| (found.id(), found))
                .collect(),
        })
    }

    pub(super) fn known_keys(
        &mut self,
        fields: &Map<String, Value>,
        path: &[String],
        known: &[&str],
    ) {
        for key in fields.keys().filter(|key| !known.contains(&key.as_str())) {
            let near = nearest(key, known.iter().copied());
            let path: Vec<String> = path.iter().chain([key]).cloned().collect();
            self.say(
                &path,
                true,
                format!("there is no such key; known are {}", either(known)),
                near,
            );
        }
    }

    fn name(&mut self, top: &Map<String, Value>) -> String {
        let stem = std::path::Path::new(&self.document.file)
            .file_stem()
            .map(|stem| stem.to_string_lossy().into_owned());
        match top.get("name") {
            None => stem.unwrap_or_else(|| "workflow".into()),
            Some(Value::String(name)) if !name.trim().is_empty() => {
                let name = name.clone();
                self.expanded(&Value::String(name), &mut keys(&["name"]))
                    .as_str()
                    .unwrap_or_default()
                    .to_string()
            }
            Some(_) => {
                let (path, words) = (keys(&["name"]), "must be text".to_string());
                let value = top.get("name").filter(|name| name.is_number() || name.is_boolean());
                let written = value.zip(self.document.written(&path));
                let quoted = written.map(|(value, written)| validate::unquoted(written, value));
                self.say(&path, false, quoted.unwrap_or(words), None);
                String::new()
            }
        }
    }

    fn seed(&mut self, top: &Map<String, Value>) -> Option<u64> {
        let seed = top.get("seed")?;
        let number = seed.as_u64();
        if number.is_none() {
            self.say(
                &keys(&["seed"]),
                false,
                format!("must be a whole number from 0, but is {seed}"),
                None,
            );
        }
        number
    }

    /// Fills in variables in all strings.
    pub(super) fn expanded(&mut self, value: &Value, path: &mut Vec<String>) -> Value {
        match value {
            Value::String(text) => match environment::expand(text, self.environment) {
                Ok(text) => Value::String(text),
                Err(trouble) => {
                    self.say(path, false, trouble, None);
                    Value::String(text.clone())
                }
            },
            Value::Array(items) => Value::Array(
                items
                    .iter()
                    .enumerate()
                    .map(|(index, item)| {
                        path.push(index.to_string());
                        let item = self.expanded(item, path);
                        path.pop();
                        item
                    })
                    .collect(),
            ),
            Value::Object(fields) => {
                let mut out = Map::new();
                for (key, field) in fields {
                    path.push(key.clone());
                    out.insert(key.clone(), self.expanded(field, path));
                    path.pop();
                }
                Value::Object(out)
            }
            other => other.clone(),
        }
    }

    fn sorted(&mut self, stages: Vec<StageSpec>) -> Option<Vec<StageSpec>> {
        let index: BTreeMap<&str, usize> =
            stages.iter().enumerate().map(|(i, stage)| (stage.id.as_str(), i)).collect();
        let needs: Vec<Vec<usize>> = stages
            .iter()
            .map(|stage| {
                stage
                    .needs
                    .values()
                    .flatten()
                    .filter_map(|id| index.get(id.as_str()).copied())
                    .collect()
            })
            .collect();
        match order::topological(&needs) {
            Ok(order) => {
                let mut slots: Vec<Option<StageSpec>> = stages.into_iter().map(Some).collect();
                Some(order.into_iter().filter_map(|i| slots[i].take()).collect())
            }
            Err(circle) => {
                let ids: Vec<&str> =
                    circle.iter().chain(circle.first()).map(|&i| stages[i].id.as_str()).collect();
                let path = keys(&["stages", ids[0], "needs"]);
                let words = format!("stages need each other in a cycle: {}", ids.join(" needs "));
                self.say(&path, false, words, None);
                None
            }
        }
    }
}

/// Dotted key inside a stage, without the leading `with`.
fn below_with(rest: &[String]) -> Option<String> {
    let rest = if rest.first().is_some_and(|key| key == "with") && rest.len() > 1 {
        &rest[1..]
    } else {
        rest
    };
    (!rest.is_empty()).then(|| rest.join("."))
}
