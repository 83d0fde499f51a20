//! `spatial`: rotation and scale in one step, as batchgeneratorsv2's `SpatialTransform` in nnU-Net.

use super::canvas::Canvas;
use super::change::{Change, Effect, ParamMistakes, RandomTransform, check_amounts};
use crate::image::rotoscale::Rotoscale;
use crate::random::Draw;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Rotation and scale about the patch's centre, each drawn by itself. As the first of a list it
/// reads from 'sampling.initial_patch'; beyond what it reads from, images are 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Spatial {
    /// Probability of a rotation, 0 to 1.
    pub rotation_probability: f64,
    /// Degrees: about each axis an angle is drawn from −this to this.
    pub rotation_degrees: f64,
    /// Probability of a change of scale, 0 to 1.
    pub scale_probability: f64,
    /// The lowest and the highest scale, the same along all axes; above 1 objects become smaller.
    pub scale: [f64; 2],
    /// An axis (0, 1 or 2) that stays as it is: slices across it are turned and scaled by
    /// themselves (nnU-Net's "dummy 2D"). null for none.
    #[serde(default)]
    pub flat_axis: Option<usize>,
}

impl RandomTransform for Spatial {
    fn check(&self, _patch_shape: [usize; 3]) -> ParamMistakes {
        let mut mistakes = check_amounts("rotation_degrees", &[self.rotation_degrees]);
        for (path, probability) in [
            ("rotation_probability", self.rotation_probability),
            ("scale_probability", self.scale_probability),
        ] {
            if !(0.0..=1.0).contains(&probability) {
                mistakes.push((path.into(), format!("{probability} is not between 0 and 1")));
            }
        }
        let [low, high] = self.scale;
        if !(low > 0.0 && low <= high && high.is_finite()) {
            let words = "two factors above 0, the lower one first, as [0.7, 1.4]";
            mistakes.push(("scale".into(), words.into()));
        }
        if self.flat_axis.is_some_and(|axis| axis > 2) {
            mistakes.push(("flat_axis".into(), "axes are 0, 1 and 2".into()));
        }
        mistakes
    }

    fn draw(&self, mut draw: Draw, _patch_shape: [usize; 3]) -> Option<Box<dyn Change>> {
        let (rotates, scales) =
            (draw.chance(self.rotation_probability), draw.chance(self.scale_probability));
        let reach = self.rotation_degrees.to_radians();
        let angles = [0; 3].map(|_| if rotates { draw.between(-reach, reach) } else { 0.0 });
        let scale = if scales { draw.between(self.scale[0], self.scale[1]) } else { 1.0 };
        let change = Rotoscale { angles, scales: [scale; 3], flat_axis: self.flat_axis };
        (rotates || scales).then(|| Box::new(change) as Box<dyn Change>)
    }
}

impl Change for Rotoscale {
    fn effect(&self) -> Effect {
        Effect::Moves
    }

    fn rotoscale(&self) -> Option<Rotoscale> {
        Some(*self)
    }

    fn apply(&self, canvas: &mut dyn Canvas) {
        canvas.rotoscale(self);
    }
}
