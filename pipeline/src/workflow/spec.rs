//! Valid workflows and stages.

use super::base::Base;
use super::earlier::EarlierArtifact;
use super::stage_resources::StageResources;
use super::text_nodes::SourceMap;
use super::{Roles, SourceSpan};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use voxflow_stages::Kind;
use voxflow_stages::stage::{ArtifactType, Read};

/// A valid workflow with stages in topological order.
#[derive(Clone)]
pub struct Workflow {
    /// File as named on the command line.
    pub file: String,
    pub text: String,
    /// `name`, or the file's stem.
    pub name: String,
    /// Default for each stage's own seed.
    pub seed: Option<u64>,
    /// Number of folds, if every stage of a fold is made in the same run.
    pub folds: Option<u32>,
    pub stages: Vec<StageSpec>,
    pub sweep: Vec<Axis>,
    /// Artifacts of earlier runs among needs, by "RUN/STAGE".
    pub earlier: BTreeMap<String, EarlierArtifact>,
    /// Files that it extends, the nearest first.
    pub bases: Vec<Base>,
    /// Positions of keys and values.
    pub(super) places: SourceMap,
    /// Index by stage id.
    pub(super) indices: HashMap<String, usize>,
}

#[derive(Clone)]
pub struct StageSpec {
    pub id: String,
    pub kind: &'static Kind,
    /// Needed stages by role; a name with a slash is an artifact of an earlier run.
    pub needs: Roles,
    /// Roles with the parts that are read: the kind's, or those that the workflow names.
    pub reads: Vec<Read>,
    /// Type of its artifact.
    pub makes: ArtifactType,
    /// Parsed parameters: defaults filled in, locators included.
    pub params: Value,
    /// Parameters as written, with `${NAME}` and the workflow's seed.
    pub written: Value,
    /// Requested resources; no part of the recipe.
    pub resources: StageResources,
    /// Fold of a workflow with `folds`, if it is made for each.
    pub fold: Option<StageFold>,
}

/// Fold of a stage that is made for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageFold {
    /// Id in the file.
    pub written: String,
    /// From 0.
    pub number: u32,
}

/// A sweep axis: settings tried in turn.
#[derive(Clone, Debug, PartialEq)]
pub struct Axis {
    /// Settings: coupled paths with values.
    pub settings: Vec<Vec<(String, Value)>>,
    /// Settings common to all runs: the number of folds.
    pub common: Vec<(String, Value)>,
    /// True if it merely repeats a variant, like folds and seeds: scores are averaged over it.
    pub repeats: bool,
    pub place: SourceSpan,
}

impl Workflow {
    pub fn stage(&self, id: &str) -> Option<&StageSpec> {
        self.index(id).map(|index| &self.stages[index])
    }

    /// Stages as the file has them: of a stage for each fold, the first.
    pub fn written_stages(&self) -> impl Iterator<Item = &StageSpec> {
        self.stages.iter().filter(|stage| stage.fold.as_ref().is_none_or(|fold| fold.number == 0))
    }

    pub fn index(&self, id: &str) -> Option<usize> {
        self.indices.get(id).copied()
    }

    /// Stages with what they read of earlier runs: "'model' is RUN/STAGE (train), digest …".
    pub fn earlier_in_words(&self) -> Vec<(String, String)> {
        self.stages.iter().flat_map(|stage| self.of_stage(stage)).collect()
    }

    fn of_stage(&self, stage: &StageSpec) -> Vec<(String, String)> {
        let roles = stage.needs.iter();
        let all = roles.flat_map(|(role, ids)| ids.iter().map(move |id| (role, id)));
        let found = all.filter_map(|(role, id)| Some((role, self.earlier.get(id)?)));
        let words = found.map(|(role, found)| {
            let (id, digest) = (found.id(), found.short_digest());
            format!("'{role}' is {id} ({}), digest {digest}", found.kind)
        });
        words.map(|words| (stage.id.clone(), words)).collect()
    }
}

impl StageSpec {
    /// True for its id, and for the id in the file of a stage that is made for each fold.
    pub fn is_named(&self, name: &str) -> bool {
        self.id == name || self.written_id() == name
    }

    /// Id in the file.
    pub fn written_id(&self) -> &str {
        self.fold.as_ref().map_or(&self.id, |fold| &fold.written)
    }

    /// Ids of needed stages, without duplicates, in role order.
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
