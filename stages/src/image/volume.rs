//! A volume: voxels with channels, on a grid that lies in space.

use crate::image::Affine;
use crate::image::spacing::Grid;

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

impl<T> Volume<T> {
    /// Voxels of one channel.
    pub fn voxels(&self) -> usize {
        self.shape.iter().product()
    }

    /// Its shape and affine.
    pub fn grid(&self) -> Grid {
        Grid { shape: self.shape, affine: self.affine }
    }

    /// The channels one after another, each X·Y·Z voxels.
    pub fn each_channel(&self) -> impl Iterator<Item = &[T]> {
        self.data.chunks_exact(self.voxels().max(1))
    }

    /// The channels one after another, each X·Y·Z voxels, to be changed.
    pub fn each_channel_mut(&mut self) -> impl Iterator<Item = &mut [T]> {
        let voxels = self.voxels().max(1);
        self.data.chunks_exact_mut(voxels)
    }

    /// A voxel's volume in ml.
    pub fn voxel_ml(&self) -> f64 {
        crate::image::affine::voxel_ml(&self.affine)
    }
}
