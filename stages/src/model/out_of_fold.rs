//! `out_of_fold.json`: the cases of a fold on which its model was not trained, and the names of
//! their files.

use crate::dataset::{Label, Region};
use crate::metric::Targets;
use serde::{Deserialize, Serialize};
use voxflow_cache::Digest;

/// The file of [`OutOfFoldCases`].
pub const OUT_OF_FOLD: &str = "out_of_fold.json";

/// The validation cases of a fold, predicted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutOfFoldCases {
    /// The dataset's name.
    pub dataset: String,
    /// The labels.
    pub labels: Vec<Label>,
    /// The regions that are segmented in their place.
    pub regions: Vec<Region>,
    /// The reference's value of voxels that nobody annotated.
    pub ignore: Option<u8>,
    /// The cases.
    pub cases: Vec<String>,
    /// Digests of the weights that predicted them.
    pub weights: Vec<Digest>,
    /// True if probabilities were kept.
    pub probabilities: bool,
}

impl OutOfFoldCases {
    /// All that is scored.
    pub fn targets(&self) -> Targets<'_> {
        Targets { labels: &self.labels, regions: &self.regions, ignore: self.ignore }
    }
}

/// A case's label map.
pub fn prediction_file(case: &str) -> String {
    format!("predictions/{case}.nii.gz")
}

/// A case's label of the dataset, on the grid of its image.
pub fn reference_file(case: &str) -> String {
    format!("references/{case}.nii.gz")
}

/// A case's class probabilities.
pub fn probability_file(case: &str) -> String {
    format!("probabilities/{case}.nii.gz")
}
