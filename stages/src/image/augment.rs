//! Augmentation: random changes of training patches, each as the MONAI transform of its name.
//!
//! Drawing parameters and applying them are two steps, so that the second can be compared with
//! MONAI's. The spatial steps themselves are in `warp`.

use crate::image::patch::Patch;
use crate::image::warp;
use crate::random::Draw;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Random changes of training patches, applied in this order: flip, rotate90, affine, noise, gamma,
/// intensity_scale, intensity_shift. What is absent is not done.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Augmentation {
    /// Mirror along axes, each by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flip: Option<Flip>,
    /// Turn by 90, 180 or 270 degrees in a plane.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotate90: Option<Rotate90>,
    /// Rotate, scale and shift about the patch's centre: trilinear for the image, nearest for the
    /// label; outside the patch the border's values go on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub affine: Option<AffineRange>,
    /// Add normally distributed noise to every value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub noise: Option<Noise>,
    /// Raise the image, scaled to 0…1 by its range in the patch, to a power.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gamma: Option<Gamma>,
    /// Multiply all values by one number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intensity_scale: Option<IntensityScale>,
    /// Add one number to all values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intensity_shift: Option<IntensityShift>,
}

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

/// Ranges of an affine change. Each number x stands for a uniform draw from −x to x.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AffineRange {
    /// Probability, 0 to 1.
    pub probability: f64,
    /// Degrees about each axis.
    #[serde(default)]
    pub rotation_degrees: [f64; 3],
    /// Relative change of scale along each axis: 0.1 draws factors from 0.9 to 1.1. A factor above
    /// 1 shows more of the volume.
    #[serde(default)]
    pub scale: [f64; 3],
    /// Voxels along each axis.
    #[serde(default)]
    pub translation_voxels: [f64; 3],
}

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

/// Change of contrast.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Gamma {
    /// Probability, 0 to 1.
    pub probability: f64,
    /// The lowest and the highest power.
    pub range: [f64; 2],
}

/// Multiplying all values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IntensityScale {
    /// Probability, 0 to 1.
    pub probability: f64,
    /// Values are multiplied by 1 + a uniform draw from −factor to factor.
    pub factor: f64,
}

/// Adding to all values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IntensityShift {
    /// Probability, 0 to 1.
    pub probability: f64,
    /// A uniform draw from −offset to offset is added, in the units of the scaled image.
    pub offset: f64,
}

fn all_axes() -> Vec<usize> {
    vec![0, 1, 2]
}

fn first_plane() -> [usize; 2] {
    [0, 1]
}

/// Drawn parameters for one patch.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// The axes to mirror.
    pub flips: [bool; 3],
    /// Quarter turns (1 to 3) and the plane.
    pub turns: Option<(u8, [usize; 2])>,
    /// The affine change.
    pub affine: Option<warp::Affinity>,
    /// The noise's standard deviation, and the stream it is drawn from.
    pub noise: Option<(f32, Draw)>,
    /// The power.
    pub gamma: Option<f32>,
    /// Values are multiplied by 1 + this.
    pub scale: Option<f32>,
    /// This is added.
    pub shift: Option<f32>,
}

impl Augmentation {
    /// Mistakes that types cannot say: pairs of a parameter's path and the trouble.
    pub fn check(&self, patch_shape: [usize; 3]) -> Vec<(String, String)> {
        let mut mistakes = self.check_numbers();
        let outside = |axes: &[usize]| axes.iter().any(|axis| *axis > 2);
        if self.flip.as_ref().is_some_and(|flip| outside(&flip.axes)) {
            mistakes.push(("flip.axes".into(), "axes are 0, 1 and 2".into()));
        }
        if let Some(Rotate90 { axes, .. }) = &self.rotate90 {
            if outside(axes) || axes[0] == axes[1] {
                mistakes.push((
                    "rotate90.axes".into(),
                    "a plane has two different axes of 0, 1 and 2".into(),
                ));
            } else if patch_shape[axes[0]] != patch_shape[axes[1]] {
                let trouble = format!(
                    "patches of {patch_shape:?} are not as long on axis {} as on axis {}; choose another plane or patch",
                    axes[0], axes[1]
                );
                mistakes.push(("rotate90.axes".into(), trouble));
            }
        }
        mistakes
    }

    fn check_numbers(&self) -> Vec<(String, String)> {
        let mut mistakes = vec![];
        for (name, probability) in self.probabilities() {
            if !(0.0..=1.0).contains(&probability) {
                mistakes.push((
                    format!("{name}.probability"),
                    format!("{probability} is not between 0 and 1"),
                ));
            }
        }
        let mut positive = |path: &str, bad: bool| {
            if bad {
                mistakes.push((
                    path.to_string(),
                    "numbers must be finite and not negative".to_string(),
                ));
            }
        };
        let bad = |number: &f64| !number.is_finite() || *number < 0.0;
        if let Some(affine) = &self.affine {
            positive("affine.rotation_degrees", affine.rotation_degrees.iter().any(bad));
            positive("affine.scale", affine.scale.iter().any(|scale| bad(scale) || *scale >= 1.0));
            positive("affine.translation_voxels", affine.translation_voxels.iter().any(bad));
        }
        positive("noise.std", self.noise.as_ref().is_some_and(|noise| bad(&noise.std)));
        positive(
            "gamma.range",
            self.gamma.as_ref().is_some_and(|gamma| gamma.range.iter().any(bad)),
        );
        positive(
            "intensity_scale.factor",
            self.intensity_scale.as_ref().is_some_and(|scale| bad(&scale.factor)),
        );
        positive(
            "intensity_shift.offset",
            self.intensity_shift.as_ref().is_some_and(|shift| bad(&shift.offset)),
        );
        mistakes
    }

    fn probabilities(&self) -> Vec<(&'static str, f64)> {
        let of =
            |name, probability: Option<f64>| probability.map(|probability| (name, probability));
        [
            of("flip", self.flip.as_ref().map(|change| change.probability)),
            of("rotate90", self.rotate90.as_ref().map(|change| change.probability)),
            of("affine", self.affine.as_ref().map(|change| change.probability)),
            of("noise", self.noise.as_ref().map(|change| change.probability)),
            of("gamma", self.gamma.as_ref().map(|change| change.probability)),
            of("intensity_scale", self.intensity_scale.as_ref().map(|change| change.probability)),
            of("intensity_shift", self.intensity_shift.as_ref().map(|change| change.probability)),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// Draws what the patch of this (seed, epoch, item) gets. Each kind of change has a stream of
    /// its own, so that adding one leaves the others as they were.
    pub fn draw(&self, patch_shape: [usize; 3], (seed, epoch, item): (u64, u64, u64)) -> Change {
        let stream = |purpose: &str, probability: f64| {
            let mut draw = Draw::new(seed, epoch, item, purpose);
            draw.chance(probability).then_some(draw)
        };
        let symmetric = |draw: &mut Draw, range: f64| draw.between(-range, range);
        let mut change = Change::default();
        if let Some(flip) = &self.flip {
            let mut draw = Draw::new(seed, epoch, item, "flip");
            let drawn: [bool; 3] = std::array::from_fn(|_| draw.chance(flip.probability));
            change.flips = std::array::from_fn(|axis| drawn[axis] && flip.axes.contains(&axis));
        }
        if let Some(turn) = &self.rotate90 {
            let square = patch_shape[turn.axes[0]] == patch_shape[turn.axes[1]];
            let turns = |mut draw: Draw| if square { draw.below(3) as u8 + 1 } else { 2 };
            change.turns =
                stream("rotate90", turn.probability).map(|draw| (turns(draw), turn.axes));
        }
        if let Some(affine) = &self.affine {
            change.affine = stream("affine", affine.probability).map(|mut draw| warp::Affinity {
                rotation: affine
                    .rotation_degrees
                    .map(|range| symmetric(&mut draw, range).to_radians()),
                translation: affine.translation_voxels.map(|range| symmetric(&mut draw, range)),
                scale: affine.scale.map(|range| 1.0 + symmetric(&mut draw, range)),
            });
        }
        if let Some(noise) = &self.noise {
            change.noise = stream("noise", noise.probability)
                .map(|mut draw| (draw.between(0.0, noise.std) as f32, draw));
        }
        if let Some(gamma) = &self.gamma {
            let [low, high] = gamma.range;
            change.gamma =
                stream("gamma", gamma.probability).map(|mut draw| draw.between(low, high) as f32);
        }
        if let Some(scale) = &self.intensity_scale {
            change.scale = stream("intensity_scale", scale.probability)
                .map(|mut draw| symmetric(&mut draw, scale.factor) as f32);
        }
        if let Some(shift) = &self.intensity_shift {
            change.shift = stream("intensity_shift", shift.probability)
                .map(|mut draw| symmetric(&mut draw, shift.offset) as f32);
        }
        change
    }
}

impl Change {
    /// Applies the change.
    pub fn apply(self, patch: &mut Patch) {
        warp::flip(patch, self.flips);
        if let Some((turns, axes)) = self.turns {
            warp::turn(patch, turns, axes);
        }
        if let Some(affine) = &self.affine {
            affine.apply(patch);
        }
        self.apply_to_values(&mut patch.image);
    }

    /// True if it moves voxels in other ways than by flips.
    pub(super) fn moves_more_than_flips(&self) -> bool {
        self.turns.is_some() || self.affine.is_some()
    }

    /// Applies what is left to do to a patch that is flipped already, into image and label.
    pub(super) fn apply_after_flips(
        self,
        mut patch: Patch,
        (image, label): (&mut [f32], &mut [u8]),
    ) {
        if let Some((turns, axes)) = self.turns {
            warp::turn(&mut patch, turns, axes);
        }
        match &self.affine {
            Some(affine) => affine.resample(&patch, (&mut *image, label)),
            None => {
                image.copy_from_slice(&patch.image);
                label.copy_from_slice(&patch.label);
            }
        }
        self.apply_to_values(image);
    }

    /// Applies what changes values and moves nothing, to the image of a patch.
    pub fn apply_to_values(mut self, image: &mut [f32]) {
        if let Some((std, draw)) = &mut self.noise {
            add_noise(image, *std, draw);
        }
        if let Some(power) = self.gamma {
            raise(image, power);
        }
        self.scale_and_shift(image);
    }

    /// True if what it does to a value hangs on that value alone: it is nothing but scaled and
    /// shifted.
    pub(super) fn is_of_single_values(&self) -> bool {
        self.noise.is_none() && self.gamma.is_none()
    }

    /// Scales and shifts some values of an image.
    pub(super) fn scale_and_shift(&self, values: &mut [f32]) {
        if let Some(scale) = self.scale {
            values.iter_mut().for_each(|value| *value *= 1.0 + scale);
        }
        if let Some(shift) = self.shift {
            values.iter_mut().for_each(|value| *value += shift);
        }
    }
}

/// Adds normal noise, two values from each 64 bits (Box–Muller in f32, by libm).
fn add_noise(values: &mut [f32], std: f32, draw: &mut Draw) {
    const UNIT: f32 = 1.0 / (1u32 << 24) as f32;
    for pair in values.chunks_mut(2) {
        let bits = draw.bits();
        let radius = libm::sqrtf(-2.0 * libm::logf(((bits >> 40) as f32 + 1.0) * UNIT));
        let (sine, cosine) =
            libm::sincosf(std::f32::consts::TAU * (((bits & 0xff_ffff) as f32) * UNIT));
        pair.iter_mut().zip([cosine, sine]).for_each(|(value, wave)| *value += std * radius * wave);
    }
}

/// MONAI's `AdjustContrast`: ((v − min) / (range + 1e-7))^power · range + min, over all channels.
fn raise(values: &mut [f32], power: f32) {
    let low = values.iter().copied().fold(f32::INFINITY, f32::min);
    let range = values.iter().copied().fold(f32::NEG_INFINITY, f32::max) - low;
    values.iter_mut().for_each(|value| {
        *value = libm::powf((*value - low) / (range + 1e-7), power) * range + low
    });
}

#[cfg(test)]
#[path = "augment_tests.rs"]
mod tests;
