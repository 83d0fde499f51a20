//! `gamma_retain_stats`: a power of each channel, mean and spread kept, as batchgeneratorsv2's
//! `GammaTransform`.

use super::canvas::Canvas;
use super::change::{
    Change, Effect, ParamMistakes, RandomTransform, around_one, check_probability, check_range,
};
use crate::random::Draw;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Raising each channel, scaled to 0…1 by its range in the patch, to a power of its own; mean and
/// standard deviation become those before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GammaRetainStats {
    /// Probability, 0 to 1.
    pub probability: f64,
    /// The lowest and the highest power; half of the draws are below 1.
    pub range: [f64; 2],
    /// Raise the negative of the image, and take its negative again.
    #[serde(default)]
    pub inverted: bool,
}

impl RandomTransform for GammaRetainStats {
    fn check(&self, _patch_shape: [usize; 3]) -> ParamMistakes {
        [check_probability(self.probability), check_range("range", self.range)].concat()
    }

    fn draw(&self, mut draw: Draw, _patch_shape: [usize; 3]) -> Option<Box<dyn Change>> {
        let is_drawn = draw.chance(self.probability);
        let (range, inverted) = (self.range, self.inverted);
        is_drawn.then(|| Box::new(RaisedChannels { range, inverted, draw }) as Box<dyn Change>)
    }
}

/// The parameters, and the stream from which the powers are drawn.
#[derive(Clone, Debug)]
struct RaisedChannels {
    range: [f64; 2],
    inverted: bool,
    draw: Draw,
}

impl Change for RaisedChannels {
    fn effect(&self) -> Effect {
        Effect::Values
    }

    fn apply(&self, canvas: &mut dyn Canvas) {
        let mut draw = self.draw.clone();
        for channel in 0..canvas.channels() {
            let power = around_one(&mut draw, self.range) as f32;
            canvas.raise_channel(channel, power, self.inverted);
        }
    }
}
