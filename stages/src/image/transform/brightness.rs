//! `brightness`: each channel times a number of its own, as batchgeneratorsv2's
//! `MultiplicativeBrightnessTransform`.

use super::canvas::Canvas;
use super::change::{
    Change, Effect, ParamMistakes, RandomTransform, around_one, check_probability, check_range,
};
use crate::random::Draw;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Multiplying each channel by a number of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Brightness {
    /// Probability, 0 to 1.
    pub probability: f64,
    /// The lowest and the highest factor; half of the draws are below 1.
    pub range: [f64; 2],
}

impl RandomTransform for Brightness {
    fn check(&self, _patch_shape: [usize; 3]) -> ParamMistakes {
        [check_probability(self.probability), check_range("range", self.range)].concat()
    }

    fn draw(&self, mut draw: Draw, _patch_shape: [usize; 3]) -> Option<Box<dyn Change>> {
        let is_drawn = draw.chance(self.probability);
        is_drawn.then(|| Box::new(Brightened { range: self.range, draw }) as Box<dyn Change>)
    }
}

/// The range, and the stream from which the factors are drawn.
#[derive(Clone, Debug)]
struct Brightened {
    range: [f64; 2],
    draw: Draw,
}

impl Change for Brightened {
    fn effect(&self) -> Effect {
        Effect::Values
    }

    fn apply(&self, canvas: &mut dyn Canvas) {
        let mut draw = self.draw.clone();
        for channel in 0..canvas.channels() {
            canvas.multiply_channel(channel, around_one(&mut draw, self.range) as f32);
        }
    }
}
