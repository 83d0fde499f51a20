//! Spacing: the grid for a volume at another voxel size, as chosen by MONAI's `Spacing`.

use crate::error::{Error, Result};
use crate::image::Affine;
use crate::image::affine::{
    IDENTITY, Matrix3, apply, axes, corners, invert, multiply, solve, spacing_mm, upper_factor,
};

/// Voxel sizes this close (mm) are left as they are; so are affines (MONAI's AFFINE_TOL).
pub(super) const TOLERANCE: f64 = 1e-3;
/// The most voxels of a resampled volume.
const MOST_VOXELS: f64 = 2_147_483_648.0;

/// A shape and its affine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grid {
    /// X, Y, Z.
    pub shape: [usize; 3],
    /// Voxel index to millimetres in RAS+ world space.
    pub affine: Affine,
}

impl Grid {
    /// This grid with voxels of `spacing_mm`: axes orthogonal but in the same directions; as many
    /// voxels as fit between the outermost centres, rounded half to even; beginning at the corner
    /// smallest along all new axes, or with centres aligned if no corner is.
    pub fn with_spacing(&self, spacing: [f64; 3]) -> Result<Grid> {
        let own = spacing_mm(&self.affine);
        let size: [f64; 3] = std::array::from_fn(|axis| {
            let close =
                (spacing[axis] - TOLERANCE..=spacing[axis] + TOLERANCE).contains(&own[axis]);
            if close { own[axis] } else { spacing[axis] }
        });
        let mut affine = zoomed(&self.affine, size).ok_or_else(singular)?;
        let ours = solve(&affine, &self.affine).ok_or_else(singular)?;
        let there = corners(self.shape).map(|corner| apply(&ours, corner));
        let shape = extent(&there)?;
        let offset = match first_corner(&there) {
            Some(index) => apply(&self.affine, corners(self.shape)[index]),
            None => centred(self, &affine, shape),
        };
        (0..3).for_each(|row| affine[row][3] = offset[row]);
        Ok(Grid { shape, affine })
    }

    /// Number of voxels.
    pub fn voxels(&self) -> usize {
        self.shape.iter().product()
    }
}

fn singular() -> Error {
    Error::failed("the affine's axes do not span space; correct the header")
}

/// The axes without shear and with new voxel sizes; no translation.
fn zoomed(affine: &Affine, size: [f64; 3]) -> Option<Affine> {
    let own = axes(affine);
    let rotation = multiply(&own, &invert(&upper_factor(&own)?)?);
    let zoom: Matrix3 =
        std::array::from_fn(|i| std::array::from_fn(|j| if i == j { size[i] } else { 0.0 }));
    let scaled = multiply(&rotation, &zoom);
    let mut affine = IDENTITY;
    (0..3).for_each(|row| affine[row][..3].copy_from_slice(&scaled[row]));
    Some(affine)
}

/// Shape that holds the corners, rounded half to even.
fn extent(there: &[[f64; 3]; 8]) -> Result<[usize; 3]> {
    let lengths: [f64; 3] = std::array::from_fn(|axis| {
        let low = there.iter().map(|corner| corner[axis]).fold(f64::INFINITY, f64::min);
        let high = there.iter().map(|corner| corner[axis]).fold(f64::NEG_INFINITY, f64::max);
        (high - low + 1.0).round_ties_even()
    });
    checked(lengths)
}

/// Side lengths as a shape, unless it is too large.
pub(super) fn checked(lengths: [f64; 3]) -> Result<[usize; 3]> {
    if lengths.iter().product::<f64>() > MOST_VOXELS {
        let [x, y, z] = lengths;
        return Err(Error::failed(format!(
            "resampling would make {x}×{y}×{z} voxels; use a larger 'spacing'"
        )));
    }
    Ok(lengths.map(|length| length as usize))
}

/// The corner that is the smallest along all axes, within 1e-8 voxel.
fn first_corner(there: &[[f64; 3]; 8]) -> Option<usize> {
    (0..8).find(|&index| {
        (0..3).all(|axis| {
            let least = there
                .iter()
                .map(|corner| corner[axis] - there[index][axis])
                .fold(f64::INFINITY, f64::min);
            least.abs() <= 1e-8
        })
    })
}

/// The origin putting both grids' centres in the same place.
fn centred(from: &Grid, affine: &Affine, shape: [usize; 3]) -> [f64; 3] {
    let [old, new] = [from.shape, shape].map(|shape| shape.map(|length| length as f64 / 2.0));
    std::array::from_fn(|row| {
        let before = (0..3).fold(0.0, |sum, axis| sum + from.affine[row][axis] * old[axis]);
        let after = (0..3).fold(0.0, |sum, axis| sum + affine[row][axis] * new[axis]);
        before + from.affine[row][3] - after
    })
}
