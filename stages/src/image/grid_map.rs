//! Positions of a grid's voxels on another grid.
//!
//! Computed in float64 like PyTorch's `affine_grid` and `grid_sample` (normalised coordinates,
//! `align_corners=False`), since ties between nearest labels hang on their last bit.

use crate::error::{Error, Result};
use crate::image::affine::{Affine, IDENTITY, close, invert, multiply, solve};
use crate::image::spacing::{Grid, TOLERANCE};

/// The axes' order in memory, fastest first.
pub type StorageOrder = [usize; 3];
/// As NIfTI files and [`crate::image::Volume`] lie.
pub const X_FASTEST: StorageOrder = [0, 1, 2];
/// As tensors (X, Y, Z) lie.
pub const Z_FASTEST: StorageOrder = [2, 1, 0];

/// Off-diagonals that move nothing by more than this many voxels are taken for rounding.
const PARALLEL: f64 = 1e-6;
/// A target grid's voxels, each with its position on a source grid.
#[derive(Clone, Debug)]
pub(super) struct GridMap {
    /// The shape of the source's data: the whole grid, or the kept box.
    pub(super) source: [usize; 3],
    /// The box's first voxel on the source's grid.
    pub(super) start: [usize; 3],
    /// The axes along which the source's data run backwards.
    pub(super) backwards: [bool; 3],
    pub(super) target: [usize; 3],
    /// The target's affine by the reference's bookkeeping: the source's affine times the map.
    affine: Affine,
    pub(super) map: GridMapping,
}

/// Positions of target voxels on the source's grid.
#[derive(Clone, Debug)]
pub(super) enum GridMapping {
    /// Both grids are the same.
    Same,
    /// Each axis by itself: positions on the source's axis.
    Parallel([Vec<f64>; 3]),
    /// Any direction: the map of normalised coordinates.
    Oblique(Oblique),
}

/// A map between normalised coordinates.
#[derive(Clone, Debug)]
pub(super) struct Oblique {
    theta: [[f64; 4]; 3],
    /// The source's whole grid.
    shape: [usize; 3],
    /// The normalised coordinate of each target voxel, per axis.
    base: [Vec<f64>; 3],
}

impl GridMap {
    /// From grid `from` to grid `to`. Grids of equal shape whose affines agree to 1e-3 are the
    /// same.
    pub fn new(from: &Grid, to: &Grid) -> Result<GridMap> {
        let xform = solve(&from.affine, &to.affine).ok_or_else(singular)?;
        let agree =
            close(&from.affine, &to.affine, TOLERANCE) || close(&xform, &IDENTITY, TOLERANCE);
        let same = from.shape == to.shape && agree;
        let affine = if same { from.affine } else { multiply(&from.affine, &xform) };
        let map = if same {
            GridMapping::Same
        } else {
            let theta = normalised(&xform, from.shape, to.shape).ok_or_else(singular)?;
            let base = to.shape.map(base_coordinates);
            let slanted = (0..3).any(|row| {
                (0..3).filter(|&column| column != row).any(|column| {
                    (theta[row][column] * from.shape[row] as f64 / 2.0).abs() > PARALLEL
                })
            });
            if slanted {
                GridMapping::Oblique(Oblique { theta, shape: from.shape, base })
            } else {
                GridMapping::Parallel(std::array::from_fn(|axis| {
                    let [scale, shift] = [theta[axis][axis], theta[axis][3]];
                    base[axis]
                        .iter()
                        .map(|b| clipped(b * scale + shift, from.shape[axis]))
                        .collect()
                }))
            }
        };
        Ok(GridMap {
            source: from.shape,
            start: [0; 3],
            backwards: [false; 3],
            target: to.shape,
            affine,
            map,
        })
    }

    /// To grid `to`, whose voxels lie at these positions of each source axis, within its ends.
    pub fn of_positions(source: [usize; 3], to: Grid, positions: [Vec<f64>; 3]) -> GridMap {
        let map = match source == to.shape {
            true => GridMapping::Same,
            false => GridMapping::Parallel(positions),
        };
        let (start, backwards) = ([0; 3], [false; 3]);
        GridMap { source, start, backwards, target: to.shape, affine: to.affine, map }
    }

    /// The same with only the source's box from `start` to `end` (exclusive) kept, and 0 all
    /// around.
    pub fn of_box(self, start: [usize; 3], end: [usize; 3]) -> GridMap {
        GridMap { source: std::array::from_fn(|axis| end[axis] - start[axis]), start, ..self }
    }

    /// The same with source data running backwards along the set axes: a file is read as if it were
    /// already turned.
    pub fn of_backwards(self, backwards: [bool; 3]) -> GridMap {
        GridMap { backwards, ..self }
    }

    /// True if source and target are the same voxels.
    pub fn is_same(&self) -> bool {
        matches!(self.map, GridMapping::Same) && self.source == self.target
    }

    /// The results' grid: the source's own if both are the same.
    pub fn target(&self) -> Grid {
        Grid { shape: self.target, affine: self.affine }
    }

    /// Voxels of the source's data.
    pub fn source_voxels(&self) -> usize {
        self.source.iter().product()
    }

    /// Voxels in one target slab: all axes but the slowest.
    pub(super) fn slab(&self, order: StorageOrder) -> usize {
        self.target[order[0]] * self.target[order[1]]
    }

    /// Every target voxel's position along an axis, for parallel grids.
    pub(super) fn positions(&self, axis: usize) -> Vec<f64> {
        match &self.map {
            GridMapping::Parallel(positions) => positions[axis].clone(),
            _ => (0..self.target[axis]).map(|index| index as f64).collect(),
        }
    }
}

impl Oblique {
    /// The clipped position on the source's grid of a target voxel.
    pub(super) fn position(&self, voxel: [usize; 3]) -> [f64; 3] {
        let [x, y, z] = std::array::from_fn(|axis| self.base[axis][voxel[axis]]);
        std::array::from_fn(|axis| {
            let row = &self.theta[axis];
            clipped(z * row[2] + y * row[1] + x * row[0] + row[3], self.shape[axis])
        })
    }
}

/// A normalised coordinate as a position on an axis of `length` voxels, moved to its border if
/// outside.
fn clipped(coordinate: f64, length: usize) -> f64 {
    let length = length as f64;
    (((coordinate + 1.0) * length - 1.0) / 2.0).max(0.0).min(length - 1.0)
}

/// `xform` (target voxel to source voxel) between normalised coordinates, where an axis runs from
/// −1 to 1 over the outer faces of its voxels.
fn normalised(
    xform: &[[f64; 4]; 4],
    source: [usize; 3],
    target: [usize; 3],
) -> Option<[[f64; 4]; 3]> {
    let theta = multiply(&multiply(&normal(source), xform), &invert(&normal(target))?);
    Some([theta[0], theta[1], theta[2]])
}

/// From voxels to normalised coordinates.
fn normal(shape: [usize; 3]) -> Affine {
    let mut matrix = IDENTITY;
    for axis in 0..3 {
        matrix[axis][axis] = 2.0 / shape[axis] as f64;
        matrix[axis][3] = 1.0 / shape[axis] as f64 - 1.0;
    }
    matrix
}

fn singular() -> Error {
    Error::failed("a grid's axes do not span space; correct the header")
}

/// The centres of `length` voxels between −1 and 1: as torch does, a line from −1 to 1 built from
/// both ends with fused multiply-adds, then shrunk.
fn base_coordinates(length: usize) -> Vec<f64> {
    if length == 1 {
        return vec![0.0];
    }
    let (n, step) = (length as f64, 2.0 / (length as f64 - 1.0));
    let line = (0..length).map(|index| {
        if index < length / 2 {
            step.mul_add(index as f64, -1.0)
        } else {
            (-step).mul_add((length - index - 1) as f64, 1.0)
        }
    });
    line.map(|place| place * (n - 1.0) / n).collect()
}
