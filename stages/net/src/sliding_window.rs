//! Sliding-window inference as MONAI's `sliding_window_inference` and as nnU-Net's, averaged over
//! networks and flips.

use crate::device_room::DeviceRoom;
use crate::inference_network::InferenceNetwork;
use std::cell::Cell;
use std::sync::{Mutex, PoisonError};
use tch::{Device, Kind, Tensor, no_grad};
use voxflow_stages::model::{Average, Blend, Inference, Placement};

/// Networks, and the settings of the window.
pub struct SlidingWindow<'a> {
    /// Networks whose probabilities or logits are averaged.
    pub networks: Vec<InferenceNetwork<'a>>,
    /// Overlap, blending, windows per batch, flips.
    pub inference: Inference,
    /// Sides of the window in voxels.
    pub roi: [usize; 3],
    /// The networks' device.
    pub device: Device,
    /// Its room for volumes; `None` for the processor.
    pub room: Option<DeviceRoom>,
    /// The networks' outputs are regions, whose probabilities are by sigmoid instead of softmax.
    pub by_sigmoid: bool,
}

impl SlidingWindow<'_> {
    /// The device that keeps a volume during inference: the networks' device if it has room for the
    /// image and all sums, else the processor.
    pub fn volume_device(&self, voxels: usize, channels: usize, classes: usize) -> Device {
        // The image; for the classes the sum, its quotient, and a copy while flips are averaged.
        let bytes = voxels as u64 * 4 * (channels + 3 * classes + 2) as u64;
        if self.room.is_some_and(|room| room.holds(bytes)) { self.device } else { Device::Cpu }
    }

    /// True if [`SlidingWindow::scores`] are logits.
    pub fn scores_are_logits(&self) -> bool {
        self.inference.average == Average::Logits
    }

    /// Scores above it are of regions more likely than not.
    pub fn region_threshold(&self) -> f64 {
        if self.scores_are_logits() { 0.0 } else { 0.5 }
    }

    /// Class probabilities, or logits if those are averaged: (1, classes, X, Y, Z), fp32, of an
    /// image (1, C, X, Y, Z), on the image's device.
    pub fn scores(&self, image: &Tensor) -> Tensor {
        self.scores_told(image, &nobody)
    }

    /// The same; `told` hears the windows done and all windows of all networks and flips, after
    /// each batch.
    pub fn scores_told(&self, image: &Tensor, told: &dyn Fn(u64, u64)) -> Tensor {
        no_grad(|| {
            let count = &self.count(image, told);
            if self.scores_are_logits() {
                let each = self.networks.iter().map(|network| self.flipped(network, image, count));
                return mean(each);
            }
            let passes = self.passes();
            let share = 1.0 / passes.len() as f64;
            let mut sum: Option<Tensor> = None;
            for (network, axes) in passes {
                let logits = self.logits(network, &image.flip(&axes), count).flip(&axes);
                let probabilities = match self.by_sigmoid {
                    true => logits.to_kind(Kind::Float).sigmoid() * share,
                    false => logits.softmax(1, Kind::Float) * share,
                };
                sum = Some(sum.map_or(probabilities.shallow_clone(), |sum| sum + probabilities));
            }
            sum.unwrap_or_default()
        })
    }

    /// Class indices (X, Y, Z), Uint8, on the image's device: the class of the largest probability,
    /// the first of equals.
    pub fn classes(&self, image: &Tensor) -> Tensor {
        self.outputs(image).classes()
    }

    /// What the networks say of an image: logits where these are averaged, or one network passes
    /// over the image once; else probabilities.
    pub fn outputs(&self, image: &Tensor) -> Outputs {
        no_grad(|| {
            let one = self.passes().len() == 1 && !self.scores_are_logits();
            let values = match one {
                true => self.logits(&self.networks[0], image, &self.count(image, &nobody)),
                false => self.scores(image),
            };
            Outputs { values, are_logits: one || self.scores_are_logits() }
        })
    }

    /// Every network with the axes of every flip.
    fn passes(&self) -> Vec<(&InferenceNetwork<'_>, Vec<i64>)> {
        let flips = self.flips();
        let networks = self.networks.iter();
        networks.flat_map(|net| flips.iter().map(move |axes| (net, axes.clone()))).collect()
    }

    /// The axes of every flip in (N, C, X, Y, Z).
    fn flips(&self) -> Vec<Vec<i64>> {
        let sets = self.inference.flips.sets().into_iter();
        sets.map(|axes| axes.into_iter().map(|axis| axis as i64 + 2).collect()).collect()
    }

    /// Blended logits of a network; each window is the mean over its flips.
    fn flipped(&self, network: &InferenceNetwork, image: &Tensor, count: &WindowCount) -> Tensor {
        let flips = self.flips();
        slide(image, self.roi, &self.inference, |windows| {
            let windows = windows.to_device(self.device);
            let logits = flips.iter().map(|axes| {
                let logits = network.logits(&windows.flip(&axes[..])).flip(&axes[..]);
                logits.to_kind(image.kind())
            });
            let mean = mean(logits).to_device(image.device());
            count.add(windows.size()[0] * flips.len() as i64);
            mean
        })
    }

    /// Blended logits of one network.
    fn logits(&self, network: &InferenceNetwork, image: &Tensor, count: &WindowCount) -> Tensor {
        slide(image, self.roi, &self.inference, |windows| {
            let logits = network.logits(&windows.to_device(self.device));
            let logits = logits.to_kind(image.kind()).to_device(image.device());
            count.add(windows.size()[0]);
            logits
        })
    }

    fn count<'a>(&self, image: &Tensor, told: &'a dyn Fn(u64, u64)) -> WindowCount<'a> {
        let size = [0, 1, 2].map(|axis| (image.size()[axis + 2] as usize).max(self.roi[axis]));
        let (overlap, placement) = (self.inference.overlap, self.inference.placement);
        let windows = window_starts(size, self.roi, overlap, placement).len();
        let total = (windows * self.passes().len()) as u64;
        WindowCount { done: Cell::new(0), total, told }
    }
}

/// What networks say of an image.
pub struct Outputs {
    /// (1, classes or regions, X, Y, Z), fp32, on the image's device.
    pub values: Tensor,
    /// Logits, else probabilities.
    pub are_logits: bool,
}

impl Outputs {
    /// Class indices (X, Y, Z), Uint8: the class of the largest value, the first of equals. Softmax
    /// keeps the order of logits.
    pub fn classes(&self) -> Tensor {
        no_grad(|| self.values.squeeze_dim(0).argmax(0, false).to_kind(Kind::Uint8))
    }
}

/// Windows done, of all networks and flips.
struct WindowCount<'a> {
    done: Cell<u64>,
    total: u64,
    told: &'a dyn Fn(u64, u64),
}

impl WindowCount<'_> {
    fn add(&self, windows: i64) {
        self.done.set(self.done.get() + windows as u64);
        (self.told)(self.done.get(), self.total);
    }
}

/// For callers that show no progress.
fn nobody(_: u64, _: u64) {}

/// The mean of tensors.
fn mean(tensors: impl ExactSizeIterator<Item = Tensor>) -> Tensor {
    let count = tensors.len() as f64;
    let sum = tensors.reduce(|mut sum, tensor| {
        sum += tensor;
        sum
    });
    match sum {
        Some(mut sum) if count != 1.0 => sum.g_div_scalar_(count),
        sum => sum.unwrap_or_else(Tensor::new),
    }
}

/// Slides a window over `image` (1, C, X, Y, Z) and blends the results of `predict` for batches of
/// windows. Smaller images are padded with 0 on both sides, and the result is cut back. `predict`
/// must return its result on the image's device, since the sums are kept there.
pub fn slide(
    image: &Tensor,
    roi: [usize; 3],
    inference: &Inference,
    predict: impl Fn(&Tensor) -> Tensor,
) -> Tensor {
    let size: [usize; 3] = [2, 3, 4].map(|axis| image.size()[axis] as usize);
    let before = [0, 1, 2].map(|axis| roi[axis].saturating_sub(size[axis]) / 2);
    let padded_size = [0, 1, 2].map(|axis| size[axis].max(roi[axis]));
    let image = pad(image, size, before, padded_size);
    let starts = window_starts(padded_size, roi, inference.overlap, inference.placement);
    // With a single window the weights would cancel out.
    if let [only] = starts[..] {
        return narrow(&predict(&narrow(&image, only, roi)), before, size);
    }
    let weight = window_weights(roi, inference.blend, (image.kind(), image.device()));
    let mut sum: Option<Tensor> = None;
    let options = (image.kind(), image.device());
    let count = Tensor::zeros(shape_of(1, padded_size), options);
    for group in starts.chunks(inference.batch.max(1)) {
        let windows: Vec<Tensor> = group.iter().map(|start| narrow(&image, *start, roi)).collect();
        let scores = predict(&Tensor::cat(&windows, 0)) * &weight;
        let sum = sum.get_or_insert_with(|| {
            let shape = shape_of(scores.size()[1], padded_size);
            Tensor::zeros(shape, (scores.kind(), image.device()))
        });
        for (index, start) in group.iter().enumerate() {
            let _ = narrow(sum, *start, roi).g_add_(&scores.narrow(0, index as i64, 1));
            let _ = narrow(&count, *start, roi).g_add_(&weight);
        }
    }
    // In place: the sums of many classes are the largest thing in memory.
    let mut sum = sum.unwrap_or_default();
    narrow(&sum.g_div_(&count), before, size)
}

/// The weights of a window of these sides and this blending, as numbers of a kind on a device.
struct WindowWeights {
    window: ([usize; 3], Blend),
    options: (Kind, Device),
    values: Tensor,
}

/// [`importance_map`] on a device. The last map is kept, since it serves every volume, flip and
/// network of a stage, and making it there would wait for the device each time.
fn window_weights(roi: [usize; 3], blend: Blend, options: (Kind, Device)) -> Tensor {
    static LAST: Mutex<Option<WindowWeights>> = Mutex::new(None);
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    let window = (roi, blend);
    let kept = last.as_ref().filter(|kept| (kept.window, kept.options) == (window, options));
    if let Some(kept) = kept {
        return kept.values.shallow_clone();
    }
    let (kind, device) = options;
    let values = importance_map(roi, blend).to_kind(kind).to_device(device);
    *last = Some(WindowWeights { window, options, values: values.shallow_clone() });
    values
}

/// (1, channels, X, Y, Z).
fn shape_of(channels: i64, size: [usize; 3]) -> [i64; 5] {
    let [x, y, z] = size.map(|side| side as i64);
    [1, channels, x, y, z]
}

fn narrow(tensor: &Tensor, start: [usize; 3], size: [usize; 3]) -> Tensor {
    (0..3).fold(tensor.shallow_clone(), |tensor, axis| {
        tensor.narrow(axis as i64 + 2, start[axis] as i64, size[axis] as i64)
    })
}

fn pad(image: &Tensor, size: [usize; 3], before: [usize; 3], padded: [usize; 3]) -> Tensor {
    if padded == size {
        return image.shallow_clone();
    }
    // `constant_pad_nd` wants the last axis first, and for each axis the voxels before and after.
    let mut sides = vec![];
    for axis in [2, 1, 0] {
        let after = padded[axis] - size[axis] - before[axis];
        sides.extend([before[axis] as i64, after as i64]);
    }
    image.constant_pad_nd(sides)
}

/// The first voxels of all windows, x slowest.
pub fn window_starts(
    size: [usize; 3],
    roi: [usize; 3],
    overlap: f64,
    placement: Placement,
) -> Vec<[usize; 3]> {
    let along = match placement {
        Placement::Regular => axis_starts,
        Placement::Even => even_starts,
    };
    let [x, y, z] = [0, 1, 2].map(|axis| along(size[axis], roi[axis], overlap));
    let mut starts = vec![];
    for &x in &x {
        for &y in &y {
            starts.extend(z.iter().map(|&z| [x, y, z]));
        }
    }
    starts
}

/// Neighbours are ⌊roi·(1 − overlap)⌋ voxels apart; the last window is moved back to end with the
/// image.
fn axis_starts(size: usize, roi: usize, overlap: f64) -> Vec<usize> {
    let interval = if roi == size { roi } else { ((roi as f64 * (1.0 - overlap)) as usize).max(1) };
    let count = (size - roi).div_ceil(interval) + 1;
    (0..count).map(|index| (index * interval).min(size - roi)).collect()
}

/// As many windows as steps of at most roi·(1 − overlap) need, evenly spread, positions rounded
/// with halves to even.
fn even_starts(size: usize, roi: usize, overlap: f64) -> Vec<usize> {
    let room = (size - roi) as f64;
    let steps = (room / (roi as f64 * (1.0 - overlap))).ceil();
    (0..=steps as usize)
        .map(|index| match index {
            0 => 0,
            _ => (room / steps * index as f64).round_ties_even() as usize,
        })
        .collect()
}

/// nnU-Net's weights (1, 1, X, Y, Z): the impulse at voxel side/2 through a Gaussian filter with
/// σ = side/8 that ends at 4σ, with the peak 10, in 16 bits; zeros become the smallest other value.
fn nnunet_importance_map(roi: [usize; 3]) -> Tensor {
    let options = (Kind::Double, Device::Cpu);
    let [x, y, z] = [0, 1, 2].map(|axis| {
        let sigma = roi[axis] as f64 / 8.0;
        let radius = (4.0 * sigma + 0.5).floor();
        let mut shape = [1i64; 5];
        shape[axis + 2] = roi[axis] as i64;
        let offset = Tensor::arange(roi[axis] as i64, options) - (roi[axis] / 2) as f64;
        let inside = offset.abs().le(radius).to_kind(Kind::Double);
        ((offset.square() / (-2.0 * sigma * sigma)).exp() * inside).reshape(shape)
    });
    let map = (x * y * z * 10.0).to_kind(Kind::Half).to_kind(Kind::Float);
    let zero = map.eq(0.0);
    let least = map.masked_fill(&zero, f64::INFINITY).min();
    map.where_self(&zero.logical_not(), &least)
}

/// A window's voxel weights (1, 1, X, Y, Z): 1, or a Gaussian with σ = side/8, at least 0.001.
fn importance_map(roi: [usize; 3], blend: Blend) -> Tensor {
    let options = (Kind::Float, Device::Cpu);
    match blend {
        Blend::Constant => return Tensor::ones(shape_of(1, roi), options),
        Blend::GaussianNnunet => return nnunet_importance_map(roi),
        Blend::Gaussian => {}
    }
    // The Gaussian is the product of one along each axis.
    let [x, y, z] = [0, 1, 2].map(|axis| {
        let sigma = roi[axis] as f64 * 0.125;
        let centre = (roi[axis] as f64 - 1.0) / 2.0;
        let mut shape = [1i64; 5];
        shape[axis + 2] = roi[axis] as i64;
        let offset = Tensor::arange(roi[axis] as i64, options) - centre;
        (offset.square() / (-2.0 * sigma * sigma)).exp().reshape(shape)
    });
    let map = x * y * z;
    let least = map.min().double_value(&[]).max(1e-3);
    map.clamp_min(least)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_cover_the_image_and_the_last_ends_with_it() {
        assert_eq!(
            window_starts([10, 4, 4], [4, 4, 4], 0.5, Placement::Regular),
            [[0, 0, 0], [2, 0, 0], [4, 0, 0], [6, 0, 0]]
        );
        assert_eq!(
            window_starts([9, 4, 4], [4, 4, 4], 0.25, Placement::Regular),
            [[0, 0, 0], [3, 0, 0], [5, 0, 0]]
        );
        assert_eq!(even_starts(110, 64, 0.5), [0, 23, 46]);
        assert_eq!(even_starts(64, 64, 0.5), [0]);
    }

    #[test]
    fn windows_are_counted_as_they_are_done() {
        let last = Cell::new((0, 0));
        let told = |done: u64, total: u64| last.set((done, total));
        let count = WindowCount { done: Cell::new(0), total: 6, told: &told };
        count.add(4);
        assert_eq!(last.get(), (4, 6));
        count.add(2);
        assert_eq!(last.get(), (6, 6));
    }

    #[test]
    fn a_predictor_that_repeats_its_window_gives_the_image_back_whatever_its_size() {
        let image = Tensor::randn([1, 1, 7, 3, 12], (Kind::Float, Device::Cpu));
        for blend in [Blend::Constant, Blend::Gaussian, Blend::GaussianNnunet] {
            let placement =
                if blend == Blend::Gaussian { Placement::Even } else { Placement::Regular };
            let inference = Inference { blend, placement, ..Inference::default() };
            let found = slide(&image, [4, 4, 4], &inference, Tensor::shallow_clone);
            assert!((found - &image).abs().max().double_value(&[]) < 1e-6);
        }
    }
}
