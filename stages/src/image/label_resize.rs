//! Resizing label maps: each label's mask is interpolated linearly, and the largest value wins, as
//! in `resize_segmentation` of batchgenerators 0.25.5.

use crate::image::axis_positions::{nearest, positions};
use rayon::prelude::*;

/// Both neighbours of each new voxel along an axis with their weights, and the nearest voxel.
struct AxisTaps(Vec<Tap>);

#[derive(Clone, Copy)]
struct Tap {
    low: usize,
    high: usize,
    weights: [f64; 2],
    nearest: usize,
}

impl AxisTaps {
    fn new(source: usize, target: usize, is_copied: bool) -> AxisTaps {
        let last = source - 1;
        AxisTaps(
            positions(source, target)
                .map(|position| {
                    let nearest = nearest(position, source);
                    if is_copied {
                        return Tap { low: nearest, high: nearest, weights: [1.0, 0.0], nearest };
                    }
                    let inside = position.clamp(0.0, last as f64);
                    let below = 1.0 - (inside - inside.floor());
                    let low = inside as usize;
                    let high = (low + 1).min(last);
                    // The second weight as the reference computes it: ties hang on the last bit.
                    Tap { low, high, weights: [below, 1.0 - below], nearest }
                })
                .collect(),
        )
    }
}

/// Resizes label maps with a fixed shape, x fastest.
pub struct LabelResizer {
    source: [usize; 3],
    axes: [AxisTaps; 3],
}

impl LabelResizer {
    /// With order 0, and along a `separate` axis, labels are those of the nearest voxel.
    pub fn new(
        source: [usize; 3],
        target: [usize; 3],
        separate: Option<usize>,
        order: u8,
    ) -> LabelResizer {
        let axes = std::array::from_fn(|axis| {
            let is_copied = order == 0 || separate == Some(axis);
            AxisTaps::new(source[axis], target[axis], is_copied)
        });
        LabelResizer { source, axes }
    }

    /// The resized map.
    pub fn resize(&self, labels: &[i16]) -> Vec<i16> {
        let [xs, ys, zs] = &self.axes;
        let slab = xs.0.len() * ys.0.len();
        let mut out = vec![0; slab * zs.0.len()];
        out.par_chunks_mut(slab.max(1)).zip(&zs.0).for_each(|(out, z)| {
            for (row, y) in out.chunks_exact_mut(xs.0.len().max(1)).zip(&ys.0) {
                self.row(labels, (z, y), row);
            }
        });
        out
    }

    fn row(&self, labels: &[i16], (z, y): (&Tap, &Tap), out: &mut [i16]) {
        let [width, height, _] = self.source;
        let line = |z: usize, y: usize| &labels[width * (y + height * z)..][..width];
        let lines =
            [line(z.low, y.low), line(z.low, y.high), line(z.high, y.low), line(z.high, y.high)];
        for (slot, x) in out.iter_mut().zip(&self.axes[0].0) {
            let around: [i16; 8] =
                std::array::from_fn(|at| lines[at / 2][if at % 2 == 0 { x.low } else { x.high }]);
            *slot = match around.iter().all(|label| *label == around[0]) {
                true => around[0],
                false => winner(around, [z, y, x], line(z.nearest, y.nearest)[x.nearest]),
            };
        }
    }
}

/// The sum of the weights of the neighbours with this label.
fn weight_of(label: i16, around: [i16; 8], weights: [f64; 8]) -> f64 {
    (0..8).filter(|at| around[*at] == label).fold(0.0, |sum, at| sum + weights[at])
}

/// The label with the largest value of the eight neighbours: of equal ones the nearest voxel's, or
/// else the smallest. `taps` are those of z, y and x; neighbours lie x fastest.
fn winner(around: [i16; 8], taps: [&Tap; 3], nearest: i16) -> i16 {
    let [z, y, x] = taps.map(|tap| tap.weights);
    let weights: [_; 8] = std::array::from_fn(|at| z[at >> 2] * y[at >> 1 & 1] * x[at & 1]);
    let mut best = (0.0, nearest);
    for label in around {
        let value = weight_of(label, around, weights);
        if value > best.0 || (value == best.0 && label < best.1) {
            best = (value, label);
        }
    }
    if weight_of(nearest, around, weights) == best.0 { nearest } else { best.1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(labels: &[i16], length: usize, order: u8) -> Vec<i16> {
        LabelResizer::new([labels.len(), 1, 1], [length, 1, 1], None, order).resize(labels)
    }

    #[test]
    fn no_label_comes_between_two_others() {
        assert_eq!(line(&[0, 0, 2, 2], 8, 1), [0, 0, 0, 0, 2, 2, 2, 2]);
        // Halved: every new voxel lies between two, and the upper one is the nearest.
        assert_eq!(line(&[0, 2, 2, 0], 2, 1), [2, 0]);
        assert_eq!(line(&[0, 2, 2, 0], 2, 0), [2, 0]);
        assert_eq!(line(&[-1, 0, 0, -1, 3], 5, 1), [-1, 0, 0, -1, 3]);
    }

    #[test]
    fn where_three_meet_the_largest_share_wins_and_not_the_nearest() {
        // The centre of 2×2×2 voxels: 1 and 2 have three each, 3 has two and is the nearest.
        let block = [3, 1, 1, 1, 2, 2, 2, 3];
        let resizer = LabelResizer::new([2; 3], [1; 3], None, 1);
        assert_eq!(resizer.resize(&block), [1]);
        let separate = LabelResizer::new([2; 3], [1, 1, 2], Some(2), 1);
        assert_eq!(separate.resize(&block), [1, 2], "a slice each");
    }
}
