//! `flip`: mirroring along axes, as MONAI's `RandFlip` for each axis.

use super::canvas::Canvas;
use super::change::{Change, Effect, ParamMistakes, RandomTransform, check_probability};
use crate::random::Draw;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Mirroring along axes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Flip {
    /// Probability for each axis, 0 to 1.
    pub probability: f64,
    /// The axes: 0, 1 and 2 are R, A and S.
    #[serde(default = "all_axes")]
    pub axes: Vec<usize>,
}

fn all_axes() -> Vec<usize> {
    vec![0, 1, 2]
}

impl RandomTransform for Flip {
    fn check(&self, _patch_shape: [usize; 3]) -> ParamMistakes {
        let mut mistakes = check_probability(self.probability);
        if self.axes.iter().any(|axis| *axis > 2) {
            mistakes.push(("axes".into(), "axes are 0, 1 and 2".into()));
        }
        mistakes
    }

    fn draw(&self, mut draw: Draw, _patch_shape: [usize; 3]) -> Option<Box<dyn Change>> {
        // All three are drawn, so that other axes leave these as they are.
        let drawn: [bool; 3] = std::array::from_fn(|_| draw.chance(self.probability));
        let axes = std::array::from_fn(|axis| drawn[axis] && self.axes.contains(&axis));
        axes.contains(&true).then(|| Box::new(Mirrored(axes)) as Box<dyn Change>)
    }
}

/// The axes that are mirrored.
#[derive(Clone, Copy, Debug)]
pub struct Mirrored(pub [bool; 3]);

impl Change for Mirrored {
    fn effect(&self) -> Effect {
        Effect::Mirrors(self.0)
    }

    fn apply(&self, canvas: &mut dyn Canvas) {
        canvas.mirror(self.0);
    }
}
