//! Training volumes that live on the device: patches are cut, turned and varied there, so that
//! nothing but drawn parameters goes from the processor to it.
//!
//! Batches are those of the loader: all parameters are the same stateless draws. Crops, flips,
//! quarter turns, scale and shift have its very bits where volumes are kept in fp32; affine changes
//! and gamma agree to rounding. Noise comes from the device's own generator, seeded by (seed,
//! epoch, item): it repeats on a device, and is another on another.

use crate::cases::{Classes, PreparedCase};
use crate::loader::{Batch, Plan};
use tch::{Device, Kind, Tensor, no_grad};
use voxflow_stages::Result;
use voxflow_stages::image::transform::Canvas;
use voxflow_stages::image::warp::Affinity;
use voxflow_stages::random::Draw;

/// The volumes of a training on a device.
pub struct Resident<'a> {
    plan: &'a Plan<'a>,
    device: Device,
    cases: Vec<Held>,
}

/// One case: its image (C, X, Y, Z) in the numbers convolutions compute in, and the classes of its
/// label (1, X, Y, Z), Uint8.
struct Held {
    image: Tensor,
    label: Tensor,
}

impl<'a> Resident<'a> {
    /// Bytes that the volumes of a plan take in these numbers.
    pub fn bytes(plan: &Plan, kind: Kind) -> u64 {
        let voxels = |case: &PreparedCase| case.image.shape().iter().product::<usize>() as u64;
        let each = |case: &PreparedCase| {
            voxels(case) * (case.image.channels() * kind.elt_size_in_bytes() + 1) as u64
        };
        plan.part.cases.iter().map(each).sum()
    }

    /// Takes the volumes of a plan to the device, images as `kind`.
    pub fn new(plan: &'a Plan<'a>, kind: Kind, device: Device) -> Result<Resident<'a>> {
        let held = |case| hold(case, plan.classes, kind, device);
        Ok(Resident {
            plan,
            device,
            cases: plan.part.cases.iter().map(held).collect::<Result<_>>()?,
        })
    }

    /// Makes batch `number`, counted from the start of the training.
    pub fn take(&self, number: u64) -> Result<Batch> {
        let (epoch, chosen) = self.plan.chosen(number);
        let items = self.plan.items(&chosen);
        let batch = Batch::new(self.plan, &chosen, self.device);
        no_grad(|| {
            for ((index, item), place) in items.zip(0..) {
                let (start, changes) = self.plan.draw(&self.plan.part.cases[index], epoch, item)?;
                let (mirrored, changes) = changes.split_mirrors();
                let mut slot =
                    Slot { image: batch.image.get(place), label: batch.label.get(place) };
                slot.cut(&self.cases[index], start, mirrored);
                changes.apply(&mut slot);
            }
            Ok(batch)
        })
    }
}

fn hold(case: &PreparedCase, classes: &Classes, kind: Kind, device: Device) -> Result<Held> {
    let image = case.tensor_on(device)?.squeeze_dim(0).to_kind(kind);
    Ok(Held {
        image,
        label: classes.tensor(case.label_values()?, case.image.shape(), device).unsqueeze(0),
    })
}

/// The place of one patch in a batch: its image (C, x, y, z), and its label (1, x, y, z).
struct Slot {
    image: Tensor,
    label: Tensor,
}

impl Slot {
    /// Copies the part of a volume that begins at `start`, mirrored; what lies outside stays as it
    /// is.
    fn cut(&self, held: &Held, start: [i64; 3], flips: [bool; 3]) {
        let (volume, patch) = (sides(&held.image), sides(&self.image));
        let inside: [(i64, i64); 3] = std::array::from_fn(|axis| {
            let first = (-start[axis]).clamp(0, patch[axis]);
            (first, (volume[axis] - start[axis]).clamp(first, patch[axis]))
        });
        if inside.iter().any(|(first, last)| first == last) {
            return;
        }
        let mirrored: Vec<i64> =
            (0..3).filter(|axis| flips[*axis]).map(|axis| axis as i64 + 1).collect();
        for (source, target) in [(&held.image, &self.image), (&held.label, &self.label)] {
            let part = narrow(source, |axis| {
                (start[axis] + inside[axis].0, inside[axis].1 - inside[axis].0)
            });
            let part = if mirrored.is_empty() { part } else { part.flip(&mirrored[..]) };
            let place = |axis: usize| match (inside[axis], flips[axis]) {
                ((first, last), false) => (first, last - first),
                ((first, last), true) => (patch[axis] - last, last - first),
            };
            narrow(target, place).copy_(&part);
        }
    }
}

/// The operations of changes where the patch is, so that nothing waits for the device.
impl Canvas for Slot {
    fn mirror(&mut self, axes: [bool; 3]) {
        let axes: Vec<i64> =
            (0..3).filter(|axis| axes[*axis]).map(|axis| axis as i64 + 1).collect();
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
        let sample = |tensor: &Tensor, how| {
            tensor
                .to_kind(Kind::Float)
                .unsqueeze(0)
                .grid_sampler(&grid, how, BORDER, false)
                .squeeze_dim(0)
        };
        self.image.shallow_clone().copy_(&sample(&self.image, TRILINEAR));
        self.label.shallow_clone().copy_(&sample(&self.label, NEAREST));
    }

    /// By the device's own generator, seeded from the stream.
    fn add_noise(&mut self, std: f32, draw: &mut Draw) {
        tch::manual_seed(draw.bits() as i64);
        self.image += self.image.randn_like() * f64::from(std);
    }

    fn raise(&mut self, power: f32) {
        let (image, low) = (&self.image, self.image.min());
        let range = image.max() - &low;
        let raised =
            ((image - &low) / (&range + 1e-7)).pow_tensor_scalar(f64::from(power)) * range + low;
        self.image.copy_(&raised);
    }

    fn multiply(&mut self, factor: f32) {
        self.image *= f64::from(factor);
    }

    fn add(&mut self, offset: f32) {
        self.image += f64::from(offset);
    }
}

/// Where each voxel of an affine change lies, for `grid_sampler` (1, X, Y, Z, 3): by the
/// single-precision steps of `warp`.
fn grid(affine: &Affinity, sides: [i64; 3], device: Device) -> Tensor {
    let centred: [Tensor; 3] = std::array::from_fn(|axis| {
        let mut shape = [1i64; 3];
        shape[axis] = sides[axis];
        let half = (sides[axis] as f32 - 1.0) / 2.0;
        (Tensor::arange(sides[axis], (Kind::Float, device)) - f64::from(half)).reshape(shape)
    });
    let matrix = affine.matrix().map(|row| row.map(|entry| f64::from(entry as f32)));
    let place = |axis: usize| {
        let [x, y, z, shift] = matrix[axis];
        let place = &centred[0] * x + &centred[1] * y + &centred[2] * z + shift;
        (place * f64::from(2.0 / (sides[axis] as f32).max(2.0))).expand(sides, false)
    };
    // `grid_sampler` wants the fastest axis first.
    Tensor::stack(&[place(2), place(1), place(0)], -1).unsqueeze(0)
}

/// X, Y, Z of (C, X, Y, Z).
fn sides(tensor: &Tensor) -> [i64; 3] {
    let size = tensor.size();
    [size[1], size[2], size[3]]
}

/// The part of (C, X, Y, Z) that begins at and is as long as `range` says of each axis.
fn narrow(tensor: &Tensor, range: impl Fn(usize) -> (i64, i64)) -> Tensor {
    (0..3).fold(tensor.shallow_clone(), |tensor, axis| {
        let (start, length) = range(axis);
        tensor.narrow(axis as i64 + 1, start, length)
    })
}
