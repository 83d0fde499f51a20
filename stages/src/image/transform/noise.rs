//! `noise`: normally distributed noise, as MONAI's `RandGaussianNoise` with a drawn deviation.

use super::canvas::Canvas;
use super::change::{
    Change, Effect, ParamMistakes, RandomTransform, check_amounts, check_probability,
};
use crate::random::Draw;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Normally distributed noise with mean 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Noise {
    /// Probability, 0 to 1.
    pub probability: f64,
    /// The largest standard deviation, in the units of the scaled image; the one used is drawn
    /// uniformly from 0 to this.
    pub std: f64,
}

impl RandomTransform for Noise {
    fn check(&self, _patch_shape: [usize; 3]) -> ParamMistakes {
        [check_probability(self.probability), check_amounts("std", &[self.std])].concat()
    }

    fn draw(&self, mut draw: Draw, _patch_shape: [usize; 3]) -> Option<Box<dyn Change>> {
        if !draw.chance(self.probability) {
            return None;
        }
        let std = draw.between(0.0, self.std) as f32;
        Some(Box::new(Noisy { std, draw }))
    }
}

/// The noise's standard deviation, and the stream it is drawn from.
#[derive(Clone, Debug)]
struct Noisy {
    std: f32,
    draw: Draw,
}

impl Change for Noisy {
    fn effect(&self) -> Effect {
        Effect::Values
    }

    fn apply(&self, canvas: &mut dyn Canvas) {
        canvas.add_noise(self.std, &mut self.draw.clone());
    }
}
