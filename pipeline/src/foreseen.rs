//! Trouble that stages foresee before any work ([`Foresight`]).

use crate::plan::Plan;
use crate::workflow::earlier::EarlierArtifact;
use crate::workflow::{StageSpec, Workflow};
use serde::de::DeserializeOwned;
use serde_json::Value;
use voxflow_cache::Store;
use voxflow_stages::Kind;
use voxflow_stages::dataset::Listing;
use voxflow_stages::foresight::{Ancestor, Foresight};
use voxflow_stages::stage::ArtifactType;

/// Trouble of the stages to be made, and of folds. `memory` is their machine's
/// ([`Foresight::memory`]).
pub fn of_plan(plan: &Plan, store: &Store, memory: Option<u64>) -> Vec<String> {
    let stages = plan.workflow.stages.iter().enumerate();
    let told = stages.filter(|(index, stage)| plan.is_open(*index) || deals_folds(stage));
    told.flat_map(|(_, stage)| {
        let listing = &|stage: &StageSpec| made_listing(plan, store, stage);
        of_stage(&plan.workflow, stage, listing, memory)
    })
    .collect()
}

/// True for the split of a workflow's first fold: one that is reused does not know how many folds
/// this workflow has.
fn deals_folds(stage: &StageSpec) -> bool {
    stage.makes == ArtifactType::Split && stage.fold.as_ref().is_some_and(|fold| fold.number == 0)
}

/// Trouble of a workflow, with datasets that lie in folders.
pub fn of_workflow(workflow: &Workflow) -> Vec<String> {
    let stages = workflow.stages.iter();
    stages.flat_map(|stage| of_stage(workflow, stage, &folder_listing, None)).collect()
}

/// The listing of a stored artifact, else of a folder.
fn made_listing(plan: &Plan, store: &Store, stage: &StageSpec) -> Option<Listing> {
    let Some(artifact) = plan.artifact(&stage.id) else { return folder_listing(stage) };
    let text = std::fs::read(store.path(artifact.get("dataset.json")?)).ok()?;
    serde_json::from_slice(&text).ok()
}

fn folder_listing(stage: &StageSpec) -> Option<Listing> {
    stage.kind.listing(&stage.params)
}

fn of_stage(
    workflow: &Workflow,
    stage: &StageSpec,
    listing: &dyn Fn(&StageSpec) -> Option<Listing>,
    memory: Option<u64>,
) -> Vec<String> {
    let ancestor = |roles: &[&str]| {
        let first = roles.first().and_then(|role| stage.needs.get(*role)?.first());
        if let Some(earlier) = first.and_then(|id| workflow.earlier.get_key_value(id)) {
            return if roles.len() == 1 { of_earlier(earlier) } else { None };
        }
        let found = roles
            .iter()
            .try_fold(stage, |stage, role| workflow.stage(stage.needs.get(*role)?.first()?))?;
        let (id, kind, params) = (&*found.id, found.kind.name, &found.params);
        Some(Ancestor { id, kind, params, listing: listing(found), model: None })
    };
    let sight = Foresight { ancestor: &ancestor, memory, folds: workflow.folds };
    let troubles = stage.kind.foresee(&stage.params, &sight);
    troubles.into_iter().map(|trouble| format!("stage '{}': {trouble}", stage.id)).collect()
}

/// An artifact of an earlier run: its files say what its parameters would.
fn of_earlier<'a>((id, earlier): (&'a String, &EarlierArtifact)) -> Option<Ancestor<'a>> {
    static NO_PARAMS: Value = Value::Null;
    let kind = Kind::named(&earlier.kind)?.name;
    let (listing, model) = (json(earlier, "dataset.json"), json(earlier, "model.json"));
    Some(Ancestor { id, kind, params: &NO_PARAMS, listing, model })
}

fn json<T: DeserializeOwned>(earlier: &EarlierArtifact, name: &str) -> Option<T> {
    serde_json::from_slice(&std::fs::read(earlier.path(name)?).ok()?).ok()
}
