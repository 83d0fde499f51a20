//! Inversion: what was found on a prepared volume, on the image's own grid.
//!
//! The steps of preparation backwards, as MONAI's `Invertd` undoes them: outside the foreground box
//! every probability is 0 (so the first class wins, which is background), trilinear back to the
//! oriented grid, the largest class, then the file's own order of axes. A resized grid goes back as
//! nnU-Net's does: resized to the non-zero box, background around it. Classes are compared a few
//! slabs at a time, so that memory beyond the probabilities themselves does not grow with their
//! number; [`crate::image::invert_rows`] does not need all of these at once either.

use crate::error::{Error, Result};
use crate::image::affine::{IDENTITY, multiply};
use crate::image::crop::{Box3, part_of, placed};
use crate::image::geometry::WayBack;
use crate::image::orientation::Orientation;
use crate::image::resample::{Resampler, StorageOrder, X_FASTEST, Z_FASTEST};
use crate::image::resize::Resizer;
use crate::image::spacing::Grid;
use crate::image::{Geometry, Volume};

/// The rule by which scores become labels.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// The class with the largest score, the first if equal.
    Largest,
    /// Where a region's score exceeds `least` its value is written, one region after the other.
    Regions {
        /// Scores above it count.
        least: f32,
        /// The value of each region.
        values: Vec<u8>,
    },
}

impl Decision {
    /// Decides some voxels, whose labels are 0 so far. `scores` writes those of a class or region.
    pub(super) fn fill(
        &self,
        labels: &mut [u8],
        channels: usize,
        scores: impl Fn(usize, &mut [f32]),
    ) {
        let mut own = vec![0.0; labels.len()];
        match self {
            Decision::Largest => {
                let mut best = vec![0.0; labels.len()];
                scores(0, &mut best);
                for class in 1..channels {
                    scores(class, &mut own);
                    for ((label, best), own) in labels.iter_mut().zip(&mut best).zip(&own) {
                        if *own > *best {
                            (*label, *best) = (class as u8, *own);
                        }
                    }
                }
            }
            Decision::Regions { least, values } => {
                for (region, value) in values.iter().enumerate() {
                    scores(region, &mut own);
                    let within = labels.iter_mut().zip(&own).filter(|(_, own)| **own > *least);
                    within.for_each(|(label, _)| *label = *value);
                }
            }
        }
    }

    /// Errors if a label map cannot hold so many classes.
    pub(super) fn check(&self, channels: usize) -> Result<()> {
        match self {
            Decision::Largest if channels > 256 => {
                Err(Error::failed(format!("{channels} classes do not fit a label map; 256 do")))
            }
            _ => Ok(()),
        }
    }
}

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

    /// The label map on the image's own grid, of the scores (C, X, Y, Z) of classes or regions on
    /// the prepared volume, z fastest (a contiguous tensor). Any monotonic scores will do if 0
    /// means "nothing" or there was no foreground crop.
    pub fn decided(
        &self,
        scores: &[f32],
        channels: usize,
        decision: &Decision,
    ) -> Result<Volume<u8>> {
        let voxels = self.check(scores.len(), channels)?;
        decision.check(channels)?;
        let mut labels = vec![0u8; self.part.shape().iter().product()];
        self.resampler.in_slabs(&mut labels, Z_FASTEST, |slabs, labels, plan| {
            decision.fill(labels, channels, |channel, out| {
                plan.linear(&scores[channel * voxels..][..voxels], slabs.clone(), out);
            });
        });
        Ok(self.turned_back(labels, Z_FASTEST))
    }

    /// The class with the largest of probabilities (C, X, Y, Z) on the image's own grid, the first
    /// if equal, as in [`Inverter::decided`].
    pub fn labels(&self, probabilities: &[f32], classes: usize) -> Result<Volume<u8>> {
        self.decided(probabilities, classes, &Decision::Largest)
    }

    /// The map of regions on the image's own grid: where a region's score exceeds `least` its value
    /// is written, one region after the other, as in [`Inverter::decided`].
    pub fn regions(&self, scores: &[f32], least: f32, values: &[u8]) -> Result<Volume<u8>> {
        let decision = Decision::Regions { least, values: values.into() };
        self.decided(scores, values.len(), &decision)
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

    pub(super) fn resampler(&self) -> &Resampler {
        &self.resampler
    }

    pub(super) fn turned_back<T: Copy + Default>(
        &self,
        data: Vec<T>,
        order: StorageOrder,
    ) -> Volume<T> {
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
