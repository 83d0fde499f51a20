//! Preparation: load → RAS → spacing → foreground mask → intensity → crop, as one recipe for
//! training volumes and for images to predict.

use crate::image::Intensity;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The parameters of preparation: those of the kind `preprocess`, kept in every model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Preparation {
    /// Voxel size in mm along the R, A and S axes after resampling; null keeps the image's own grid.
    #[serde(default)]
    pub spacing: Option<[f64; 3]>,
    /// How intensities are scaled: one for all channels, or a list with one for each.
    pub intensity: Intensities,
    /// Cut the volume to the box around its foreground (values above the window's lower end for a
    /// window, above 0 before scaling otherwise).
    #[serde(default)]
    pub crop_foreground: bool,
    /// Voxels to leave around the foreground box, clipped to the image.
    #[serde(default)]
    pub crop_margin: usize,
}

/// One intensity scaling for all channels, or one for each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Intensities {
    /// The same for all channels.
    One(Intensity),
    /// One for each channel, in the order of the dataset's modalities.
    Each(Vec<Intensity>),
}
