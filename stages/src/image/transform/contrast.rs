//! `contrast`: each channel stretched about its mean, as batchgeneratorsv2's `ContrastTransform`.

use super::canvas::Canvas;
use super::change::{
    Change, Effect, ParamMistakes, RandomTransform, around_one, check_probability, check_range,
};
use crate::random::Draw;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Stretching each channel about its mean, clipped to its range before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Contrast {
    /// Probability, 0 to 1.
    pub probability: f64,
    /// The lowest and the highest factor; half of the draws are below 1.
    pub range: [f64; 2],
}

impl RandomTransform for Contrast {
    fn check(&self, _patch_shape: [usize; 3]) -> ParamMistakes {
        [check_probability(self.probability), check_range("range", self.range)].concat()
    }

    fn draw(&self, mut draw: Draw, _patch_shape: [usize; 3]) -> Option<Box<dyn Change>> {
        let is_drawn = draw.chance(self.probability);
        is_drawn.then(|| Box::new(Stretched { range: self.range, draw }) as Box<dyn Change>)
    }
}

/// The range, and the stream from which the factors are drawn.
#[derive(Clone, Debug)]
struct Stretched {
    range: [f64; 2],
    draw: Draw,
}

impl Change for Stretched {
    fn effect(&self) -> Effect {
        Effect::Values
    }

    fn apply(&self, canvas: &mut dyn Canvas) {
        let mut draw = self.draw.clone();
        for channel in 0..canvas.channels() {
            canvas.stretch(channel, around_one(&mut draw, self.range) as f32);
        }
    }
}
