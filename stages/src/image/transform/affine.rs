//! `affine`: rotation, scale and translation, as MONAI's `RandAffine`.

use super::canvas::Canvas;
use super::change::{
    Change, Effect, ParamMistakes, RandomTransform, check_amounts, check_probability,
};
use crate::image::warp::Affinity;
use crate::random::Draw;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Ranges of an affine change. Each number x stands for a uniform draw from −x to x.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Affine {
    /// Probability, 0 to 1.
    pub probability: f64,
    /// Degrees about each axis.
    #[serde(default)]
    pub rotation_degrees: [f64; 3],
    /// Relative change of scale along each axis: 0.1 draws factors from 0.9 to 1.1. A factor above
    /// 1 shows more of the volume.
    #[serde(default)]
    pub scale: [f64; 3],
    /// Voxels along each axis.
    #[serde(default)]
    pub translation_voxels: [f64; 3],
}

impl RandomTransform for Affine {
    fn check(&self, _patch_shape: [usize; 3]) -> ParamMistakes {
        let mut mistakes = check_probability(self.probability);
        mistakes.extend(check_amounts("rotation_degrees", &self.rotation_degrees));
        mistakes.extend(check_amounts("scale", &self.scale));
        if self.scale.iter().any(|scale| *scale >= 1.0 && scale.is_finite()) {
            mistakes.push(("scale".into(), "must be below 1, or factors reach 0".into()));
        }
        mistakes.extend(check_amounts("translation_voxels", &self.translation_voxels));
        mistakes
    }

    fn draw(&self, mut draw: Draw, _patch_shape: [usize; 3]) -> Option<Box<dyn Change>> {
        if !draw.chance(self.probability) {
            return None;
        }
        let mut symmetric = |range: f64| draw.between(-range, range);
        Some(Box::new(Affinity {
            rotation: self.rotation_degrees.map(|range| symmetric(range).to_radians()),
            translation: self.translation_voxels.map(&mut symmetric),
            scale: self.scale.map(|range| 1.0 + symmetric(range)),
        }))
    }
}

impl Change for Affinity {
    fn effect(&self) -> Effect {
        Effect::Moves
    }

    fn apply(&self, canvas: &mut dyn Canvas) {
        canvas.resample(self);
    }
}
