//! Training volumes that live on the device: patches are cut and augmented there, and only drawn
//! parameters are sent to it.
//!
//! Batches equal those of the loader threads, since all parameters are the same stateless draws.
//! Crops, flips, quarter turns, scale and shift have the same bits where volumes are kept in fp32;
//! affine transforms and gamma agree to rounding. Noise comes from the device's own generator,
//! seeded by (seed, epoch, item): it repeats on a device, and differs between devices.

use crate::batch::Batch;
use crate::batch_sampler::BatchSampler;
use crate::classes::Classes;
use crate::subset::PreparedCase;
use tch::{Device, Kind, Tensor, no_grad};
use voxflow_stages::Result;
use voxflow_stages::image::transform::Canvas;
use voxflow_stages::image::warp::Affinity;
use voxflow_stages::random::Draw;

/// The volumes of a training on a device.
pub struct DeviceDataset<'a> {
    sampler: &'a BatchSampler<'a>,
    device: Device,
    cases: Vec<DeviceCase>,
}

/// A case: image (C, X, Y, Z) in the convolutions' numbers, and label classes (1, X, Y, Z), Uint8.
struct DeviceCase {
    image: Tensor,
    label: Tensor,
}

impl<'a> DeviceDataset<'a> {
    /// Size in bytes of a sampler's volumes, images as `kind`.
    pub fn bytes(sampler: &BatchSampler, kind: Kind) -> u64 {
        sampler.subset.cases.iter().map(|case| case_bytes(case, kind)).sum()
    }

    /// Copies a sampler's volumes to the device, images as `kind`.
    pub fn new(
        sampler: &'a BatchSampler<'a>,
        kind: Kind,
        device: Device,
    ) -> Result<DeviceDataset<'a>> {
        let cases = sampler.subset.cases.iter();
        let cases = cases.map(|case| DeviceCase::new(case, sampler.classes, kind, device));
        Ok(DeviceDataset { sampler, device, cases: cases.collect::<Result<_>>()? })
    }

    /// Makes the share of batch `number`, counted from the start of the training.
    pub fn take(&self, number: u64) -> Result<Batch> {
        let (epoch, cases) = self.sampler.epoch_and_cases(number);
        let batch = self.sampler.empty_batch(&cases, self.device);
        no_grad(|| {
            for ((index, item), place) in self.sampler.patches(&cases).zip(0..) {
                let case = &self.sampler.subset.cases[index];
                let (start, changes) = self.sampler.draw_patch(case, epoch, item)?;
                let (flips, changes) = changes.split_mirrors();
                let mut patch =
                    PatchView { image: batch.image.get(place), label: batch.label.get(place) };
                patch.cut(&self.cases[index], start, flips);
                changes.apply(&mut patch);
            }
            Ok(batch)
        })
    }
}

fn case_bytes(case: &PreparedCase, kind: Kind) -> u64 {
    let voxels = case.image.shape().iter().product::<usize>() as u64;
    voxels * (case.image.channels() * kind.elt_size_in_bytes() + 1) as u64
}

impl DeviceCase {
    fn new(
        case: &PreparedCase,
        classes: &Classes,
        kind: Kind,
        device: Device,
    ) -> Result<DeviceCase> {
        let image = case.tensor_on(device)?.squeeze_dim(0).to_kind(kind);
        let label = classes.tensor(case.label_values()?, case.image.shape(), device).unsqueeze(0);
        Ok(DeviceCase { image, label })
    }
}

/// Views of a batch's patch: image (C, x, y, z) and label (1, x, y, z).
struct PatchView {
    image: Tensor,
    label: Tensor,
}

impl PatchView {
    /// Copies the region starting at `start`, flipped. Voxels outside the volume keep their value.
    fn cut(&self, case: &DeviceCase, start: [i64; 3], flips: [bool; 3]) {
        let (volume, patch) = (sides(&case.image), sides(&self.image));
        let inside: [(i64, i64); 3] = std::array::from_fn(|axis| {
            let first = (-start[axis]).clamp(0, patch[axis]);
            (first, (volume[axis] - start[axis]).clamp(first, patch[axis]))
        });
        if inside.iter().any(|(first, last)| first == last) {
            return;
        }
        let mirrored: Vec<i64> =
            (0..3).filter(|axis| flips[*axis]).map(|axis| axis as i64 + 1).collect();
        for (source, target) in [(&case.image, &self.image), (&case.label, &self.label)] {
            let part = narrow(source, |axis| {
                (start[axis] + inside[axis].0, inside[axis].1 - inside[axis].0)
            });
            let part = if mirrored.is_empty() { part } else { part.flip(&mirrored[..]) };
            let target = narrow(target, |axis| match (inside[axis], flips[axis]) {
                ((first, last), false) => (first, last - first),
                ((first, last), true) => (patch[axis] - last, last - first),
            });
            target.shallow_clone().copy_(&part);
        }
    }
}

/// The operations of changes on the device, none of which waits for it.
impl Canvas for PatchView {
    fn mirror(&mut self, axes: [bool; 3]) {
        let axes = (0..3).filter(|axis| axes[*axis]).map(|axis| axis as i64 + 1);
        let axes: Vec<i64> = axes.collect();
        for tensor in [&self.image, &self.label] {
            tensor.shallow_clone().copy_(&tensor.flip(&axes[..]));
        }
    }

    fn turn(&mut self, quarters: u8, axes: [usize; 2]) {
        let axes = axes.map(|axis| axis as i64 + 1);
        for tensor in [&self.image, &self.label] {
            tensor.shallow_clone().copy_(&tensor.rot90(quarters.into(), axes));
        }
    }

    fn resample(&mut self, affinity: &Affinity) {
        const TRILINEAR: i64 = 0;
        const NEAREST: i64 = 1;
        const BORDER: i64 = 1;
        let grid = grid(affinity, sides(&self.image), self.image.device());
        for (tensor, mode) in [(&self.image, TRILINEAR), (&self.label, NEAREST)] {
            let item = tensor.to_kind(Kind::Float).unsqueeze(0);
            let warped = item.grid_sampler(&grid, mode, BORDER, false).squeeze_dim(0);
            tensor.shallow_clone().copy_(&warped);
        }
    }

    /// By the device's own generator, seeded from the stream.
    fn add_noise(&mut self, std: f32, draw: &mut Draw) {
        tch::manual_seed(draw.bits() as i64);
        self.image += self.image.randn_like() * f64::from(std);
    }

    fn raise(&mut self, power: f32) {
        let (image, low) = (&self.image, self.image.min());
        let range = image.max() - &low;
        let scaled = (image - &low) / (&range + 1e-7);
        let raised = scaled.pow_tensor_scalar(f64::from(power)) * range + low;
        self.image.copy_(&raised);
    }

    fn multiply(&mut self, factor: f32) {
        self.image *= f64::from(factor);
    }

    fn add(&mut self, offset: f32) {
        self.image += f64::from(offset);
    }
}

/// Each voxel's source position for `grid_sampler` (1, X, Y, Z, 3), computed by the same
/// single-precision steps as the processor's affine transform, so that both round alike.
fn grid(affine: &Affinity, sides: [i64; 3], device: Device) -> Tensor {
    let centred: [Tensor; 3] = std::array::from_fn(|axis| {
        let mut shape = [1i64; 3];
        shape[axis] = sides[axis];
        let half = (sides[axis] as f32 - 1.0) / 2.0;
        (Tensor::arange(sides[axis], (Kind::Float, device)) - f64::from(half)).reshape(shape)
    });
    let matrix = affine.matrix().map(|row| row.map(|entry| f64::from(entry as f32)));
    // `grid_sampler` wants the fastest axis first, and positions scaled to [-1, 1].
    let positions = [2, 1, 0].map(|axis| {
        let [x, y, z, shift] = matrix[axis];
        let position = &centred[0] * x + &centred[1] * y + &centred[2] * z + shift;
        (position * f64::from(2.0 / (sides[axis] as f32).max(2.0))).expand(sides, false)
    });
    Tensor::stack(&positions, -1).unsqueeze(0)
}

/// X, Y, Z of (C, X, Y, Z).
fn sides(tensor: &Tensor) -> [i64; 3] {
    let size = tensor.size();
    [size[1], size[2], size[3]]
}

/// A region of (C, X, Y, Z); `range` gives the start and length along an axis.
fn narrow(tensor: &Tensor, range: impl Fn(usize) -> (i64, i64)) -> Tensor {
    (0..3).fold(tensor.shallow_clone(), |tensor, axis| {
        let (start, length) = range(axis);
        tensor.narrow(axis as i64 + 1, start, length)
    })
}
