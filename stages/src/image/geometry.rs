//! Geometry of a prepared volume, to bring results back to the image's own grid.

use crate::error::{Error, Result};
use crate::image::affine::Affine;
use crate::image::crop::Box3;
use crate::image::nifti::Space;
use crate::image::orientation::Orientation;
use crate::image::spacing::Grid;
use serde::{Deserialize, Serialize};
use voxflow_cache::Digest;

/// Preparation's steps, with the facts for undoing them. `<case>/geometry.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Geometry {
    /// The file's own grid: X, Y, Z.
    pub original_shape: [usize; 3],
    /// The file's own affine (after the header's corrections).
    pub original_affine: Affine,
    /// For each RAS axis, the file's axis.
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
    /// The foreground box on the resampled grid: its end along each axis, exclusive.
    pub crop_end: [usize; 3],
    /// The non-zero box on the oriented grid, if the image was cut to it before resampling: the
    /// first voxel of each axis, and one past the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonzero_box: Option<[[usize; 3]; 2]>,
    /// The way back from a resized grid; if absent, the grids lie in space by their affines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resized: Option<WayBack>,
    /// For each image file, the digest of its voxels as they are stored, unpacked and least
    /// significant byte first: the same image under another name, header or compression has the
    /// same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub image_digests: Vec<Digest>,
    /// Encoding of the affine in the first image's file, repeated in results on its grid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub space: Option<Space>,
}

/// Resizing results to the grid that the image had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WayBack {
    /// Order of interpolation: 1 or 0.
    pub probability_order: u8,
    /// The axis whose slices are copied.
    pub separate_axis: Option<usize>,
}

impl Geometry {
    /// The file's own grid.
    pub fn original(&self) -> Grid {
        Grid { shape: self.original_shape, affine: self.original_affine }
    }

    /// The grid after orientation.
    pub fn oriented(&self) -> Grid {
        Grid { shape: self.oriented_shape, affine: self.oriented_affine }
    }

    /// The resampled part within the oriented grid.
    pub fn nonzero(&self) -> Box3 {
        match self.nonzero_box {
            Some([start, end]) => Box3 { start, end },
            None => Box3::whole(self.oriented_shape),
        }
    }

    /// The grid after resampling.
    pub fn resampled(&self) -> Grid {
        Grid { shape: self.resampled_shape, affine: self.resampled_affine }
    }

    /// The file axes' orientation in RAS.
    pub fn orientation(&self) -> Orientation {
        Orientation { axes: self.axes, flips: self.flips }
    }

    /// The foreground box on the resampled grid.
    pub fn crop(&self) -> Box3 {
        Box3 { start: self.crop_start, end: self.crop_end }
    }

    /// The prepared volume's shape: the foreground box's X, Y, Z.
    pub fn prepared_shape(&self) -> [usize; 3] {
        self.crop().shape()
    }

    /// True if the numbers are consistent, so that undoing the steps cannot fail: checked for files
    /// from elsewhere.
    pub fn check(&self) -> Result<()> {
        let mut axes = self.axes;
        axes.sort_unstable();
        let box_fits = (0..3).all(|axis| {
            self.crop_start[axis] < self.crop_end[axis]
                && self.crop_end[axis] <= self.resampled_shape[axis]
        });
        let part = self.nonzero();
        let part_fits = (0..3).all(|axis| {
            part.start[axis] < part.end[axis] && part.end[axis] <= self.oriented_shape[axis]
        });
        let turned = axes == [0, 1, 2]
            && self.orientation().shape(self.original_shape) == self.oriented_shape;
        if turned && box_fits && part_fits && self.oriented_shape.iter().all(|&length| length > 0) {
            return Ok(());
        }
        Err(Error::failed(
            "the geometry of a prepared volume contradicts itself; make the volume again",
        ))
    }
}
