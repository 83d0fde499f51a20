//! `gamma`: change of contrast, as MONAI's `RandAdjustContrast`.

use super::canvas::Canvas;
use super::change::{
    Change, Effect, ParamMistakes, RandomTransform, check_amounts, check_probability,
};
use crate::random::Draw;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Change of contrast.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Gamma {
    /// Probability, 0 to 1.
    pub probability: f64,
    /// The lowest and the highest power.
    pub range: [f64; 2],
}

impl RandomTransform for Gamma {
    fn check(&self, _patch_shape: [usize; 3]) -> ParamMistakes {
        [check_probability(self.probability), check_amounts("range", &self.range)].concat()
    }

    fn draw(&self, mut draw: Draw, _patch_shape: [usize; 3]) -> Option<Box<dyn Change>> {
        let [low, high] = self.range;
        let is_drawn = draw.chance(self.probability);
        is_drawn.then(|| Box::new(Raised(draw.between(low, high) as f32)) as Box<dyn Change>)
    }
}

/// The power.
#[derive(Clone, Copy, Debug)]
pub struct Raised(pub f32);

impl Change for Raised {
    fn effect(&self) -> Effect {
        Effect::Values
    }

    fn apply(&self, canvas: &mut dyn Canvas) {
        canvas.raise(self.0);
    }
}
