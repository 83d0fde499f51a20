//! The parameters of preparation, kept in every model.

use crate::error::{Error, Result};
use crate::image::Intensity;
use crate::image::case::GridFrame;
use crate::image::intensity::Zscore;
use crate::image::resize::{Resampling, grid_with_spacing};
use crate::image::spacing::Grid;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The parameters for preparation, from the kind `preprocess`; kept in every model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Preparation {
    /// The axes of prepared volumes: turned to RAS, or as each file stores them, which is how
    /// nnU-Net reads files. Networks trained on one know nothing of the other.
    #[serde(default, skip_serializing_if = "AxisOrder::is_ras")]
    #[schemars(extend("default" = "ras", "x-neutral" = "ras"))]
    pub orientation: AxisOrder,
    /// Voxel size in mm along the R, A and S axes (with 'orientation: stored' along the file's own)
    /// after resampling; null keeps the image's own grid.
    #[serde(default)]
    pub spacing: Option<[f64; 3]>,
    /// Intensity scaling: one for all channels, or a list with one for each.
    pub intensity: Intensities,
    /// Cut the volume to the box around its foreground (values above the window's lower end for a
    /// window, above 0 before scaling otherwise).
    #[serde(default)]
    pub crop_foreground: bool,
    /// Voxels to leave around the foreground box, clipped to the image.
    #[serde(default)]
    pub crop_margin: usize,
    /// Cut each image to the box of voxels that are not 0 in some channel, before it is resampled
    /// and scaled. Predictions are background outside.
    #[serde(default, skip_serializing_if = "is_false")]
    #[schemars(extend("default" = false, "x-neutral" = false))]
    pub crop_nonzero: bool,
    /// Resample as nnU-Net does: `{}` is its default. Intensities are scaled before, not after. If
    /// absent, resampling is MONAI's: trilinear images, nearest labels, trilinear probabilities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-neutral" = null))]
    pub resampling: Option<Resampling>,
    /// Keep a second label map of each case (`marked.nii`), in which voxels outside the non-zero
    /// region have the value 255, for the augmentation 'zero_outside'. Needs 'resampling'.
    #[serde(default, skip_serializing_if = "is_false")]
    #[schemars(extend("default" = false, "x-neutral" = false))]
    pub mark_outside: bool,
}

fn is_false(value: &bool) -> bool {
    !value
}

/// The axes of prepared volumes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AxisOrder {
    /// To the right, to the front and up, by flips and permutations.
    #[default]
    Ras,
    /// The file's own.
    Stored,
}

impl AxisOrder {
    /// The frame of a case whose first image has this grid.
    pub fn frame(self, grid: Grid) -> Result<GridFrame> {
        match self {
            AxisOrder::Ras => GridFrame::of(grid),
            AxisOrder::Stored => Ok(GridFrame::as_stored(grid)),
        }
    }

    fn is_ras(&self) -> bool {
        *self == AxisOrder::Ras
    }
}

/// A single intensity scaling, or a list with each channel's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Intensities {
    /// The same for all channels.
    One(Intensity),
    /// One for each channel, in the order of the dataset's modalities.
    Each(Vec<Intensity>),
}

impl Preparation {
    /// Mistakes that types cannot express: dotted path, trouble and way out.
    pub fn check(&self) -> Vec<(String, String)> {
        let mut mistakes = vec![];
        if let Some(spacing) = self.spacing
            && !spacing.iter().all(|size| size.is_finite() && *size > 0.0)
        {
            mistakes.push(("spacing".into(), "voxel sizes are positive and finite, in mm".into()));
        }
        if let Some(resampling) = &self.resampling {
            let wrong = resampling.check().into_iter();
            mistakes.extend(wrong.map(|(field, words)| (format!("resampling.{field}"), words)));
        }
        if self.resampling.is_some() && self.crop_foreground {
            let words = "looks at values before they are scaled, but with 'resampling' these are \
                         gone; use 'crop_nonzero'";
            mistakes.push(("crop_foreground".into(), words.into()));
        }
        if self.resampling.is_none() && self.intensity.is_masked() {
            let words = "'zscore: nonzero_mask' is computed before resampling; add 'resampling', \
                         or use 'zscore: nonzero'";
            mistakes.push(("intensity".into(), words.into()));
        }
        if self.resampling.is_none() && self.mark_outside {
            let words = "the non-zero region is known to nnU-Net's resampling alone; add \
                         'resampling', as {}";
            mistakes.push(("mark_outside".into(), words.into()));
        }
        mistakes.extend(self.intensity.check());
        mistakes
    }

    /// The grid of the prepared volume before a foreground crop, from the grid after turning and
    /// the non-zero crop.
    pub fn resampled(&self, grid: &Grid) -> Result<Grid> {
        match (self.spacing, self.resampling) {
            (None, _) => Ok(*grid),
            (Some(spacing), None) => grid.with_spacing(spacing),
            (Some(spacing), Some(_)) => grid_with_spacing(grid, spacing),
        }
    }
}

impl Intensities {
    fn check(&self) -> Vec<(String, String)> {
        match self {
            Intensities::One(one) => {
                one.check().map(|trouble| ("intensity".into(), trouble)).into_iter().collect()
            }
            Intensities::Each(each) if each.is_empty() => {
                let words = "the list is empty; give one scaling for each channel";
                vec![("intensity".into(), words.into())]
            }
            Intensities::Each(each) => {
                let troubles = each.iter().enumerate().filter_map(|(index, one)| {
                    one.check().map(|trouble| (format!("intensity.{index}"), trouble))
                });
                troubles.collect()
            }
        }
    }

    /// True if some channel is scaled within the non-zero mask.
    pub fn is_masked(&self) -> bool {
        let each = match self {
            Intensities::One(one) => std::slice::from_ref(one),
            Intensities::Each(each) => each,
        };
        each.contains(&Intensity::Zscore(Zscore::NonzeroMask))
    }

    /// Scalings for `channels` channels.
    pub fn for_channels(&self, channels: usize) -> Result<Vec<Intensity>> {
        match self {
            Intensities::One(one) => Ok(vec![*one; channels]),
            Intensities::Each(each) if each.len() == channels => Ok(each.clone()),
            Intensities::Each(each) => Err(Error::failed(format!(
                "'intensity' lists {} scalings for {channels} channels; give one for each, or one \
                 for all",
                each.len()
            ))),
        }
    }
}
