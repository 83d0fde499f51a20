//! A patch of a batch on a device: how it is cut from a volume, and the operations of its changes.

use crate::classes::IGNORED;
use crate::device_memory::pinned;
use tch::{Device, Kind, Tensor};
use voxflow_stages::image::channel_filter::gaussian_kernel;
use voxflow_stages::image::prepared::OUTSIDE;
use voxflow_stages::image::rotoscale::Rotoscale;
use voxflow_stages::image::transform::Canvas;
use voxflow_stages::image::warp::Affinity;
use voxflow_stages::random::Draw;

/// Views of a batch's patch: image (C, x, y, z) and label (1, x, y, z).
pub(crate) struct PatchView {
    /// The image.
    pub(crate) image: Tensor,
    /// The label's classes.
    pub(crate) label: Tensor,
    /// Number of classes of the label.
    pub(crate) classes: usize,
    /// Some voxels may be [`IGNORED`].
    pub(crate) has_ignored: bool,
    /// The class beyond the volume: 0, or [`OUTSIDE`] where the label is marked.
    pub(crate) beyond: u8,
}

impl PatchView {
    /// A patch of zeros with other sides.
    pub(crate) fn of_sides(&self, [x, y, z]: [usize; 3]) -> PatchView {
        let [image, label] = [&self.image, &self.label].map(|tensor| {
            let size = [tensor.size()[0], x as i64, y as i64, z as i64];
            Tensor::zeros(size, (tensor.kind(), tensor.device()))
        });
        PatchView { image, label, ..*self }
    }

    /// Makes the label that of voxels beyond the volume.
    pub(crate) fn fill_beyond(&self) {
        if self.beyond != 0 {
            let _ = self.label.shallow_clone().fill_(i64::from(self.beyond));
        }
    }

    /// Resamples a larger patch into this one: trilinear for the image, 0 outside; for the label
    /// the class with the largest share, where "outside" counts as a class and becomes `beyond`.
    pub(crate) fn resample_from(&mut self, larger: &PatchView, rotoscale: &Rotoscale) {
        const TRILINEAR: i64 = 0;
        const ZEROS: i64 = 0;
        let grid = rotoscale_grid(
            rotoscale,
            sides(&self.image),
            sides(&larger.image),
            self.image.device(),
        );
        let image = larger.image.unsqueeze(0).grid_sampler(&grid, TRILINEAR, ZEROS, false);
        self.image.copy_(&image.squeeze_dim(0));
        let shares = larger.one_hot().permute([0, 4, 1, 2, 3]).to_kind(Kind::Float);
        let shares = shares.grid_sampler(&grid, TRILINEAR, ZEROS, false);
        let outside: Tensor = 1.0 - shares.sum_dim_intlist([1i64].as_slice(), true, Kind::Float);
        let class = Tensor::cat(&[shares, outside], 1).argmax(1, false);
        let beyond = class.full_like(i64::from(self.beyond));
        let known = class.lt(self.channels_of_label());
        let class = class.where_self(&known, &beyond);
        let class = match self.has_ignored {
            true => class.masked_fill(&(class.eq(self.classes as i64)), i64::from(IGNORED)),
            false => class,
        };
        self.label.copy_(&class);
    }

    /// One channel for each class and for voxels to ignore, last; all are 0 where the label is
    /// [`OUTSIDE`].
    fn one_hot(&self) -> Tensor {
        let (label, channels) = (self.label.to_kind(Kind::Int64), self.channels_of_label());
        if self.beyond == 0 && !self.has_ignored {
            return label.one_hot(channels);
        }
        let label = match self.has_ignored {
            true => label.masked_fill(&label.eq(i64::from(IGNORED)), self.classes as i64),
            false => label,
        };
        label.clamp_max(channels).one_hot(channels + 1).narrow(4, 0, channels)
    }

    fn channels_of_label(&self) -> i64 {
        self.classes as i64 + i64::from(self.has_ignored)
    }

    /// Copies the region of a volume's image and label starting at `start`, flipped. Voxels outside
    /// the volume keep their value.
    pub(crate) fn cut(
        &self,
        (image, label): (&Tensor, &Tensor),
        start: [i64; 3],
        flips: [bool; 3],
    ) {
        let (volume, patch) = (sides(image), sides(&self.image));
        let inside: [(i64, i64); 3] = std::array::from_fn(|axis| {
            let first = (-start[axis]).clamp(0, patch[axis]);
            (first, (volume[axis] - start[axis]).clamp(first, patch[axis]))
        });
        if inside.iter().any(|(first, last)| first == last) {
            return;
        }
        let mirrored: Vec<i64> =
            (0..3).filter(|axis| flips[*axis]).map(|axis| axis as i64 + 1).collect();
        for (source, target) in [(image, &self.image), (label, &self.label)] {
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

/// The operations of changes on the device, all asynchronous.
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

    fn channels(&self) -> usize {
        self.image.size()[0] as usize
    }

    fn rotoscale(&mut self, rotoscale: &Rotoscale) {
        let (image, label) = (self.image.copy(), self.label.copy());
        let copy = PatchView { image, label, ..*self };
        self.resample_from(&copy, rotoscale);
    }

    fn multiply_channel(&mut self, channel: usize, factor: f32) {
        let mut values = self.channel(channel);
        values *= f64::from(factor);
    }

    fn stretch(&mut self, channel: usize, factor: f32) {
        let mut values = self.channel(channel);
        let mean = values.mean(Kind::Float);
        let stretched = (&values - &mean) * f64::from(factor) + mean;
        let clipped = stretched.clamp_tensor(Some(values.min()), Some(values.max()));
        values.copy_(&clipped);
    }

    fn blur(&mut self, channel: usize, sigmas: [f64; 3]) {
        let mut values = self.channel(channel);
        let mut blurred = values.unsqueeze(0).unsqueeze(0);
        for axis in 0..3 {
            let kernel = gaussian_kernel(sigmas[axis]);
            let half = kernel.len() as i64 / 2;
            if half >= values.size()[axis] {
                continue;
            }
            let (mut size, mut padding) = ([1i64; 5], [0i64; 6]);
            size[axis + 2] = kernel.len() as i64;
            padding[4 - 2 * axis..6 - 2 * axis].fill(half);
            let kernel = Tensor::from_slice(&kernel).reshape(size).to_device(values.device());
            let padded = blurred.reflection_pad3d(padding);
            blurred = padded.conv3d::<Tensor>(&kernel, None, [1; 3], [0; 3], [1; 3], 1);
        }
        values.copy_(&blurred.squeeze_dim(0).squeeze_dim(0));
    }

    fn coarsen(&mut self, channel: usize, to: [usize; 3]) {
        let mut values = self.channel(channel);
        let (whole, sides) = (values.size(), to.map(|side| side as i64));
        let item = values.unsqueeze(0).unsqueeze(0);
        let coarse = item.internal_upsample_nearest_exact3d(sides, None, None, None);
        let fine = coarse.upsample_trilinear3d(&whole[..], false, None, None, None);
        values.copy_(&fine.squeeze_dim(0).squeeze_dim(0));
    }

    fn raise_channel(&mut self, channel: usize, power: f32, inverted: bool) {
        const LEAST: f64 = 1e-7;
        let mut values = self.channel(channel);
        let sign = if inverted { -1.0 } else { 1.0 };
        let before = &values * sign;
        let (low, high) = (before.min(), before.max());
        let range = high - &low;
        let scaled = (&before - &low) / range.clamp_min(LEAST);
        let raised = scaled.pow_tensor_scalar(f64::from(power)) * range + low;
        let factor = before.std(true) / raised.std(true).clamp_min(LEAST);
        let mean = raised.mean(Kind::Float);
        let kept = (raised - mean) * factor + before.mean(Kind::Float);
        values.copy_(&(kept * sign));
    }

    fn zero_outside(&mut self, channel: usize) {
        let _ = self.channel(channel).masked_fill_(&self.outside().squeeze_dim(0), 0.0);
    }

    fn forget_outside(&mut self) {
        let _ = self.label.shallow_clone().masked_fill_(&self.outside(), 0i64);
    }
}

impl PatchView {
    fn channel(&self, channel: usize) -> Tensor {
        self.image.get(channel as i64)
    }

    fn outside(&self) -> Tensor {
        self.label.eq(i64::from(OUTSIDE))
    }
}

/// Each voxel's source position for `grid_sampler` (1, X, Y, Z, 3) in a patch of sides `from`.
fn rotoscale_grid(rotoscale: &Rotoscale, to: [i64; 3], from: [i64; 3], device: Device) -> Tensor {
    let rows = rotoscale.matrix().map(|[x, y, z]| [x, y, z, 0.0].map(|entry| entry as f32));
    sampling_grid(rows, from.map(|side| 2.0 / side as f32), to, device)
}

/// Each voxel's source position for `grid_sampler` (1, X, Y, Z, 3), computed by the same
/// single-precision steps as the processor's affine transform, so that both round alike.
fn grid(affine: &Affinity, sides: [i64; 3], device: Device) -> Tensor {
    let rows = affine.matrix().map(|row| row.map(|entry| entry as f32));
    sampling_grid(rows, sides.map(|side| 2.0 / (side as f32).max(2.0)), sides, device)
}

/// The grid of a matrix with a shift, by rows: positions from the middle, times `scale` (to
/// [-1, 1]). The products along each axis are few and made here; the device adds them up, all
/// voxels and rows by one kernel for each addition.
fn sampling_grid(rows: [[f32; 4]; 3], scale: [f32; 3], sides: [i64; 3], device: Device) -> Tensor {
    // `grid_sampler` wants the fastest axis first.
    const ROWS: [usize; 3] = [2, 1, 0];
    let mut numbers: Vec<f32> = vec![];
    for axis in 0..3 {
        let centre = (sides[axis] as f32 - 1.0) / 2.0;
        for row in ROWS {
            numbers.extend((0..sides[axis]).map(|at| (at as f32 - centre) * rows[row][axis]));
        }
    }
    numbers.extend(ROWS.map(|row| rows[row][3]));
    numbers.extend(ROWS.map(|row| scale[row]));
    let numbers = pinned(Tensor::from_slice(&numbers), device);
    let numbers = numbers.to_device_(device, Kind::Float, true, false);
    let lengths = [3 * sides[0], 3 * sides[1], 3 * sides[2], 3, 3];
    let parts = numbers.split_with_sizes(lengths, 0);
    let part = |at: usize| {
        let mut shape = [3i64, 1, 1, 1];
        if at < 3 {
            shape[at + 1] = sides[at];
        }
        parts[at].reshape(shape)
    };
    let mut positions = part(0) + part(1) + part(2);
    positions += part(3);
    positions *= part(4);
    positions.permute([1, 2, 3, 0]).unsqueeze(0)
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
