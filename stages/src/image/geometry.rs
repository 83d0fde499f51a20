//! Where a prepared volume came from, so that a result can be brought back to the image's own grid.

use serde::{Deserialize, Serialize};

/// A 4×4 matrix by rows: voxel index (i, j, k, 1) to millimetres (x, y, z, 1), RAS+.
pub type Affine = [[f64; 4]; 4];

/// The steps of preparation, with what undoing them needs. `<case>/geometry.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Geometry {
    /// The file's own grid: X, Y, Z.
    pub original_shape: [usize; 3],
    /// The file's own affine (after the header's corrections).
    pub original_affine: Affine,
    /// For each RAS axis, the axis of the file it comes from.
    pub axes: [usize; 3],
    /// For each RAS axis, whether the file's axis is flipped.
    pub flips: [bool; 3],
    /// The grid after orientation.
    pub oriented_shape: [usize; 3],
    /// Its affine.
    pub oriented_affine: Affine,
    /// The grid after resampling.
    pub resampled_shape: [usize; 3],
    /// Its affine.
    pub resampled_affine: Affine,
    /// The foreground box on the resampled grid: first voxel of each axis.
    pub crop_start: [usize; 3],
    /// The foreground box on the resampled grid: one past the last voxel of each axis.
    pub crop_end: [usize; 3],
}
