//! The operations behind drawn transforms, and a patch in memory offering them. A patch on a device
//! is in `voxflow-net`.

use crate::image::channel_filter;
use crate::image::patch::Patch;
use crate::image::prepared::OUTSIDE;
use crate::image::rotoscale::Rotoscale;
use crate::image::warp::{self, Affinity};
use crate::random::Draw;

/// A patch under change: an image (one or more channels) with its label. Only spatial operations
/// change the label.
pub trait Canvas {
    /// Mirrors image and label along axes.
    fn mirror(&mut self, axes: [bool; 3]);

    /// Turns image and label by `quarters` in the plane of `axes`, in `torch.rot90`'s direction.
    fn turn(&mut self, quarters: u8, axes: [usize; 2]);

    /// Resamples: trilinear for the image, nearest for the label, border values outside.
    fn resample(&mut self, affinity: &Affinity);

    /// Adds normal noise.
    fn add_noise(&mut self, std: f32, draw: &mut Draw);

    /// MONAI's `AdjustContrast`: ((v − min) / (range + 1e-7))^power · range + min, over all
    /// channels.
    fn raise(&mut self, power: f32);

    /// Multiplies all values.
    fn multiply(&mut self, factor: f32);

    /// Adds to all values.
    fn add(&mut self, offset: f32);

    /// The number of channels.
    fn channels(&self) -> usize;

    /// Rotates and scales about the centre: trilinear for the image, 0 outside; for the label the
    /// value with the largest share.
    fn rotoscale(&mut self, rotoscale: &Rotoscale);

    /// Multiplies a channel.
    fn multiply_channel(&mut self, channel: usize, factor: f32);

    /// Stretches a channel about its mean, clipped to its range before.
    fn stretch(&mut self, channel: usize, factor: f32);

    /// Blurs a channel by a Gaussian with these standard deviations in voxels.
    fn blur(&mut self, channel: usize, sigmas: [f64; 3]);

    /// Resamples a channel to `sides` by nearest neighbour, and back by trilinear interpolation.
    fn coarsen(&mut self, channel: usize, sides: [usize; 3]);

    /// Raises a channel, or its negative, scaled to 0…1 by its range, to a power; mean and standard
    /// deviation stay.
    fn raise_channel(&mut self, channel: usize, power: f32, inverted: bool);

    /// Sets a channel to 0 where the label is [`OUTSIDE`].
    fn zero_outside(&mut self, channel: usize);

    /// Makes [`OUTSIDE`] background.
    fn forget_outside(&mut self);
}

/// A patch in memory, z fastest and channels slowest.
pub struct MemoryCanvas<'a> {
    /// X, Y, Z.
    pub shape: [usize; 3],
    /// Channels × X·Y·Z values.
    pub image: &'a mut [f32],
    /// X·Y·Z values.
    pub label: &'a mut [u8],
    /// The label beyond the patch: 0, or [`OUTSIDE`] where the label is marked.
    pub beyond: u8,
}

impl Canvas for MemoryCanvas<'_> {
    fn mirror(&mut self, axes: [bool; 3]) {
        if axes.contains(&true) {
            self.rearrange([0, 1, 2], axes);
        }
    }

    fn turn(&mut self, quarters: u8, [a, b]: [usize; 2]) {
        let (mut axes, mut flips) = ([0, 1, 2], [false; 3]);
        if quarters % 2 == 1 {
            axes.swap(a, b);
        }
        flips[a] = matches!(quarters % 4, 1 | 2);
        flips[b] = matches!(quarters % 4, 2 | 3);
        if !quarters.is_multiple_of(4) {
            self.rearrange(axes, flips);
        }
    }

    fn resample(&mut self, affinity: &Affinity) {
        let (image, label) = (self.image.to_vec(), self.label.to_vec());
        affinity.resample(self.shape, (&image, &label), (self.image, self.label));
    }

    fn add_noise(&mut self, std: f32, draw: &mut Draw) {
        add_noise(self.image, std, draw);
    }

    fn raise(&mut self, power: f32) {
        let low = self.image.iter().copied().fold(f32::INFINITY, f32::min);
        let range = self.image.iter().copied().fold(f32::NEG_INFINITY, f32::max) - low;
        self.image.iter_mut().for_each(|value| {
            *value = libm::powf((*value - low) / (range + 1e-7), power) * range + low
        });
    }

    fn multiply(&mut self, factor: f32) {
        self.image.iter_mut().for_each(|value| *value *= factor);
    }

    fn add(&mut self, offset: f32) {
        self.image.iter_mut().for_each(|value| *value += offset);
    }

    fn channels(&self) -> usize {
        self.image.len() / self.shape.iter().product::<usize>()
    }

    fn rotoscale(&mut self, rotoscale: &Rotoscale) {
        let (image, label) = (self.image.to_vec(), self.label.to_vec());
        let target = (&mut *self.image, &mut *self.label, self.shape);
        rotoscale.resample((&image, &label, self.shape), target, self.beyond);
    }

    fn multiply_channel(&mut self, channel: usize, factor: f32) {
        self.channel(channel).iter_mut().for_each(|value| *value *= factor);
    }

    fn stretch(&mut self, channel: usize, factor: f32) {
        channel_filter::stretch(self.channel(channel), factor);
    }

    fn blur(&mut self, channel: usize, sigmas: [f64; 3]) {
        let shape = self.shape;
        channel_filter::blur(self.channel(channel), shape, sigmas);
    }

    fn coarsen(&mut self, channel: usize, sides: [usize; 3]) {
        let shape = self.shape;
        channel_filter::coarsen(self.channel(channel), shape, sides);
    }

    fn raise_channel(&mut self, channel: usize, power: f32, inverted: bool) {
        channel_filter::raise_retaining_stats(self.channel(channel), power, inverted);
    }

    fn zero_outside(&mut self, channel: usize) {
        let voxels = self.label.len();
        let values = &mut self.image[channel * voxels..(channel + 1) * voxels];
        let outside = values.iter_mut().zip(&*self.label).filter(|(_, label)| **label == OUTSIDE);
        outside.for_each(|(value, _)| *value = 0.0);
    }

    fn forget_outside(&mut self) {
        self.label.iter_mut().filter(|label| **label == OUTSIDE).for_each(|label| *label = 0);
    }
}

impl MemoryCanvas<'_> {
    fn channel(&mut self, channel: usize) -> &mut [f32] {
        let voxels: usize = self.shape.iter().product();
        &mut self.image[channel * voxels..(channel + 1) * voxels]
    }

    /// The result's axis d is the patch's axis `axes[d]`, reversed if `flips[d]`.
    fn rearrange(&mut self, axes: [usize; 3], flips: [bool; 3]) {
        let from = self.shape;
        let voxels: usize = from.iter().product();
        let (image, label) = (self.image.to_vec(), self.label.to_vec());
        for (source, target) in image.chunks_exact(voxels).zip(self.image.chunks_exact_mut(voxels))
        {
            warp::rearrange(source, from, axes, flips, target);
        }
        warp::rearrange(&label, from, axes, flips, self.label);
        self.shape = axes.map(|axis| from[axis]);
    }
}

impl Patch {
    /// Changes the patch by operations of its canvas.
    pub fn change(&mut self, change: impl FnOnce(&mut MemoryCanvas)) {
        let (image, label) = (&mut self.image[..], &mut self.label[..]);
        let mut canvas = MemoryCanvas { shape: self.shape, image, label, beyond: 0 };
        change(&mut canvas);
        self.shape = canvas.shape;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn patch() -> Patch {
        let image = (0..2 * 512).map(|i| (i % 37) as f32 / 37.0).collect();
        let label = (0..512).map(|i| (i % 3) as u8).collect();
        Patch { channels: 2, shape: [8, 8, 8], image, label }
    }

    #[test]
    fn noise_has_the_drawn_standard_deviation_and_mean_zero() {
        let mut values = vec![0f32; 100_001];
        add_noise(&mut values, 0.25, &mut Draw::new(4, 0, 0, "noise"));
        let moment = |power| {
            values.iter().map(|value| f64::from(*value).powi(power)).sum::<f64>() / 100_001.0
        };
        let (mean, variance, fourth) = (moment(1), moment(2), moment(4));
        assert!(
            mean.abs() < 0.0026 && (variance / 0.0625 - 1.0).abs() < 0.015,
            "{mean} {variance}"
        );
        assert!(
            (fourth / (3.0 * 0.0625 * 0.0625) - 1.0).abs() < 0.04,
            "the fourth moment of a normal distribution"
        );
    }

    #[test]
    fn four_quarter_turns_and_two_mirrorings_are_nothing() {
        let mut changed = patch();
        changed.change(|canvas| {
            (0..4).for_each(|_| canvas.turn(1, [0, 2]));
            (0..2).for_each(|_| canvas.mirror([true, false, true]));
        });
        assert_eq!(changed, patch());
    }

    #[test]
    fn an_affine_change_of_a_common_patch_takes_a_few_milliseconds() {
        let shape = [48, 64, 48];
        let (image, label) = (vec![0.5; 147_456], vec![1; 147_456]);
        let mut large = Patch { channels: 1, shape, image, label };
        let affinity = Affinity {
            rotation: [0.2, 0.1, 0.3],
            translation: [1.0, 0.0, 2.0],
            scale: [1.1, 0.9, 1.0],
        };
        let begun = std::time::Instant::now();
        (0..5).for_each(|_| large.change(|canvas| canvas.resample(&affinity)));
        let each = begun.elapsed() / 5;
        assert!(
            each < std::time::Duration::from_millis(60),
            "{each:?} each: 3 to 6 ms where nothing else runs"
        );
    }
}
