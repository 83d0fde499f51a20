//! `blur`: Gaussian blur of single channels, as batchgeneratorsv2's `GaussianBlurTransform`.

use super::canvas::Canvas;
use super::change::{
    Change, Effect, ParamMistakes, RandomTransform, check_probability, check_range,
};
use crate::random::Draw;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Gaussian blur of channels, by themselves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Blur {
    /// Probability that any channel is blurred, 0 to 1.
    pub probability: f64,
    /// Probability of each channel then, 0 to 1.
    #[serde(default = "half")]
    pub channel_probability: f64,
    /// The lowest and the highest standard deviation in voxels, drawn for each axis.
    pub sigma_voxels: [f64; 2],
}

fn half() -> f64 {
    0.5
}

impl RandomTransform for Blur {
    fn check(&self, _patch_shape: [usize; 3]) -> ParamMistakes {
        let mut mistakes = check_probability(self.probability);
        mistakes.extend(super::change::check_channel_probability(self.channel_probability));
        mistakes.extend(check_range("sigma_voxels", self.sigma_voxels));
        if self.sigma_voxels[1] > 16.0 {
            mistakes.push(("sigma_voxels".into(), "must be at most 16 voxels".into()));
        }
        mistakes
    }

    fn draw(&self, mut draw: Draw, _patch_shape: [usize; 3]) -> Option<Box<dyn Change>> {
        let is_drawn = draw.chance(self.probability);
        is_drawn.then(|| Box::new(Blurred { params: self.clone(), draw }) as Box<dyn Change>)
    }
}

/// The parameters, and the stream from which channels and deviations are drawn.
#[derive(Clone, Debug)]
struct Blurred {
    params: Blur,
    draw: Draw,
}

impl Change for Blurred {
    fn effect(&self) -> Effect {
        Effect::Values
    }

    fn apply(&self, canvas: &mut dyn Canvas) {
        let (mut draw, [low, high]) = (self.draw.clone(), self.params.sigma_voxels);
        for channel in 0..canvas.channels() {
            let is_drawn = draw.chance(self.params.channel_probability);
            let sigmas = [0; 3].map(|_| draw.between(low, high));
            if is_drawn {
                canvas.blur(channel, sigmas);
            }
        }
    }
}
