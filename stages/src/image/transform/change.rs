//! The transforms' contract: parameters draw a change, and a change applies itself to a canvas.
//!
//! Drawing and applying are two steps, so that the second can be compared with MONAI's.

use super::canvas::{Canvas, MemoryCanvas};
use crate::image::rotoscale::Rotoscale;
use crate::random::Draw;
use std::fmt::Debug;

/// Pairs of a parameter's path and the trouble.
pub type ParamMistakes = Vec<(String, String)>;

/// The parameters of a random transform.
pub trait RandomTransform {
    /// Mistakes beyond types, for patches with this shape.
    fn check(&self, patch_shape: [usize; 3]) -> ParamMistakes;

    /// Draws a patch's change from its own stream; `None` for an unchanged patch.
    fn draw(&self, draw: Draw, patch_shape: [usize; 3]) -> Option<Box<dyn Change>>;
}

/// A drawn change to a patch.
pub trait Change: Debug {
    /// The patch's part read and written.
    fn effect(&self) -> Effect;

    /// The rotation and scale, if this is such a change: as the first change, it reads from a
    /// larger patch.
    fn rotoscale(&self) -> Option<Rotoscale> {
        None
    }

    /// Applies it, in memory or on a device.
    fn apply(&self, canvas: &mut dyn Canvas);
}

/// The part of a patch read and written by a change; changes to single values run together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Mirrors these axes; a crop does so while copying.
    Mirrors([bool; 3]),
    /// Moves voxels of image and label.
    Moves,
    /// Changes values of the image, each by itself alone.
    Pointwise,
    /// Changes values of the image, by other values or by chance.
    Values,
}

/// A patch's changes, in order of application.
#[derive(Debug, Default)]
pub struct Changes(pub Vec<Box<dyn Change>>);

impl Changes {
    /// The first change, if a rotation and scale, and the remaining changes.
    pub fn split_rotoscale(mut self) -> (Option<Rotoscale>, Changes) {
        let first = self.0.first().and_then(|change| change.rotoscale());
        if first.is_some() {
            self.0.remove(0);
        }
        (first, self)
    }

    /// The axes that the first changes mirror, and the changes after them.
    pub fn split_mirrors(mut self) -> ([bool; 3], Changes) {
        let mut mirrored = [false; 3];
        while let Some(Effect::Mirrors(axes)) = self.0.first().map(|change| change.effect()) {
            (0..3).for_each(|axis| mirrored[axis] ^= axes[axis]);
            self.0.remove(0);
        }
        (mirrored, self)
    }

    /// True if each new value depends on the old value alone.
    pub fn are_pointwise(&self) -> bool {
        self.0.iter().all(|change| change.effect() == Effect::Pointwise)
    }

    /// Applies all.
    pub fn apply(&self, canvas: &mut dyn Canvas) {
        self.0.iter().for_each(|change| change.apply(canvas));
    }

    /// Applies pointwise changes to some values of an image.
    pub fn apply_to_values(&self, values: &mut [f32]) {
        if !self.0.is_empty() {
            let shape = [1, 1, values.len()];
            self.apply(&mut MemoryCanvas { shape, image: values, label: &mut [], beyond: 0 });
        }
    }
}

/// A probability that is not from 0 to 1.
pub(super) fn check_probability(probability: f64) -> ParamMistakes {
    if (0.0..=1.0).contains(&probability) {
        return vec![];
    }
    vec![("probability".to_string(), format!("{probability} is not between 0 and 1"))]
}

/// A probability for single channels outside 0 to 1.
pub(super) fn check_channel_probability(probability: f64) -> ParamMistakes {
    let found = check_probability(probability).into_iter();
    found.map(|(_, trouble)| ("channel_probability".to_string(), trouble)).collect()
}

/// A range other than two numbers above 0, the lower first.
pub(super) fn check_range(path: &str, [low, high]: [f64; 2]) -> ParamMistakes {
    if low > 0.0 && low <= high && high.is_finite() {
        return vec![];
    }
    vec![(path.to_string(), "must be two numbers above 0, the lower one first".to_string())]
}

/// A draw from a range about 1: half of them below 1, if the range reaches there.
pub(super) fn around_one(draw: &mut Draw, [low, high]: [f64; 2]) -> f64 {
    if draw.chance(0.5) && low < 1.0 {
        draw.between(low, high.min(1.0))
    } else {
        draw.between(low.max(1.0).min(high), high)
    }
}

/// Numbers that are negative or not finite.
pub(super) fn check_amounts(path: &str, numbers: &[f64]) -> ParamMistakes {
    match numbers.iter().any(|number| !number.is_finite() || *number < 0.0) {
        true => vec![(path.to_string(), "numbers must be finite and not negative".to_string())],
        false => vec![],
    }
}
