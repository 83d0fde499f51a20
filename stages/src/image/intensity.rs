//! Intensity: from a scanner's numbers to what a network likes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How one channel's intensities are scaled.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Intensity {
    /// Map these two values (Hounsfield units for CT) to 0 and 1, and clip.
    Window([f64; 2]),
    /// Subtract the mean and divide by the standard deviation, of all voxels or of the non-zero ones.
    Zscore(Zscore),
    /// Map these two percentiles (0 to 100) of the image to 0 and 1, and clip.
    Percentile([f64; 2]),
}

/// Which voxels a z-score is taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Zscore {
    /// All voxels.
    All,
    /// Voxels that are not zero; zeros stay zero.
    Nonzero,
}
