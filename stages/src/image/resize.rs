//! Resizing: resampling to a grid with the same outer faces, as nnU-Net does with scikit-image's
//! `resize`. Shapes follow from spacings; along a far coarser axis slices are copied, not mixed.

use crate::error::Result;
use crate::image::affine::{apply, spacing_mm};
use crate::image::axis_positions::{nearest, positions};
use crate::image::grid_map::X_FASTEST;
use crate::image::label_resize::LabelResizer;
use crate::image::resample::Resampler;
use crate::image::spacing::{Grid, checked};
use crate::image::spline;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An axis is anisotropic if its voxels are larger than the others' by more than this factor.
pub const ANISOTROPY_THRESHOLD: f64 = 3.0;

/// Resampling as nnU-Net does: after the intensity is scaled, to a grid with the same outer faces.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Resampling {
    /// Order of the splines for images: 3 (cubic, cut to the channel's range), 1 (linear) or 0
    /// (nearest).
    #[serde(default = "cubic")]
    #[schemars(range(min = 0, max = 3))]
    pub image_order: u8,
    /// Order for labels: 1 (the mask of each label is interpolated, the largest value wins, the
    /// nearest voxel where two are equal) or 0 (nearest).
    #[serde(default = "linear")]
    #[schemars(range(min = 0, max = 1))]
    pub label_order: u8,
    /// Order for probabilities or logits on their way back to the image's own grid: 1 or 0.
    #[serde(default = "linear")]
    #[schemars(range(min = 0, max = 1))]
    pub probability_order: u8,
    /// An axis with voxels larger than the smallest side by more than this factor, on the old grid
    /// or else on the new, is resampled by copying the nearest slice, after the plane; null never.
    #[serde(default = "anisotropy_threshold")]
    pub anisotropy_threshold: Option<f64>,
}

fn cubic() -> u8 {
    3
}

fn linear() -> u8 {
    1
}

fn anisotropy_threshold() -> Option<f64> {
    Some(ANISOTROPY_THRESHOLD)
}

impl Default for Resampling {
    fn default() -> Resampling {
        Resampling {
            image_order: cubic(),
            label_order: linear(),
            probability_order: linear(),
            anisotropy_threshold: anisotropy_threshold(),
        }
    }
}

impl Resampling {
    /// Mistakes that types cannot express: the field, the trouble and the way out.
    pub fn check(&self) -> Vec<(String, String)> {
        let mut mistakes = vec![];
        let mut wrong = |field: &str, trouble: &str| mistakes.push((field.into(), trouble.into()));
        if !matches!(self.image_order, 0 | 1 | 3) {
            wrong("image_order", "splines have order 0, 1 or 3");
        }
        for (field, order) in
            [("label_order", self.label_order), ("probability_order", self.probability_order)]
        {
            if order > 1 {
                wrong(field, "must be 0 (nearest) or 1 (linear)");
            }
        }
        if self.anisotropy_threshold.is_some_and(|factor| factor < 1.0 || factor.is_nan()) {
            wrong("anisotropy_threshold", "is a factor of at least 1, or null for never");
        }
        mistakes
    }

    /// The axis whose slices are copied: the only coarsest of an anisotropic grid, the old one
    /// first.
    pub fn separate_axis(&self, old_mm: [f64; 3], new_mm: [f64; 3]) -> Option<usize> {
        let threshold = self.anisotropy_threshold?;
        let grid =
            [old_mm, new_mm].into_iter().find(|mm| largest(mm) / smallest(mm) > threshold)?;
        let coarsest = largest(&grid);
        let mut axes = (0..3).filter(|axis| coarsest / grid[*axis] == 1.0);
        axes.next().filter(|_| axes.next().is_none())
    }
}

fn largest(mm: &[f64; 3]) -> f64 {
    mm.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}

fn smallest(mm: &[f64; 3]) -> f64 {
    mm.iter().copied().fold(f64::INFINITY, f64::min)
}

/// The shape that keeps the size in mm, rounded half to even.
pub fn new_shape(shape: [usize; 3], old_mm: [f64; 3], new_mm: [f64; 3]) -> [usize; 3] {
    new_sides(shape, old_mm, new_mm).map(|side| side as usize)
}

fn new_sides(shape: [usize; 3], old_mm: [f64; 3], new_mm: [f64; 3]) -> [f64; 3] {
    std::array::from_fn(|axis| (old_mm[axis] / new_mm[axis] * shape[axis] as f64).round_ties_even())
}

/// The grid with this spacing and the outer faces of `grid`; each axis keeps at least a voxel.
pub fn grid_with_spacing(grid: &Grid, spacing: [f64; 3]) -> Result<Grid> {
    let shape = checked(new_sides(grid.shape, spacing_mm(&grid.affine), spacing))?;
    let shape = shape.map(|side| side.max(1));
    let scale: [f64; 3] = std::array::from_fn(|axis| grid.shape[axis] as f64 / shape[axis] as f64);
    let mut affine = grid.affine;
    let origin = apply(&grid.affine, scale.map(|scale| 0.5 * scale - 0.5));
    for (row, origin) in origin.into_iter().enumerate() {
        (0..3).for_each(|axis| affine[row][axis] *= scale[axis]);
        affine[row][3] = origin;
    }
    Ok(Grid { shape, affine })
}

/// Resizes volumes between two grids, x fastest.
#[derive(Clone, Debug)]
pub struct Resizer {
    source: [usize; 3],
    target: Grid,
    separate: Option<usize>,
}

impl Resizer {
    /// From a grid of shape `source` to another with the same outer faces, with an axis whose
    /// slices are copied.
    pub fn new(source: [usize; 3], target: Grid, separate: Option<usize>) -> Resizer {
        Resizer { source, target, separate }
    }

    /// True if shapes are equal: nothing changes.
    pub fn is_same(&self) -> bool {
        self.source == self.target.shape
    }

    /// Linear interpolation or, with order 0, nearest voxels.
    pub fn resampler(&self, order: u8) -> Resampler {
        let positions = std::array::from_fn(|axis| {
            let length = self.source[axis];
            let is_copied = order == 0 || self.separate == Some(axis);
            positions(length, self.target.shape[axis])
                .map(|position| match is_copied {
                    true => nearest(position, length) as f64,
                    false => position.clamp(0.0, (length - 1) as f64),
                })
                .collect()
        });
        Resampler::of_positions(self.source, self.target, positions)
    }

    /// An image's channel.
    pub fn image(&self, channel: Vec<f32>, order: u8) -> Vec<f32> {
        if self.is_same() {
            return channel;
        }
        if order == 3 {
            return spline::resize(channel, self.source, self.target.shape, self.separate);
        }
        self.resampler(order).linear(&channel, X_FASTEST)
    }

    /// A label map; negative labels are labels like others.
    pub fn label(&self, label: Vec<i16>, order: u8) -> Vec<i16> {
        if self.is_same() {
            return label;
        }
        LabelResizer::new(self.source, self.target.shape, self.separate, order).resize(&label)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_is_separate_if_it_alone_is_far_coarser() {
        let rule = Resampling::default();
        assert_eq!(rule.separate_axis([0.8, 0.8, 5.0], [1.0, 1.0, 2.0]), Some(2));
        assert_eq!(rule.separate_axis([1.0, 1.0, 3.0], [1.0, 1.0, 3.0]), None, "not above 3");
        assert_eq!(rule.separate_axis([1.0, 1.0, 1.0], [4.0, 1.0, 1.0]), Some(0), "the new grid");
        assert_eq!(rule.separate_axis([0.2, 1.25, 1.25], [1.0, 5.0, 1.0]), None, "two are coarse");
        let never = Resampling { anisotropy_threshold: None, ..rule };
        assert_eq!(never.separate_axis([0.8, 0.8, 5.0], [1.0; 3]), None);
    }

    #[test]
    fn a_resized_grid_keeps_its_outer_faces() {
        let affine = [
            [0.0, -2.0, 0.0, 5.0],
            [1.5, 0.0, 0.0, -3.0],
            [0.0, 0.0, 4.0, 1.0],
            [0.0, 0.0, 0.0, 1.0],
        ];
        let grid = Grid { shape: [10, 7, 5], affine };
        let small = grid_with_spacing(&grid, [3.1, 2.0, 1.9]).unwrap();
        assert_eq!(small.shape, [5, 7, 11]);
        for corner in [[0.0; 3], [1.0; 3], [1.0, 0.0, 1.0]] {
            let face = |grid: &Grid| {
                apply(
                    &grid.affine,
                    std::array::from_fn(|axis| corner[axis] * grid.shape[axis] as f64 - 0.5),
                )
            };
            let (there, here) = (face(&grid), face(&small));
            assert!((0..3).all(|axis| (there[axis] - here[axis]).abs() < 1e-12), "{there:?}");
        }
    }

    #[test]
    fn shapes_are_rounded_half_to_even() {
        assert_eq!(new_shape([5, 7, 100], [1.0; 3], [2.0, 2.0, 0.001]), [2, 4, 100_000]);
    }
}
