//! The sliding window, as MONAI's `sliding_window_inference`, and averages over models and flips.

use crate::memory;
use crate::network::{GraphNetwork, Pass};
use tch::{Device, Kind, Tensor, no_grad};
use voxflow_stages::model::{Blend, Inference};

/// A network and how it is slid over volumes.
pub struct Slider<'a> {
    /// The networks; their probabilities are averaged.
    pub networks: Vec<&'a GraphNetwork>,
    /// The settings; `roi` must be set.
    pub inference: Inference,
    /// Sides of the window.
    pub roi: [usize; 3],
    /// Where the networks live.
    pub device: Device,
    /// The numbers convolutions compute in.
    pub compute: Kind,
}

impl Slider<'_> {
    /// Where a volume of these voxels and channels is best kept while windows slide over it: on the
    /// networks' device where a part of its free memory holds the image and all sums, else on the
    /// processor.
    pub fn home(&self, voxels: usize, channels: usize, classes: usize) -> Device {
        const SHARE: u64 = 4;
        // The image; for the classes the sum, its quotient, and a copy while flips are averaged.
        let bytes = voxels as u64 * 4 * (channels + 3 * classes + 2) as u64;
        let fits = memory::of(self.device).is_some_and(|memory| bytes <= memory.free / SHARE);
        if fits { self.device } else { Device::Cpu }
    }

    /// Class probabilities (1, classes, X, Y, Z), fp32, of an image (1, C, X, Y, Z); where the
    /// image is.
    pub fn probabilities(&self, image: &Tensor) -> Tensor {
        no_grad(|| {
            let passes = self.passes();
            let share = 1.0 / passes.len() as f64;
            let mut sum: Option<Tensor> = None;
            for (network, axes) in passes {
                let logits = self.logits(network, &image.flip(&axes)).flip(&axes);
                let probabilities = logits.softmax(1, Kind::Float) * share;
                sum = Some(sum.map_or(probabilities.shallow_clone(), |sum| sum + probabilities));
            }
            sum.unwrap_or_default()
        })
    }

    /// Label indices (X, Y, Z), Uint8, where the image is: the class of the largest probability,
    /// the first where several are largest.
    pub fn classes(&self, image: &Tensor) -> Tensor {
        no_grad(|| {
            let one = self.passes().len() == 1;
            let scores =
                if one { self.logits(self.networks[0], image) } else { self.probabilities(image) };
            scores.squeeze_dim(0).argmax(0, false).to_kind(Kind::Uint8)
        })
    }

    /// Every network with every flip.
    fn passes(&self) -> Vec<(&GraphNetwork, Vec<i64>)> {
        let flips = if self.inference.flips { 8 } else { 1 };
        let axes = |mask: u32| {
            (0..3).filter(|axis| mask >> axis & 1 == 1).map(|axis| axis + 2).collect::<Vec<i64>>()
        };
        self.networks
            .iter()
            .flat_map(|network| (0..flips).map(move |mask| (*network, axes(mask))))
            .collect()
    }

    /// Blended logits of one network.
    fn logits(&self, network: &GraphNetwork, image: &Tensor) -> Tensor {
        let pass = Pass { training: false, compute: self.compute };
        let predict = |windows: &Tensor| {
            let windows = windows.to_device(self.device);
            network.logits(&windows, pass).to_kind(image.kind()).to_device(image.device())
        };
        slide(image, self.roi, &self.inference, predict)
    }
}

/// Slides a window over `image` (1, C, X, Y, Z) and blends what `predict` says of batches of
/// windows. Images smaller than the window are padded with 0 on both sides, and the result is cut
/// back. Sums are kept where the image is, and so must be what `predict` gives.
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
    let starts = starts(padded_size, roi, inference.overlap);
    let window = |tensor: &Tensor, start: [usize; 3]| narrow(tensor, start, roi);
    if let [only] = starts[..] {
        return narrow(&predict(&window(&image, only)), before, size);
    }
    let weight = importance(roi, inference.blend).to_kind(image.kind()).to_device(image.device());
    let mut sum: Option<Tensor> = None;
    let count = Tensor::zeros(
        [1, 1].into_iter().chain(sides(padded_size)).collect::<Vec<i64>>(),
        (image.kind(), image.device()),
    );
    for group in starts.chunks(inference.batch.max(1)) {
        let windows: Vec<Tensor> = group.iter().map(|start| window(&image, *start)).collect();
        let scores = predict(&Tensor::cat(&windows, 0)) * &weight;
        let sum = sum.get_or_insert_with(|| {
            let shape: Vec<i64> =
                [1, scores.size()[1]].into_iter().chain(sides(padded_size)).collect();
            Tensor::zeros(shape, (scores.kind(), image.device()))
        });
        for (index, start) in group.iter().enumerate() {
            let _ = window(sum, *start).g_add_(&scores.narrow(0, index as i64, 1));
            let _ = window(&count, *start).g_add_(&weight);
        }
    }
    narrow(&(sum.unwrap_or_default() / count), before, size)
}

fn sides(size: [usize; 3]) -> [i64; 3] {
    size.map(|side| side as i64)
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
    let after = |axis: usize| (padded[axis] - size[axis] - before[axis]) as i64;
    let sides: Vec<i64> =
        [2, 1, 0].into_iter().flat_map(|axis| [before[axis] as i64, after(axis)]).collect();
    image.constant_pad_nd(sides)
}

/// The first voxels of all windows, x slowest. Neighbours are ⌊roi·(1 − overlap)⌋ apart; the last
/// one is moved back to end with the image.
pub fn starts(size: [usize; 3], roi: [usize; 3], overlap: f64) -> Vec<[usize; 3]> {
    let along = |axis: usize| -> Vec<usize> {
        let (size, roi) = (size[axis], roi[axis]);
        let interval =
            if roi == size { roi } else { ((roi as f64 * (1.0 - overlap)) as usize).max(1) };
        let count = (size - roi).div_ceil(interval) + 1;
        (0..count).map(|index| (index * interval).min(size - roi)).collect()
    };
    let [x, y, z] = [along(0), along(1), along(2)];
    x.iter().flat_map(|&x| y.iter().flat_map(move |&y| [(x, y)]).collect::<Vec<_>>()).fold(
        vec![],
        |mut all, (x, y)| {
            all.extend(z.iter().map(|&z| [x, y, z]));
            all
        },
    )
}

/// A window's weights (1, 1, X, Y, Z): 1, or a Gaussian of sigma = side/8, not below a thousandth.
fn importance(roi: [usize; 3], blend: Blend) -> Tensor {
    let options = (Kind::Float, Device::Cpu);
    if blend == Blend::Constant {
        return Tensor::ones([1, 1].into_iter().chain(sides(roi)).collect::<Vec<i64>>(), options);
    }
    let along = |axis: usize| {
        let (side, sigma) = (roi[axis] as f64, roi[axis] as f64 * 0.125);
        let mut shape = [1i64; 5];
        shape[axis + 2] = roi[axis] as i64;
        let place = Tensor::arange(roi[axis] as i64, options) - (side - 1.0) / 2.0;
        (place.square() / (-2.0 * sigma * sigma)).exp().reshape(shape)
    };
    let map = along(0) * along(1) * along(2);
    let least = map.min().double_value(&[]).max(1e-3);
    map.clamp_min(least)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_cover_the_image_and_the_last_ends_with_it() {
        assert_eq!(
            starts([10, 4, 4], [4, 4, 4], 0.5),
            [[0, 0, 0], [2, 0, 0], [4, 0, 0], [6, 0, 0]]
        );
        assert_eq!(starts([9, 4, 4], [4, 4, 4], 0.25), [[0, 0, 0], [3, 0, 0], [5, 0, 0]]);
    }

    #[test]
    fn a_predictor_that_repeats_its_window_gives_the_image_back_whatever_its_size() {
        let image = Tensor::randn([1, 1, 7, 3, 12], (Kind::Float, Device::Cpu));
        for blend in [Blend::Constant, Blend::Gaussian] {
            let inference = Inference { blend, ..Inference::default() };
            let found = slide(&image, [4, 4, 4], &inference, Tensor::shallow_clone);
            assert!((found - &image).abs().max().double_value(&[]) < 1e-6);
        }
    }
}
