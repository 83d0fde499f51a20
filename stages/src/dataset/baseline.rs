//! The trivial answers that a network must beat: the best threshold after smoothing with its
//! largest component, and the mean training label. Both are chosen to be as good as they can be on
//! the cases they are shown. Whoever prints them decides which cases those are.

use crate::image::Volume;
use crate::metric::components::{Components, Connectivity};
use rayon::prelude::*;

/// An image and its label on one grid, both in the same orientation for all cases.
pub type Pair<'a> = (&'a Volume<f32>, &'a Volume<u8>);

/// Values from `low` to `high` of the smoothed image (first channel), reduced to the largest
/// component.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Band {
    /// The least value taken.
    pub low: f32,
    /// The greatest value taken.
    pub high: f32,
}

/// The band with the greatest mean Dice over the cases, among 65 about the label's own values.
pub fn best_threshold(cases: &[Pair], value: u8) -> Band {
    let smoothed: Vec<Vec<f32>> = cases.par_iter().map(|(image, _)| smooth(image)).collect();
    let levels = levels(cases, &smoothed, value);
    let mut bands = vec![];
    for (index, low) in levels.iter().enumerate() {
        let highs = levels[index + 1..].iter().chain([&f32::INFINITY]);
        bands.extend(highs.map(|high| Band { low: *low, high: *high }));
    }
    let scores: Vec<f64> = bands
        .par_iter()
        .map(|band| {
            let masks = cases.iter().zip(&smoothed).map(|((image, label), smoothed)| {
                dice(
                    &largest(smoothed.iter().map(|v| band.has(*v)).collect(), image.shape),
                    label,
                    value,
                )
            });
            masks.sum::<f64>()
        })
        .collect();
    let best =
        scores.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |(index, _)| index);
    bands.get(best).copied().unwrap_or(Band { low: f32::INFINITY, high: f32::INFINITY })
}

impl Band {
    /// The mask of an image.
    pub fn apply(&self, image: &Volume<f32>) -> Vec<bool> {
        largest(smooth(image).iter().map(|value| self.has(*value)).collect(), image.shape)
    }

    fn has(&self, value: f32) -> bool {
        value >= self.low && value <= self.high
    }
}

/// Eleven quantiles of the smoothed values inside the label.
fn levels(cases: &[Pair], smoothed: &[Vec<f32>], value: u8) -> Vec<f32> {
    let mut values: Vec<f32> = cases
        .iter()
        .zip(smoothed)
        .flat_map(|((_, label), smoothed)| -> Vec<f32> {
            let voxels = smoothed.iter().zip(&label.data).filter(|(_, label)| **label == value);
            voxels.map(|(smoothed, _)| *smoothed).collect()
        })
        .collect();
    values.sort_by(f32::total_cmp);
    let parts = [0.0, 0.02, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 1.0];
    let last = values.len().saturating_sub(1) as f64;
    parts.iter().filter_map(|part| values.get((part * last) as usize).copied()).collect()
}

/// The first channel, smoothed by 1-4-6-4-1 along each axis (standard deviation: one voxel).
fn smooth(image: &Volume<f32>) -> Vec<f32> {
    let [nx, ny, nz] = image.shape;
    let mut data = image.data[..nx * ny * nz].to_vec();
    for (size, stride) in [(nx, 1), (ny, nx), (nz, nx * ny)] {
        data = (0..data.len())
            .map(|at| {
                let place = at / stride % size;
                let near = |step: isize| {
                    let moved = place.saturating_add_signed(step).min(size - 1);
                    data[at - place * stride + moved * stride]
                };
                (near(-2) + near(2) + 4.0 * (near(-1) + near(1)) + 6.0 * near(0)) / 16.0
            })
            .collect();
    }
    data
}

fn largest(mask: Vec<bool>, shape: [usize; 3]) -> Vec<bool> {
    let components = Components::of(&mask, shape, Connectivity::TwentySix);
    match components.largest() {
        Some(largest) => components.numbers.iter().map(|number| *number == largest).collect(),
        None => mask,
    }
}

/// Mean label over cases, grids aligned at their centres.
#[derive(Clone, Debug, PartialEq)]
pub struct MeanLabel {
    shape: [usize; 3],
    mask: Vec<bool>,
}

/// The mean of the labels, cut at the level with the greatest mean Dice over them. All should have
/// the same voxel size.
pub fn mean_label(labels: &[&Volume<u8>], value: u8) -> MeanLabel {
    let shape =
        std::array::from_fn(|axis| labels.iter().map(|label| label.shape[axis]).max().unwrap_or(1));
    let mut counts = vec![0u32; shape.iter().product()];
    for label in labels {
        for (at, count) in counts.iter_mut().enumerate() {
            *count += u32::from(
                centred(at, shape, label.shape).is_some_and(|at| label.data[at] == value),
            );
        }
    }
    let levels = 1..=labels.len().max(1) as u32;
    let scored = levels.map(|least| {
        let mean = cut_at(least, shape, &counts);
        let scores = labels.iter().map(|label| dice(&mean.apply(label.shape), label, value));
        (scores.sum::<f64>(), mean)
    });
    let best = scored.max_by(|a, b| a.0.total_cmp(&b.0));
    best.map_or_else(|| cut_at(1, shape, &counts), |(_, mean)| mean)
}

/// The voxels set in at least so many labels.
fn cut_at(least: u32, shape: [usize; 3], counts: &[u32]) -> MeanLabel {
    MeanLabel { shape, mask: counts.iter().map(|count| *count >= least).collect() }
}

impl MeanLabel {
    /// The mask on a grid with this shape.
    pub fn apply(&self, shape: [usize; 3]) -> Vec<bool> {
        (0..shape.iter().product())
            .map(|at| centred(at, shape, self.shape).is_some_and(|at| self.mask[at]))
            .collect()
    }
}

/// Maps voxel `at` on grid `from` to grid `to`, both centres laid on each other.
fn centred(at: usize, from: [usize; 3], to: [usize; 3]) -> Option<usize> {
    let place = [at % from[0], at / from[0] % from[1], at / (from[0] * from[1])];
    let mut moved = [0; 3];
    for axis in 0..3 {
        moved[axis] = (place[axis] + to[axis] / 2)
            .checked_sub(from[axis] / 2)
            .filter(|index| *index < to[axis])?;
    }
    Some(moved[0] + to[0] * (moved[1] + to[1] * moved[2]))
}

/// Dice between a mask and a label value; 1 if both are empty.
pub fn dice(mask: &[bool], label: &Volume<u8>, value: u8) -> f64 {
    let mut counts = [0u64; 3];
    for (predicted, label) in mask.iter().zip(&label.data) {
        let real = *label == value;
        counts[0] += u64::from(*predicted);
        counts[1] += u64::from(real);
        counts[2] += u64::from(*predicted && real);
    }
    crate::metric::dice::dice(counts[0], counts[1], counts[2]).unwrap_or(1.0)
}
