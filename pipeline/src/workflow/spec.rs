//! A valid workflow and its stages.

use super::stage_resources::StageResources;
use super::{Roles, SourceSpan};
use serde_json::Value;
use std::collections::HashMap;
use voxflow_stages::Kind;

/// A valid workflow, its stages in topological order.
#[derive(Clone)]
pub struct Workflow {
    /// The file as named on the command line.
    pub file: String,
    /// The text as written.
    pub text: String,
    /// The name: `name`, or the file's.
    pub name: String,
    /// The default of each stage's own seed.
    pub seed: Option<u64>,
    /// The stages, each after those it needs.
    pub stages: Vec<StageSpec>,
    /// The axes.
    pub sweep: Vec<Axis>,
    /// The place of each stage in the order, by its id.
    pub(super) indices: HashMap<String, usize>,
}

/// One stage of a workflow.
#[derive(Clone)]
pub struct StageSpec {
    /// Its id.
    pub id: String,
    /// Its kind.
    pub kind: &'static Kind,
    /// The stages it reads, by role.
    pub needs: Roles,
    /// Its parameters as understood: defaults filled in, locators included.
    pub params: Value,
    /// Its parameters as written, with `${NAME}` and the workflow's seed.
    pub written: Value,
    /// The resources that it is given; no part of its recipe.
    pub resources: StageResources,
}

/// One axis of a sweep: settings that are tried one after the other.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// The settings: the paths that change together, each with its value.
    pub settings: Vec<Vec<(String, Value)>>,
    /// Settings common to all its runs: the number of folds.
    pub common: Vec<(String, Value)>,
    /// True if it only repeats a variant, as folds and seeds do: scores are averaged over it.
    pub repeats: bool,
    /// Its position.
    pub place: SourceSpan,
}

impl Workflow {
    /// The stage of that id.
    pub fn stage(&self, id: &str) -> Option<&StageSpec> {
        self.index(id).map(|index| &self.stages[index])
    }

    /// The place of a stage in the order.
    pub fn index(&self, id: &str) -> Option<usize> {
        self.indices.get(id).copied()
    }
}

impl StageSpec {
    /// The ids of the stages it needs, each once, in the order of roles.
    pub fn needed(&self) -> Vec<&str> {
        let mut ids: Vec<&str> = vec![];
        for id in self.needs.values().flatten() {
            if !ids.contains(&id.as_str()) {
                ids.push(id);
            }
        }
        ids
    }
}
