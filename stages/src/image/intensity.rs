//! Intensity: from a scanner's numbers to what a network likes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Intensity scaling of one channel.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Intensity {
    /// Map these two values (Hounsfield units for CT) to 0 and 1, and clip.
    Window([f64; 2]),
    /// Subtract the mean and divide by the standard deviation, of all voxels or of the non-zero
    /// ones.
    Zscore(Zscore),
    /// Map these two percentiles (0 to 100) of the image to 0 and 1, and clip.
    Percentile([f64; 2]),
    /// Clip to two values, then subtract a mean and divide by a standard deviation: those of the
    /// labelled voxels of all training cases, as nnU-Net's `CTNormalization`.
    Ct(CtNormalization),
    /// Leave the values as they are.
    None,
}

/// Intensities of the labelled voxels of a dataset.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CtNormalization {
    /// The values (percentiles 0.5 and 99.5) to clip to.
    pub clip: [f64; 2],
    /// The mean.
    pub mean: f64,
    /// The standard deviation.
    pub std: f64,
}

/// Voxels included in a z-score.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Zscore {
    /// All voxels.
    All,
    /// Voxels that are not zero; zeros stay zero.
    Nonzero,
    /// Voxels of the non-zero region: not zero in some channel, or enclosed by such voxels. Those
    /// outside stay zero.
    NonzeroMask,
}

impl Intensity {
    /// Scales one channel in place; or a piece, if [`Intensity::is_of_single_values`].
    pub fn apply(&self, channel: &mut [f32]) {
        self.apply_within(channel, None);
    }

    /// The same with the non-zero region's mask; without a mask, every voxel counts.
    pub fn apply_within(&self, channel: &mut [f32], mask: Option<&[bool]>) {
        match *self {
            Intensity::Window([low, high]) => stretch(channel, low as f32, (high - low) as f32),
            Intensity::Zscore(Zscore::All) => zscore(channel, |_, _| true),
            Intensity::Zscore(Zscore::Nonzero) => zscore(channel, |_, value| value != 0.0),
            Intensity::Zscore(Zscore::NonzeroMask) => {
                zscore(channel, |voxel, _| mask.is_none_or(|mask| mask[voxel]));
            }
            Intensity::Ct(ct) => ct.apply(channel),
            Intensity::None => {}
            Intensity::Percentile([low, high]) => {
                let (low, high) = (percentile(channel, low), percentile(channel, high));
                stretch(channel, low as f32, (high - low) as f32);
            }
        }
    }

    /// True if scaling depends on a value alone, and on nothing else in the image.
    pub fn is_of_single_values(&self) -> bool {
        matches!(self, Intensity::Window(_) | Intensity::Ct(_) | Intensity::None)
    }

    /// Values above this, before scaling, are foreground: the lower end from window or clipping, or
    /// 0.
    pub fn foreground_above(&self) -> f32 {
        match self {
            Intensity::Window([low, _]) => *low as f32,
            Intensity::Ct(CtNormalization { clip: [low, _], .. }) => *low as f32,
            Intensity::Zscore(_) | Intensity::Percentile(_) | Intensity::None => 0.0,
        }
    }

    /// Mistakes that types cannot express: the trouble and the way out.
    pub fn check(&self) -> Option<String> {
        match *self {
            Intensity::Window([low, high])
                if !(low.is_finite() && high.is_finite() && low < high) =>
            {
                Some(format!(
                    "a window runs from a lower to a higher finite value, not from {low} to {high}"
                ))
            }
            Intensity::Percentile([low, high]) if !(0.0 <= low && low < high && high <= 100.0) => {
                Some(format!("percentiles rise within 0 to 100, not from {low} to {high}"))
            }
            Intensity::Ct(CtNormalization { clip: [low, high], mean, std })
                if !(low.is_finite()
                    && high.is_finite()
                    && low <= high
                    && mean.is_finite()
                    && std.is_finite()
                    && std >= 0.0) =>
            {
                Some(format!(
                    "'clip' runs from a lower to a higher finite value, 'mean' is finite and 'std' \
                     at least 0, not [{low}, {high}], {mean} and {std}"
                ))
            }
            _ => None,
        }
    }
}

impl CtNormalization {
    /// The smallest deviation that is divided by.
    const EPSILON: f32 = 1e-8;

    fn apply(&self, channel: &mut [f32]) {
        let [low, high] = self.clip.map(|end| end as f32);
        let (mean, std) = (self.mean as f32, (self.std as f32).max(CtNormalization::EPSILON));
        channel.iter_mut().for_each(|value| *value = (value.clamp(low, high) - mean) / std);
    }
}

/// (v − low) / width, clipped to 0…1 (MONAI's `ScaleIntensityRange`; without width it only shifts).
fn stretch(channel: &mut [f32], low: f32, width: f32) {
    if width == 0.0 {
        channel.iter_mut().for_each(|value| *value -= low);
    } else {
        channel.iter_mut().for_each(|value| *value = ((*value - low) / width).clamp(0.0, 1.0));
    }
}

/// Mean 0 and (population) standard deviation 1 of the voxels that count, by index and value; a
/// deviation of 0 counts as 1 (MONAI's `NormalizeIntensity`).
fn zscore(channel: &mut [f32], counts: impl Fn(usize, f32) -> bool) {
    let (mut n, mut sum) = (0u64, 0.0f64);
    let counted = |(voxel, value): &(usize, &f32)| counts(*voxel, **value);
    for (_, value) in channel.iter().enumerate().filter(counted) {
        n += 1;
        sum += f64::from(*value);
    }
    if n == 0 {
        return;
    }
    let mean = sum / n as f64;
    let squares: f64 = channel
        .iter()
        .enumerate()
        .filter(counted)
        .map(|(_, v)| (f64::from(*v) - mean).powi(2))
        .sum();
    let deviation = (squares / n as f64).sqrt() as f32;
    let (mean, deviation) = (mean as f32, if deviation == 0.0 { 1.0 } else { deviation });
    channel
        .iter_mut()
        .enumerate()
        .filter(|(voxel, value)| counts(*voxel, **value))
        .for_each(|(_, value)| *value = (*value - mean) / deviation);
}

/// The percentile `q` (0 to 100) with linear interpolation between order statistics.
fn percentile(channel: &[f32], q: f64) -> f64 {
    let mut values = channel.to_vec();
    let Some(last) = values.len().checked_sub(1) else { return 0.0 };
    let place = q / 100.0 * last as f64;
    let (_, low, above) = values.select_nth_unstable_by(place.floor() as usize, f32::total_cmp);
    let low = f64::from(*low);
    let high = above.iter().copied().min_by(f32::total_cmp).map_or(low, f64::from);
    low + (high - low) * place.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scaled(intensity: Intensity, values: &[f32]) -> Vec<f32> {
        let mut values = values.to_vec();
        intensity.apply(&mut values);
        values
    }

    #[test]
    fn a_window_maps_its_ends_to_0_and_1_and_clips() {
        let window = Intensity::Window([-57.0, 164.0]);
        assert_eq!(
            scaled(window, &[-1000.0, -57.0, 53.5, 164.0, 3000.0]),
            [0.0, 0.0, 0.5, 1.0, 1.0]
        );
        assert_eq!(window.foreground_above(), -57.0);
    }

    #[test]
    fn a_zscore_of_nonzero_voxels_leaves_zeros_alone() {
        assert_eq!(
            scaled(Intensity::Zscore(Zscore::Nonzero), &[0.0, 1.0, 3.0, 0.0]),
            [0.0, -1.0, 1.0, 0.0]
        );
        assert_eq!(scaled(Intensity::Zscore(Zscore::All), &[5.0, 5.0]), [0.0, 0.0]);
        assert_eq!(scaled(Intensity::Zscore(Zscore::Nonzero), &[0.0, 0.0]), [0.0, 0.0]);
    }

    #[test]
    fn a_zscore_within_a_mask_counts_the_zeros_inside_and_leaves_those_outside() {
        let mut values = [0.0, 0.0, 2.0, 4.0, 0.0];
        let mask = [false, true, true, true, false];
        let zscore = Intensity::Zscore(Zscore::NonzeroMask);
        zscore.apply_within(&mut values, Some(&mask));
        let end = 2.0 / (8.0f32 / 3.0).sqrt();
        assert_eq!(values, [0.0, -end, 0.0, end, 0.0]);
        assert_eq!(scaled(zscore, &[1.0, 3.0]), [-1.0, 1.0], "without a mask all count");
    }

    #[test]
    fn ct_is_clipped_to_the_foregrounds_percentiles_and_scaled_by_its_mean_and_deviation() {
        let ct = CtNormalization { clip: [-42.0, 176.0], mean: 93.0, std: 40.0 };
        let found = scaled(Intensity::Ct(ct), &[-1000.0, 93.0, 133.0, 3000.0]);
        assert_eq!(found, [-135.0 / 40.0, 0.0, 1.0, 83.0 / 40.0]);
        assert_eq!(Intensity::Ct(ct).foreground_above(), -42.0);
        assert!(Intensity::Ct(CtNormalization { std: -1.0, ..ct }).check().is_some());
        assert!(Intensity::Ct(ct).check().is_none());
        assert_eq!(scaled(Intensity::None, &[-7.0, 8.5]), [-7.0, 8.5]);
    }

    #[test]
    fn percentiles_interpolate_between_voxels() {
        let values: Vec<f32> = (0..5).map(|v| v as f32).collect();
        assert_eq!(percentile(&values, 10.0), 0.4);
        assert_eq!(percentile(&values, 100.0), 4.0);
        assert_eq!(scaled(Intensity::Percentile([0.0, 50.0]), &values), [0.0, 0.5, 1.0, 1.0, 1.0]);
    }

    #[test]
    fn windows_and_percentiles_must_rise() {
        assert!(Intensity::Window([1.0, 1.0]).check().is_some());
        assert!(Intensity::Percentile([5.0, 101.0]).check().is_some());
        assert!(Intensity::Percentile([0.5, 99.5]).check().is_none());
    }
}
