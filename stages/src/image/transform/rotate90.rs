//! `rotate90`: turning by quarters, as MONAI's `RandRotate90`.

use super::canvas::Canvas;
use super::change::{Change, Effect, ParamMistakes, RandomTransform, check_probability};
use crate::random::Draw;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Turning by quarters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rotate90 {
    /// Probability, 0 to 1; one to three quarter turns are equally likely.
    pub probability: f64,
    /// The two axes of the plane, turning from the first to the second. The patch must be as long
    /// on both.
    #[serde(default = "first_plane")]
    pub axes: [usize; 2],
}

fn first_plane() -> [usize; 2] {
    [0, 1]
}

impl RandomTransform for Rotate90 {
    fn check(&self, patch_shape: [usize; 3]) -> ParamMistakes {
        let (mut mistakes, [a, b]) = (check_probability(self.probability), self.axes);
        if a > 2 || b > 2 || a == b {
            let trouble = "a plane has two different axes of 0, 1 and 2";
            mistakes.push(("axes".into(), trouble.into()));
        } else if patch_shape[a] != patch_shape[b] {
            mistakes.push((
                "axes".into(),
                format!(
                    "patches of {patch_shape:?} are not as long on axis {a} as on axis {b}; choose \
                     another plane or patch"
                ),
            ));
        }
        mistakes
    }

    fn draw(&self, mut draw: Draw, patch_shape: [usize; 3]) -> Option<Box<dyn Change>> {
        if !draw.chance(self.probability) {
            return None;
        }
        let is_square = patch_shape[self.axes[0]] == patch_shape[self.axes[1]];
        let quarters = if is_square { draw.below(3) as u8 + 1 } else { 2 };
        Some(Box::new(Turned { quarters, axes: self.axes }))
    }
}

/// Quarter turns in a plane.
#[derive(Clone, Copy, Debug)]
pub struct Turned {
    /// 1 to 3.
    pub quarters: u8,
    /// The plane, turning from the first axis to the second.
    pub axes: [usize; 2],
}

impl Change for Turned {
    fn effect(&self) -> Effect {
        Effect::Moves
    }

    fn apply(&self, canvas: &mut dyn Canvas) {
        canvas.turn(self.quarters, self.axes);
    }
}
