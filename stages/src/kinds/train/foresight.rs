//! Trouble that a training foresees: a start with another network, and a patch that no memory of
//! this machine holds.

use super::Train;
use crate::foresight::Foresight;
use crate::image::Preparation;
use crate::image::nifti::read_header;
use crate::kinds::preprocess::Preprocess;
use crate::model::compatibility::network_differences;
use crate::stage::Stage;
use std::path::Path;

/// Maps of the first features that a training keeps for its way back: those of a convolution, and
/// those after its activation.
const KEPT_MAPS: u64 = 2;

impl Train {
    /// All trouble that the parameters foresee, each as "key 'KEY': trouble; way out".
    pub(super) fn foreseen(&self, sight: &Foresight) -> Vec<String> {
        let patch = sight.memory.and_then(|memory| self.hopeless_patch(sight, memory));
        self.other_network(sight).into_iter().chain(patch).collect()
    }

    /// Trouble of a training that starts from a model of the same workflow or an earlier run.
    fn other_network(&self, sight: &Foresight) -> Option<String> {
        let start = (sight.ancestor)(&["start"])?;
        let there = match start.model {
            Some(ref model) => model.network.clone(),
            None => start.params_of::<Train>(Train::NAME)?.network,
        };
        let differs = network_differences(&there, &self.network);
        (!differs.is_empty()).then(|| {
            format!(
                "the network of its start '{}' is another one ({differs}); give 'network' the \
                 same values",
                start.id
            )
        })
    }

    /// Trouble of a patch that `memory` bytes cannot hold.
    fn hopeless_patch(&self, sight: &Foresight, memory: u64) -> Option<String> {
        let voxels: u64 = self.patch.iter().map(|side| *side as u64).product();
        let samples = (self.volumes_per_step * self.patches_per_volume) as u64;
        // MONAI's networks have no 'features', and all have the default 'channels'.
        let network = &self.network;
        let features = u64::from(*network.features.first().or(network.channels.first())?);
        let values = voxels.saturating_mul(samples).saturating_mul(features);
        let bytes = values.saturating_mul(KEPT_MAPS * self.precision.bytes());
        if bytes <= memory {
            return None;
        }
        let largest = largest_volume(sight);
        let size = largest.map(|size| format!("; no volume is larger than {}", by(size)));
        Some(format!(
            "key 'patch': {samples} patches of {} voxels take {} for the first {features} \
             features alone, and this machine has {}{}; lower 'patch', 'volumes_per_step' or \
             'patches_per_volume'",
            by(self.patch),
            gigabytes(bytes),
            gigabytes(memory),
            size.unwrap_or_default()
        ))
    }
}

fn gigabytes(bytes: u64) -> String {
    format!("{:.1} GB", bytes as f64 / 1e9)
}

fn by(size: [usize; 3]) -> String {
    size.map(|side| side.to_string()).join(" x ")
}

/// The longest side along each axis of all volumes that a training reads, before a crop; `None`
/// unless the images lie in a folder.
fn largest_volume(sight: &Foresight) -> Option<[usize; 3]> {
    let dataset = (sight.ancestor)(&["cache", "dataset"])?;
    let Preprocess(preparation) =
        (sight.ancestor)(&["cache", "volumes"])?.params_of(Preprocess::NAME)?;
    let folder = Path::new(dataset.params.get("path")?.as_str()?);
    let listing = dataset.listing?;
    let images = listing.cases.iter().filter_map(|case| case.images.first());
    let sizes = images.filter_map(|name| resampled_size(&preparation, &folder.join(name), name));
    sizes.reduce(|one, other| [0, 1, 2].map(|axis| one[axis].max(other[axis])))
}

fn resampled_size(preparation: &Preparation, path: &Path, name: &str) -> Option<[usize; 3]> {
    let grid = read_header(path, name).ok()?.grid();
    let frame = preparation.orientation.frame(grid).ok()?;
    Some(preparation.resampled(&frame.oriented()).ok()?.shape)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn trouble(params: Value, memory: u64) -> Vec<String> {
        let mut all = json!({ "epochs": 1 });
        all.as_object_mut().unwrap().extend(params.as_object().unwrap().clone());
        let train: Train = serde_json::from_value(all).unwrap();
        train.foreseen(&Foresight { ancestor: &|_| None, memory: Some(memory), folds: None })
    }

    #[test]
    fn a_patch_is_held_against_the_memory_of_the_machine() {
        let large = json!({ "patch": [512, 512, 512] });
        assert!(trouble(json!({ "patch": [96, 96, 96] }), 8 << 30).is_empty());
        // 16 bits take half: 275 GB in fp32.
        assert_eq!(trouble(large.clone(), 200 << 30).len(), 1);
        let bf16 = json!({ "patch": [512, 512, 512], "precision": "bf16" });
        assert!(trouble(bf16, 200 << 30).is_empty());
        let words = trouble(large, 24 << 30).join("\n");
        for part in ["key 'patch'", "512 x 512 x 512", "this machine has 25.8 GB", "lower 'patch'"]
        {
            assert!(words.contains(part), "'{part}' in {words}");
        }
    }
}
