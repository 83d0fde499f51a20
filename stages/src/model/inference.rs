//! Sliding-window inference.

use super::{Mistake, Network, mistake};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Weights of overlapping windows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Blend {
    /// All voxels of a window count the same.
    #[default]
    Constant,
    /// Voxels count by a Gaussian around the window's centre (sigma = side / 8).
    Gaussian,
}

/// The sliding window, as MONAI's `sliding_window_inference`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Inference {
    /// Sides of the window in voxels, x, y, z; null takes the training patch. Smaller volumes are
    /// padded.
    pub roi: Option<[usize; 3]>,
    /// The fraction by which neighbouring windows overlap.
    pub overlap: f64,
    /// Windows at a time.
    pub batch: usize,
    /// Weights of overlapping windows.
    pub blend: Blend,
    /// Average over all eight flips of the volume (eight times as slow).
    pub flips: bool,
}

impl Default for Inference {
    fn default() -> Self {
        Inference { roi: None, overlap: 0.5, batch: 4, blend: Blend::Constant, flips: false }
    }
}

impl Inference {
    /// Mistakes in the parameters; `path` is their place in the workflow.
    pub fn check(&self, path: &str) -> Vec<Mistake> {
        [
            mistake(
                !(0.0..1.0).contains(&self.overlap),
                format!("{path}.overlap"),
                "must lie in 0 to below 1",
            ),
            mistake(
                !(1..=4096).contains(&self.batch),
                format!("{path}.batch"),
                "must lie in 1 to 4096",
            ),
            mistake(
                self.roi.is_some_and(|roi| roi.contains(&0)),
                format!("{path}.roi"),
                "sides must be at least 1",
            ),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// Mistakes in the window's sides for this network.
    pub fn check_roi(&self, network: &Network, path: &str) -> Option<Mistake> {
        let path = format!("{path}.roi");
        let roi = self.roi?;
        network.check_sides(roi, &path).or_else(|| network.check_instance_norm(roi, &path))
    }
}
