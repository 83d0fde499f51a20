//! Troubles foreseen before any work: predictions without images, where the dataset is made or lies
//! in a folder; start models with another network; patches that this machine's memory cannot hold.

use crate::plan::Plan;
use crate::workflow::{StageSpec, Workflow};
use crate::{humanize, machine};
use std::path::Path;
use voxflow_cache::Store;
use voxflow_stages::Stage;
use voxflow_stages::dataset::Listing;
use voxflow_stages::image::Preparation;
use voxflow_stages::image::nifti::read_header;
use voxflow_stages::kinds::predict::Predict;
use voxflow_stages::kinds::preprocess::Preprocess;
use voxflow_stages::kinds::train::{Precision, Train};
use voxflow_stages::model::ModelCard;
use voxflow_stages::model::compatibility::network_differences;

/// Maps of the first features that a training keeps for its way back: those of a convolution, and
/// those after its activation.
const KEPT_MAPS: u64 = 2;

/// Predictions without images, and start models with another network, among the stages to be made.
pub fn of_plan(plan: &Plan, store: &Store) -> Vec<String> {
    let listing = |stage: &StageSpec| match plan.artifact(&stage.id) {
        Some(artifact) => {
            let text = std::fs::read(store.path(artifact.get("dataset.json")?)).ok()?;
            serde_json::from_slice(&text).ok()
        }
        None => stage.kind.listing(&stage.params),
    };
    let stages = plan.workflow.stages.iter().enumerate();
    let open = stages.filter(|(index, _)| plan.is_open(*index)).map(|(_, stage)| stage);
    open.flat_map(|stage| of_stage(&plan.workflow, stage, &listing)).collect()
}

/// The same of a workflow whose datasets lie in folders.
pub fn of_workflow(workflow: &Workflow) -> Vec<String> {
    let listing = |stage: &StageSpec| stage.kind.listing(&stage.params);
    workflow.stages.iter().flat_map(|stage| of_stage(workflow, stage, &listing)).collect()
}

/// Patches whose training cannot fit into the memory of this machine, among the stages to be made.
/// A graphics card has memory of its own, unknown here.
pub fn patches(plan: &Plan) -> Vec<String> {
    if machine::has_accelerator() {
        return vec![];
    }
    let stages = plan.workflow.stages.iter().enumerate();
    let open = stages.filter(|(index, _)| plan.is_open(*index)).map(|(_, stage)| stage);
    open.filter_map(|stage| hopeless(&plan.workflow, stage, machine::memory())).collect()
}

type ListingOf<'a> = dyn Fn(&StageSpec) -> Option<Listing> + 'a;

fn of_stage(workflow: &Workflow, stage: &StageSpec, listing: &ListingOf) -> Vec<String> {
    let found = [without_images(workflow, stage, listing), other_network(workflow, stage)];
    found.into_iter().flatten().collect()
}

/// Trouble of a training that starts from one of the same workflow, or of an earlier run.
fn other_network(workflow: &Workflow, stage: &StageSpec) -> Option<String> {
    let train: Train = of_kind(stage)?;
    let start = stage.needs.get("start")?.first()?;
    let there = match workflow.earlier.get(start) {
        Some(earlier) => {
            let text = std::fs::read(earlier.path("model.json")?).ok()?;
            serde_json::from_slice::<ModelCard>(&text).ok()?.network
        }
        None => of_kind::<Train>(workflow.stage(start)?)?.network,
    };
    let differs = network_differences(&there, &train.network);
    (!differs.is_empty()).then(|| {
        format!(
            "stage '{}': the network of its start '{start}' is another one ({differs}); give \
             'network' the same values",
            stage.id
        )
    })
}

fn without_images(workflow: &Workflow, stage: &StageSpec, listing: &ListingOf) -> Option<String> {
    let predict: Predict = of_kind(stage)?;
    let dataset = workflow.stage(stage.needs.get("dataset")?.first()?)?;
    let trouble = predict.chosen(&listing(dataset)?).err()?;
    Some(format!("stage '{}': {trouble}; or leave the stage out", stage.id))
}

/// Parameters of a stage, if it is of this kind.
fn of_kind<S: Stage>(stage: &StageSpec) -> Option<S> {
    (stage.kind.name == S::NAME).then(|| serde_json::from_value(stage.params.clone()).ok())?
}

/// Trouble of a patch that `memory` bytes cannot hold.
fn hopeless(workflow: &Workflow, stage: &StageSpec, memory: u64) -> Option<String> {
    let train: Train = of_kind(stage)?;
    let voxels: u64 = train.patch.iter().map(|side| *side as u64).product();
    let samples = (train.volumes_per_step * train.patches_per_volume) as u64;
    // MONAI's networks have no 'features', and all have the default 'channels'.
    let network = &train.network;
    let features = u64::from(*network.features.first().or(network.channels.first())?);
    let number_bytes = if train.precision == Precision::Fp32 { 4 } else { 2 };
    let values = voxels.saturating_mul(samples).saturating_mul(features);
    let bytes = values.saturating_mul(KEPT_MAPS * number_bytes);
    if bytes <= memory {
        return None;
    }
    let patch = by(train.patch);
    let size =
        largest(workflow, stage).map(|size| format!("; no volume is larger than {}", by(size)));
    Some(format!(
        "stage '{}': key 'patch': {samples} patches of {patch} voxels take {} for the first {features} \
         features alone, and this machine has {}{}; lower 'patch', 'volumes_per_step' or \
         'patches_per_volume'",
        stage.id,
        humanize::bytes(bytes),
        humanize::bytes(memory),
        size.unwrap_or_default()
    ))
}

fn by(size: [usize; 3]) -> String {
    size.map(|side| side.to_string()).join(" x ")
}

/// The longest side along each axis of all volumes that a training reads, before a crop; `None`
/// unless the images lie in a folder.
fn largest(workflow: &Workflow, train: &StageSpec) -> Option<[usize; 3]> {
    let cache = workflow.stage(train.needs.get("cache")?.first()?)?;
    let of = |role: &str| workflow.stage(cache.needs.get(role)?.first()?);
    let (dataset, volumes) = (of("dataset")?, of("volumes")?);
    let Preprocess(preparation) = of_kind(volumes)?;
    let folder = Path::new(dataset.params.get("path")?.as_str()?);
    let listing = dataset.kind.listing(&dataset.params)?;
    let images = listing.cases.iter().filter_map(|case| case.images.first());
    let sizes = images.filter_map(|name| prepared(&preparation, &folder.join(name), name));
    sizes.reduce(|one, other| [0, 1, 2].map(|axis| one[axis].max(other[axis])))
}

fn prepared(preparation: &Preparation, path: &Path, name: &str) -> Option<[usize; 3]> {
    let grid = read_header(path, name).ok()?.grid();
    let frame = preparation.orientation.frame(grid).ok()?;
    Some(preparation.resampled(&frame.oriented()).ok()?.shape)
}

#[cfg(test)]
mod tests {
    use super::*;
    use voxflow_stages::KINDS;

    fn workflow(patch: &str) -> Workflow {
        let text = format!(
            "stages:
  dataset: {{ uses: synthesize, with: {{ cases: 3, shape: [24, 24, 24] }} }}
  split: {{ uses: split, needs: [dataset], with: {{ training: 2, validation: 1 }} }}
  volumes: {{ uses: preprocess, needs: [dataset], with: {{ intensity: {{ zscore: all }} }} }}
  cache: {{ uses: cache, needs: [dataset, volumes, split] }}
  model: {{ uses: train, needs: [cache], with: {{ epochs: 1, patch: {patch} }} }}
"
        );
        Workflow::parse("x.yaml", text.as_bytes(), &[], KINDS, &|_| None).expect("a workflow")
    }

    #[test]
    fn a_patch_is_held_against_the_memory_of_the_machine() {
        let trouble = |patch: &str, memory: u64| {
            let workflow = workflow(patch);
            hopeless(&workflow, workflow.stage("model").expect("a stage"), memory)
        };
        assert_eq!(trouble("[96, 96, 96]", 8 << 30), None);
        // 16 bits take half: 275 GB in fp32.
        assert!(trouble("[512, 512, 512]", 200 << 30).is_some());
        assert_eq!(trouble("[512, 512, 512], precision: bf16", 200 << 30), None);
        let words = trouble("[512, 512, 512]", 24 << 30).expect("a trouble");
        for part in ["key 'patch'", "512 x 512 x 512", "this machine has 25.8 GB", "lower 'patch'"]
        {
            assert!(words.contains(part), "'{part}' in {words}");
        }
    }
}
