//! `folds: K` at the top of a workflow: cross-validation inside a single run.
//!
//! The split is made for each fold. A stage that needs one artifact of something made for each fold
//! is made for each fold itself, from artifacts of the same fold; a stage that takes several takes
//! those of all folds. Testing cases are the same in all folds, so a stage that reads nothing else
//! of a cache is made once.

use super::StageSpec;
use super::check::{WorkflowChecker, keys};
use super::diagnostic::SourceSpan;
use super::spec::StageFold;
use super::sweep::MOST_RUNS;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use voxflow_stages::stage::{ArtifactType, Count, Read, TESTING_PART, id_of_fold};

/// The top-level key.
pub(super) const FOLDS: &str = "folds";
const FEWEST: u32 = 2;

/// The folds of a workflow.
pub(super) struct CrossValidation {
    pub(super) count: u32,
    /// The stage that deals cases into folds.
    split: String,
}

impl WorkflowChecker<'_> {
    /// Reads `folds`, and turns the split into that of its first fold: the others differ in the
    /// number alone. `None` without `folds`, or if wrong.
    pub(super) fn cross_validation(&mut self) -> Option<CrossValidation> {
        let value = self.document.value.get(FOLDS).filter(|value| !value.is_null())?;
        let count =
            value.as_u64().filter(|count| (u64::from(FEWEST)..=MOST_RUNS as u64).contains(count));
        let stages = self.document.value.get("stages").and_then(Value::as_object);
        let stages = stages.into_iter().flatten();
        let splits = stages.filter(|(_, stage)| self.makes(stage) == Some(ArtifactType::Split));
        let splits: Vec<String> = splits.map(|(id, _)| id.clone()).collect();
        let found = match count {
            Some(count) => only_split(&splits).map(|split| (count as u32, split)),
            None => Err(format!("must be a whole number from {FEWEST} to {MOST_RUNS}")),
        };
        match found {
            Ok((count, split)) => {
                self.set_first_fold(&split, count);
                Some(CrossValidation { count, split })
            }
            Err(trouble) => {
                self.say(&keys(&[FOLDS]), false, trouble, None);
                // Written for folds, a split tells of nothing else: it is no mistake of its own.
                splits.iter().for_each(|split| self.set_first_fold(split, FEWEST));
                None
            }
        }
    }

    fn set_first_fold(&mut self, split: &str, count: u32) {
        let place = self.document.places.value(&keys(&[FOLDS]));
        let Some(stage) = self.document.value["stages"][split].as_object_mut() else { return };
        let with = stage.entry("with").or_insert(Value::Null);
        if with.is_null() {
            *with = Value::Object(Map::new());
        }
        let Value::Object(with) = with else { return };
        for (key, value) in first_fold(with, count) {
            with.insert(key.into(), value);
            let path = keys(&["stages", split, "with", key]);
            if place != SourceSpan::Nowhere {
                self.document.places.replace(&path, &place);
            }
        }
    }

    /// The stages of all folds; `stages` are in topological order.
    pub(super) fn each_fold(
        &mut self,
        stages: Vec<StageSpec>,
        folds: &CrossValidation,
    ) -> Vec<StageSpec> {
        let all = expand(stages, folds);
        let mut seen = BTreeSet::new();
        for stage in &all {
            if !seen.insert(stage.id.as_str()) {
                let trouble = "is also the name of a fold's stage; rename it".to_string();
                self.say(&keys(&["stages", &stage.id]), true, trouble, None);
            }
        }
        all
    }
}

/// The only split among the stages that make one.
pub(super) fn only_split(splits: &[String]) -> Result<String, String> {
    if let [split] = splits {
        return Ok(split.clone());
    }
    let ids: Vec<String> = splits.iter().map(|id| format!("'{id}'")).collect();
    let there = match ids.is_empty() {
        true => "there is none".to_string(),
        false => format!("there are {}", ids.join(", ")),
    };
    Err(format!("needs one stage of the kind 'split' whose folds it sets, and {there}"))
}

/// Parameters of the first fold's split; those on training and validation give way. A datalist has
/// folds of its own.
fn first_fold(with: &Map<String, Value>, count: u32) -> Vec<(&'static str, Value)> {
    if with.get("datalist").is_some_and(|datalist| !datalist.is_null()) {
        return vec![("fold", json!(0))];
    }
    let told = ["training", "validation"].into_iter().filter(|key| with.contains_key(*key));
    let mut set: Vec<(&str, Value)> = told.map(|key| (key, Value::Null)).collect();
    set.extend([("folds", json!(count)), ("fold", json!(0))]);
    set
}

fn expand(stages: Vec<StageSpec>, folds: &CrossValidation) -> Vec<StageSpec> {
    let mut by_fold = BTreeSet::new();
    let mut all = vec![];
    for stage in stages {
        if stage.id != folds.split && !needs_own_fold(&stage, &by_fold) {
            all.push(of_all_folds(stage, folds.count, &by_fold));
            continue;
        }
        all.extend((0..folds.count).map(|fold| of_fold(&stage, fold, folds, &by_fold)));
        by_fold.insert(stage.id);
    }
    all
}

/// True if a role takes one artifact of something made for each fold.
fn needs_own_fold(stage: &StageSpec, by_fold: &BTreeSet<String>) -> bool {
    let single = stage.reads.iter().filter(|read| read.count != Count::Many && !is_for_tests(read));
    let mut ids = single.filter_map(|read| stage.needs.get(read.role)).flatten();
    ids.any(|id| by_fold.contains(id))
}

/// True for a role that reads testing cases alone.
fn is_for_tests(read: &Read) -> bool {
    !read.parts.is_empty() && read.parts.iter().all(|part| *part == TESTING_PART)
}

fn of_fold(
    stage: &StageSpec,
    fold: u32,
    folds: &CrossValidation,
    by_fold: &BTreeSet<String>,
) -> StageSpec {
    let mut one = stage.clone();
    one.id = id_of_fold(&stage.id, fold);
    one.fold = Some(StageFold { written: stage.id.clone(), number: fold });
    let needed = one.needs.values_mut().flatten();
    for id in needed.filter(|id| by_fold.contains(id.as_str())) {
        *id = id_of_fold(id, fold);
    }
    if stage.id == folds.split {
        one.params["fold"] = json!(fold);
        one.written["fold"] = json!(fold);
    }
    one
}

fn of_all_folds(mut stage: StageSpec, folds: u32, by_fold: &BTreeSet<String>) -> StageSpec {
    for (role, ids) in &mut stage.needs {
        let takes_many =
            stage.reads.iter().any(|read| read.role == role && read.count == Count::Many);
        let count = if takes_many { folds } else { 1 };
        let each = ids.iter().flat_map(|id| match by_fold.contains(id) {
            true => (0..count).map(|fold| id_of_fold(id, fold)).collect(),
            false => vec![id.clone()],
        });
        *ids = each.collect();
    }
    stage
}

#[cfg(test)]
mod tests {
    use crate::workflow::Workflow;
    use voxflow_stages::KINDS;

    const TEXT: &str = "
name: w
folds: 3
stages:
  dataset: { uses: synthesize, with: { cases: 6, shape: [24, 24, 24] } }
  split: { uses: split, needs: [dataset], with: { training: 4, testing: 2 } }
  volumes: { uses: preprocess, needs: [dataset], with: { intensity: { zscore: all } } }
  cache: { uses: cache, needs: [dataset, volumes, split] }
  model: { uses: train, needs: [cache], with: { epochs: 1, patch: [16, 16, 16] } }
  score: { uses: validate, needs: [cache, model] }
  final: { uses: test, needs: [dataset, cache, model] }
";

    fn parsed(text: &str) -> Result<Workflow, String> {
        let parsed = Workflow::parse("w.yaml", text.as_bytes(), &[], KINDS, &|_| None);
        let words = |mistakes: Vec<crate::workflow::Diagnostic>| {
            mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
        };
        parsed.map_err(words)
    }

    #[test]
    fn what_needs_one_of_a_fold_is_made_for_each_and_what_takes_several_takes_all() {
        let workflow = parsed(TEXT).unwrap();
        let ids: Vec<&str> = workflow.stages.iter().map(|stage| stage.id.as_str()).collect();
        assert_eq!(ids.len(), 2 + 4 * 3 + 1, "{ids:?}");
        let needed = |id: &str| workflow.stage(id).expect(id).needed().join(" ");
        assert_eq!(needed("cache-fold2"), "dataset split-fold2 volumes");
        assert_eq!(needed("score-fold1"), "cache-fold1 model-fold1");
        assert_eq!(needed("final"), "cache-fold0 dataset model-fold0 model-fold1 model-fold2");
        let split = &workflow.stage("split-fold2").expect("a split").params;
        assert_eq!(split["folds"], 3);
        assert_eq!(split["fold"], 2);
        assert!(split.get("training").is_none_or(serde_json::Value::is_null));
        assert_eq!(workflow.folds, Some(3));
        assert!(workflow.stage("model-fold1").expect("a model").is_named("model"));
    }

    #[test]
    fn a_workflow_of_folds_is_written_back_as_one_that_runs_the_same() {
        let workflow = parsed(TEXT).unwrap();
        let again = parsed(&workflow.resolved()).unwrap();
        let all = |workflow: &Workflow| -> Vec<(String, String)> {
            let stages = workflow.stages.iter();
            stages.map(|one| (one.id.clone(), format!("{:?} {}", one.needs, one.params))).collect()
        };
        assert_eq!(all(&workflow), all(&again));
    }

    #[test]
    fn a_wrong_number_of_folds_is_the_only_mistake_that_is_told() {
        let without = TEXT.replace("training: 4, testing: 2", "testing: 2");
        assert_eq!(parsed(&without).map(|workflow| workflow.folds), Ok(Some(3)));
        for count in ["1", "0", "5000", "many", "[3]"] {
            let told = parsed(&without.replace("folds: 3", &format!("folds: {count}")));
            let told = told.err().expect(count);
            assert_eq!(told.lines().count(), 1, "{told}");
            assert!(told.contains("key 'folds': must be a whole number from 2 to 300"), "{told}");
        }
        let two = without.replace(
            "  volumes:",
            "  other: { uses: split, needs: [dataset], with: { testing: 1 } }\n  volumes:",
        );
        let told = parsed(&two).err().expect("two splits");
        assert!(
            told.contains("there are 'split', 'other'") && !told.contains("training"),
            "{told}"
        );
    }

    #[test]
    fn folds_without_one_split_or_beside_a_sweep_over_folds_are_mistakes() {
        let wrong = |from: &str, to: &str| parsed(&TEXT.replace(from, to)).err().expect(to);
        assert!(wrong("folds: 3", "folds: 1").contains("from 2 to 300"));
        let none = parsed(
            "name: w\nfolds: 3\nstages:\n  dataset: { uses: synthesize, with: { cases: 6, shape: [24, 24, 24] } }\n",
        );
        assert!(none.err().expect("no split").contains("there is none"));
        let swept = format!("{TEXT}sweep: {{ folds: 3 }}\n");
        assert!(parsed(&swept).err().expect("twice").contains("beside 'folds' at the top"));
        let taken = wrong("  final:", "  model-fold1:");
        assert!(taken.contains("name of a fold's stage"), "{taken}");
    }
}
