//! A volume: voxels with channels, on a grid that lies in space.

use crate::image::Affine;

/// `channels` × X × Y × Z voxels, x fastest and channels slowest, as NIfTI stores them.
#[derive(Clone, Debug, PartialEq)]
pub struct Volume<T> {
    /// Number of channels; 1 for labels.
    pub channels: usize,
    /// X, Y, Z.
    pub shape: [usize; 3],
    /// The voxels: index = x + X·(y + Y·(z + Z·c)).
    pub data: Vec<T>,
    /// Voxel index to millimetres in RAS+ world space.
    pub affine: Affine,
}
