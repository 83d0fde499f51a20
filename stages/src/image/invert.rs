//! Inversion: what was found on a prepared volume, on the image's own grid.
//!
//! The steps of preparation backwards, as MONAI's `Invertd` undoes them: outside the foreground box
//! every probability is 0 (so the first class wins, which is background), trilinear back to the
//! oriented grid, the largest class, then the file's own order of axes. A resized grid goes back as
//! nnU-Net's does: resized to the non-zero box, background around it. Classes are compared a few
//! slabs at a time, so that memory beyond the probabilities themselves does not grow with their
//! number.

use crate::error::{Error, Result};
use crate::image::affine::{IDENTITY, multiply};
use crate::image::crop::{Box3, part_of, placed};
use crate::image::geometry::WayBack;
use crate::image::orientation::Orientation;
use crate::image::resample::{Resampler, StorageOrder, X_FASTEST, Z_FASTEST};
use crate::image::resize::Resizer;
use crate::image::spacing::Grid;
use crate::image::{Geometry, Volume};

/// Brings results back to the image's own grid.
#[derive(Clone, Debug)]
pub struct Inverter {
    resampler: Resampler,
    orientation: Orientation,
    oriented_shape: [usize; 3],
    /// The resampled part within the oriented grid.
    part: Box3,
    original: Grid,
}

impl Inverter {
    /// For results on the volume described by `geometry`.
    pub fn new(geometry: &Geometry) -> Result<Inverter> {
        geometry.check()?;
        let part = geometry.nonzero();
        let target = part_of(&geometry.oriented(), &part);
        let resampler = match geometry.resized {
            None => Resampler::new(&uncropped(geometry), &target)?,
            Some(WayBack { probability_order, separate_axis }) => {
                Resizer::new(geometry.resampled_shape, target, separate_axis)
                    .resampler(probability_order)
            }
        };
        Ok(Inverter {
            part,
            resampler: resampler.of_box(geometry.crop_start, geometry.crop_end),
            orientation: geometry.orientation(),
            oriented_shape: geometry.oriented_shape,
            original: geometry.original(),
        })
    }

    /// The label map on the image's own grid: the class with the largest probability, the first if
    /// equal. `probabilities` is (C, X, Y, Z) on the prepared volume, z fastest (a contiguous
    /// tensor). Any monotonic scores will do if 0 means "nothing" or there was no foreground crop.
    pub fn labels(&self, probabilities: &[f32], classes: usize) -> Result<Volume<u8>> {
        let voxels = self.check(probabilities.len(), classes)?;
        if classes > 256 {
            return Err(Error::failed(format!("{classes} classes do not fit a label map; 256 do")));
        }
        let mut labels = vec![0u8; self.part.shape().iter().product()];
        self.resampler.in_slabs(&mut labels, Z_FASTEST, |slabs, labels, plan| {
            let (mut best, mut rival) = (vec![0.0; labels.len()], vec![0.0; labels.len()]);
            for (class, channel) in probabilities.chunks_exact(voxels).enumerate() {
                if class == 0 {
                    plan.linear(channel, slabs.clone(), &mut best);
                    continue;
                }
                plan.linear(channel, slabs.clone(), &mut rival);
                for ((label, best), rival) in labels.iter_mut().zip(&mut best).zip(&rival) {
                    if *rival > *best {
                        (*label, *best) = (class as u8, *rival);
                    }
                }
            }
        });
        Ok(self.turned_back(labels, Z_FASTEST))
    }

    /// The map of regions on the image's own grid: where a region's score exceeds `least` its value
    /// is written, one region after the other. `scores` is (R, X, Y, Z), as in
    /// [`Inverter::labels`].
    pub fn regions(&self, scores: &[f32], least: f32, values: &[u8]) -> Result<Volume<u8>> {
        let voxels = self.check(scores.len(), values.len())?;
        let mut labels = vec![0u8; self.part.shape().iter().product()];
        self.resampler.in_slabs(&mut labels, Z_FASTEST, |slabs, labels, plan| {
            let mut score = vec![0.0; labels.len()];
            for (channel, value) in scores.chunks_exact(voxels).zip(values) {
                plan.linear(channel, slabs.clone(), &mut score);
                let within = labels.iter_mut().zip(&score).filter(|(_, score)| **score > least);
                within.for_each(|(label, _)| *label = *value);
            }
        });
        Ok(self.turned_back(labels, Z_FASTEST))
    }

    /// One class's probability on the image's own grid. `probability` is (X, Y, Z) on the prepared
    /// volume, z fastest.
    pub fn probability(&self, probability: &[f32]) -> Result<Volume<f32>> {
        self.check(probability.len(), 1)?;
        Ok(self.turned_back(self.resampler.linear(probability, Z_FASTEST), Z_FASTEST))
    }

    /// A label map on the prepared volume, x fastest as `label.nii` stores it, brought to the
    /// image's own grid voxel by nearest voxel: the second half of the grid "roundtrip".
    pub fn nearest(&self, labels: &[u8]) -> Result<Volume<u8>> {
        self.check(labels.len(), 1)?;
        Ok(self.turned_back(self.resampler.nearest(labels, X_FASTEST), X_FASTEST))
    }

    fn turned_back<T: Copy + Default>(&self, data: Vec<T>, order: StorageOrder) -> Volume<T> {
        let data = placed(data, &self.part, self.oriented_shape, order);
        let mut stride = [1; 3];
        stride[order[1]] = self.oriented_shape[order[0]];
        stride[order[2]] = stride[order[1]] * self.oriented_shape[order[1]];
        let data = self.orientation.undo(&data, stride, self.original.shape);
        Volume { channels: 1, shape: self.original.shape, data, affine: self.original.affine }
    }

    /// Voxels per class, if `length` numbers are `classes` times as many.
    fn check(&self, length: usize, classes: usize) -> Result<usize> {
        let voxels = self.resampler.source_voxels();
        if classes > 0 && length == voxels * classes {
            return Ok(voxels);
        }
        Err(Error::failed(format!(
            "{length} numbers are not {classes} classes of {voxels} prepared voxels"
        )))
    }
}

/// The resampled grid as the reference has it after cropping and padding back: its origin was moved
/// to the box and back. At a box's rim, that rounding decides between a trace of probability and
/// none.
fn uncropped(geometry: &Geometry) -> Grid {
    let mut affine = geometry.resampled_affine;
    for sign in [1.0, -1.0] {
        let mut shift = IDENTITY;
        (0..3).for_each(|axis| shift[axis][3] = sign * geometry.crop_start[axis] as f64);
        affine = multiply(&affine, &shift);
    }
    Grid { shape: geometry.resampled_shape, affine }
}
