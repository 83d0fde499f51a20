//! Counts labelled and unlabelled cases per dataset, for `plan`.

use crate::plan::Plan;
use voxflow_cache::Store;
use voxflow_stages::dataset::Listing;
use voxflow_stages::stage::ArtifactType;

/// Stage id and text for each known or listable dataset with unlabelled cases.
pub fn words(plan: &Plan, store: &Store) -> Vec<(String, String)> {
    let datasets = plan.workflow.stages.iter().filter(|stage| stage.makes == ArtifactType::Dataset);
    let each = datasets.filter_map(|stage| {
        let listing: Listing = match plan.artifact(&stage.id) {
            Some(artifact) => {
                let text = std::fs::read(store.path(artifact.get("dataset.json")?)).ok()?;
                serde_json::from_slice(&text).ok()?
            }
            None => stage.kind.listing(&stage.params)?,
        };
        let bare = listing.unlabelled().next().is_some();
        bare.then(|| (stage.id.clone(), listing.amount()))
    });
    each.collect()
}
