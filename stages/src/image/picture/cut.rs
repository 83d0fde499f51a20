//! A cut: the voxel behind each pixel in a slice.

use super::{Plane, Raster};
use crate::image::Affine;
use crate::image::affine::spacing_mm;

/// A slice as pixels.
pub(super) struct Cut {
    pub width: usize,
    pub height: usize,
    voxels: Vec<usize>,
    pixels_per_mm: f64,
}

/// The voxel for a pixel, of `count`, along an axis. Both RAS axes run against the picture's: right
/// is left, and up is low.
fn place(pixel: usize, count: usize, length: usize) -> usize {
    length - 1 - (pixel * length / count).min(length - 1)
}

impl Cut {
    /// For a slice through a RAS volume; the picture's longer side has `side` pixels.
    pub fn new(plane: Plane, shape: [usize; 3], affine: &Affine, slice: usize, side: usize) -> Cut {
        let ([along, down, through], spacing) = (plane.axes(), spacing_mm(affine));
        let size_mm = [along, down].map(|axis| shape[axis] as f64 * spacing[axis]);
        let pixels_per_mm = side as f64 / size_mm[0].max(size_mm[1]);
        let [width, height] = size_mm.map(|size| (size * pixels_per_mm).round().max(1.0) as usize);
        let voxels = (0..width * height).map(|at| {
            let mut index = [0; 3];
            index[along] = place(at % width, width, shape[along]);
            index[down] = place(at / width, height, shape[down]);
            index[through] = slice;
            index[0] + shape[0] * (index[1] + shape[1] * index[2])
        });
        Cut { width, height, voxels: voxels.collect(), pixels_per_mm }
    }

    /// The voxel behind a pixel.
    pub fn voxel(&self, at: usize) -> usize {
        self.voxels[at]
    }

    /// The pixels beside one.
    pub fn neighbours(&self, at: usize) -> impl Iterator<Item = usize> {
        let (x, y, width, height) = (at % self.width, at / self.width, self.width, self.height);
        let left = (x > 0).then(|| at - 1);
        let right = (x + 1 < width).then(|| at + 1);
        let above = (y > 0).then(|| at - width);
        let below = (y + 1 < height).then(|| at + width);
        [left, right, above, below].into_iter().flatten()
    }

    /// Draws a white bar at the lower left; its length in mm, at most a third of the picture.
    pub fn bar(&self, raster: &mut Raster) -> f64 {
        const LENGTHS_MM: [f64; 7] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0];
        let longest = self.width as f64 / self.pixels_per_mm / 3.0;
        let length =
            LENGTHS_MM.into_iter().rev().find(|length| *length <= longest).unwrap_or(LENGTHS_MM[0]);
        let end = (8 + (length * self.pixels_per_mm).round() as usize).min(self.width);
        for y in self.height.saturating_sub(11)..self.height.saturating_sub(8) {
            raster.pixels[(y * self.width + 8.min(end)) * 3..(y * self.width + end) * 3].fill(255);
        }
        length
    }
}
