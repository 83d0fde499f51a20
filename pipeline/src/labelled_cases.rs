//! Counts of labelled and unlabelled cases of each data set, as `plan` prints them.

use crate::plan::Plan;
use voxflow_cache::Store;
use voxflow_stages::dataset::Listing;
use voxflow_stages::stage::ArtifactType;

/// The stage's id and the words for each data set that is there, or can be listed, and has cases
/// without a label.
pub fn words(plan: &Plan, store: &Store) -> Vec<(String, String)> {
    let datasets =
        plan.workflow.stages.iter().filter(|stage| stage.kind.makes == ArtifactType::Dataset);
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
