//! `low_resolution`: channels as if seen at a lower resolution, as batchgeneratorsv2's
//! `SimulateLowResolutionTransform`.

use super::canvas::Canvas;
use super::change::{
    Change, Effect, ParamMistakes, RandomTransform, check_channel_probability, check_probability,
    check_range,
};
use crate::random::Draw;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Channels made smaller by nearest neighbour and as large as before by trilinear interpolation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LowResolution {
    /// Probability that any channel is changed, 0 to 1.
    pub probability: f64,
    /// Probability of each channel then, 0 to 1.
    #[serde(default = "half")]
    pub channel_probability: f64,
    /// The lowest and the highest scale, at most 1.
    pub scale: [f64; 2],
    /// An axis (0, 1 or 2) that keeps its resolution; null for none.
    #[serde(default)]
    pub flat_axis: Option<usize>,
}

fn half() -> f64 {
    0.5
}

impl RandomTransform for LowResolution {
    fn check(&self, _patch_shape: [usize; 3]) -> ParamMistakes {
        let mut mistakes = check_probability(self.probability);
        mistakes.extend(check_channel_probability(self.channel_probability));
        mistakes.extend(check_range("scale", self.scale));
        if self.scale[1] > 1.0 {
            mistakes.push(("scale".into(), "must be at most 1".into()));
        }
        if self.flat_axis.is_some_and(|axis| axis > 2) {
            mistakes.push(("flat_axis".into(), "axes are 0, 1 and 2".into()));
        }
        mistakes
    }

    fn draw(&self, mut draw: Draw, patch_shape: [usize; 3]) -> Option<Box<dyn Change>> {
        let is_drawn = draw.chance(self.probability);
        let coarse = Coarse { params: self.clone(), shape: patch_shape, draw };
        is_drawn.then(|| Box::new(coarse) as Box<dyn Change>)
    }
}

/// The parameters, and the stream from which channels and scales are drawn.
#[derive(Clone, Debug)]
struct Coarse {
    params: LowResolution,
    shape: [usize; 3],
    draw: Draw,
}

impl Change for Coarse {
    fn effect(&self) -> Effect {
        Effect::Values
    }

    fn apply(&self, canvas: &mut dyn Canvas) {
        let (mut draw, [low, high]) = (self.draw.clone(), self.params.scale);
        for channel in 0..canvas.channels() {
            let is_drawn = draw.chance(self.params.channel_probability);
            let scale = draw.between(low, high);
            if is_drawn {
                let sides = std::array::from_fn(|axis| match self.params.flat_axis {
                    Some(flat) if flat == axis => self.shape[axis],
                    _ => coarse_side(self.shape[axis], scale),
                });
                canvas.coarsen(channel, sides);
            }
        }
    }
}

/// A side at a lower resolution: rounded, halves to even, at least 1.
fn coarse_side(side: usize, scale: f64) -> usize {
    // Scales are single-precision numbers there.
    (((side as f64) * f64::from(scale as f32)).round_ties_even() as usize).max(1)
}
