//! `intensity_scale`: multiplying all values, as MONAI's `RandScaleIntensity`.

use super::canvas::Canvas;
use super::change::{
    Change, Effect, ParamMistakes, RandomTransform, check_amounts, check_probability,
};
use crate::random::Draw;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Multiplying all values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IntensityScale {
    /// Probability, 0 to 1.
    pub probability: f64,
    /// Values are multiplied by 1 + a uniform draw from −factor to factor.
    pub factor: f64,
}

impl RandomTransform for IntensityScale {
    fn check(&self, _patch_shape: [usize; 3]) -> ParamMistakes {
        [check_probability(self.probability), check_amounts("factor", &[self.factor])].concat()
    }

    fn draw(&self, mut draw: Draw, _patch_shape: [usize; 3]) -> Option<Box<dyn Change>> {
        if !draw.chance(self.probability) {
            return None;
        }
        Some(Box::new(ScaledIntensity(draw.between(-self.factor, self.factor) as f32)))
    }
}

/// Values are multiplied by 1 + this.
#[derive(Clone, Copy, Debug)]
pub struct ScaledIntensity(pub f32);

impl Change for ScaledIntensity {
    fn effect(&self) -> Effect {
        Effect::Pointwise
    }

    fn apply(&self, canvas: &mut dyn Canvas) {
        canvas.multiply(1.0 + self.0);
    }
}
