//! The patch that is cut before augmentation, large enough to be turned.

use crate::image::resize::ANISOTROPY_THRESHOLD;

/// Rotation of patches, in degrees, with and without a flat axis.
const ROTATION_DEGREES: f64 = 30.0;
const FLAT_ROTATION_DEGREES: f64 = 180.0;
/// The smallest scale that the size allows for.
const MIN_SCALE: f64 = 0.85;

/// Rotation of training patches; axes in the plan's order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PatchRotation {
    /// True if patches are turned and scaled slice by slice, across the first axis ("dummy 2D").
    pub is_flat: bool,
    /// The largest angle, in degrees.
    pub degrees: f64,
    /// Voxels that are cut.
    pub initial_patch_size: [usize; 3],
}

impl PatchRotation {
    /// Slices of a patch with a far shorter first axis are turned by themselves.
    pub fn of(patch_size: [usize; 3]) -> PatchRotation {
        let longest = patch_size.into_iter().max().unwrap_or_default() as f64;
        let is_flat = longest / patch_size[0] as f64 > ANISOTROPY_THRESHOLD;
        let degrees = if is_flat { FLAT_ROTATION_DEGREES } else { ROTATION_DEGREES };
        let mut initial_patch_size = turned(patch_size.map(|side| side as f64), degrees);
        if is_flat {
            initial_patch_size[0] = patch_size[0];
        }
        PatchRotation { is_flat, degrees, initial_patch_size }
    }
}

/// The largest sides after a turn about each single axis, by at most a right angle.
fn turned(sides: [f64; 3], degrees: f64) -> [usize; 3] {
    let (sin, cos) = degrees.min(90.0).to_radians().sin_cos();
    std::array::from_fn(|axis| {
        let (next, previous) = (sides[(axis + 1) % 3], sides[(axis + 2) % 3]);
        let side = sides[axis];
        let longest = side.max(side * cos + next * sin).max((side * cos - previous * sin).abs());
        (longest / MIN_SCALE) as usize
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_are_cut_as_large_as_nnunets() {
        // get_patch_size of nnU-Net 2.8.1.
        for (patch, is_flat, cut) in [
            ([128, 128, 128], false, [205, 205, 205]),
            ([80, 192, 160], false, [194, 289, 210]),
            ([40, 56, 40], false, [73, 80, 64]),
            ([64, 192, 160], false, [178, 289, 200]),
            ([14, 24, 20], false, [28, 36, 28]),
            ([20, 320, 256], true, [20, 376, 376]),
            ([56, 192, 192], true, [56, 225, 225]),
        ] {
            let found = PatchRotation::of(patch);
            assert_eq!((found.is_flat, found.initial_patch_size), (is_flat, cut), "{patch:?}");
        }
    }
}
