//! `intensity_shift`: adding to all values, as MONAI's `RandShiftIntensity`.

use super::canvas::Canvas;
use super::change::{
    Change, Effect, ParamMistakes, RandomTransform, check_amounts, check_probability,
};
use crate::random::Draw;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Adding to all values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IntensityShift {
    /// Probability, 0 to 1.
    pub probability: f64,
    /// A uniform draw from −offset to offset is added, in the units of the scaled image.
    pub offset: f64,
}

impl RandomTransform for IntensityShift {
    fn check(&self, _patch_shape: [usize; 3]) -> ParamMistakes {
        [check_probability(self.probability), check_amounts("offset", &[self.offset])].concat()
    }

    fn draw(&self, mut draw: Draw, _patch_shape: [usize; 3]) -> Option<Box<dyn Change>> {
        if !draw.chance(self.probability) {
            return None;
        }
        Some(Box::new(Shifted(draw.between(-self.offset, self.offset) as f32)))
    }
}

/// This is added.
#[derive(Clone, Copy, Debug)]
pub struct Shifted(pub f32);

impl Change for Shifted {
    fn effect(&self) -> Effect {
        Effect::Pointwise
    }

    fn apply(&self, canvas: &mut dyn Canvas) {
        canvas.add(self.0);
    }
}
