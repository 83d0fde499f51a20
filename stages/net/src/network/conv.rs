//! Convolutions: by libtorch, or by `small_conv` for few channels on the processor.

use super::pass::Pass;
use super::small_conv::{self, ConvGeometry};
use crate::amp::has_convolutions;
use tch::{Device, Kind, Tensor};
use voxflow_stages::model::graph::{self, Node, Op};

/// Results of fewer channels are laid out channels first.
const FEW: u32 = 8;

/// True if the node is a convolution with a channels-last weight.
pub(super) fn is_channels_last(node: &Node) -> bool {
    match &node.op {
        Op::Conv(conv) => node.channels >= FEW || conv.transposed.is_some(),
        _ => false,
    }
}

#[derive(Debug)]
pub(super) struct ConvStep {
    weight: Tensor,
    bias: Option<Tensor>,
    geometry: ConvGeometry,
    channels_first: bool,
}

impl ConvStep {
    /// The convolution of a node with its tensors.
    pub(super) fn new(node: &Node, conv: &graph::Conv, tensors: &[Tensor]) -> ConvStep {
        let geometry = ConvGeometry {
            stride: conv.stride.map(i64::from),
            padding: conv.padding.map(i64::from),
            transposed: conv.transposed.map(|padding| padding.map(i64::from)),
        };
        ConvStep {
            weight: tensors[0].shallow_clone(),
            bias: tensors.get(1).map(Tensor::shallow_clone),
            geometry,
            channels_first: node.channels < FEW,
        }
    }

    /// If the device has no convolutions in `pass.compute`, the rounded values are multiplied and
    /// summed in fp32 and the sum is rounded, as 16-bit convolutions do internally.
    pub(super) fn forward(&self, x: &Tensor, pass: Pass) -> Tensor {
        let weight = self.weight.to_kind(pass.compute);
        let bias = self.bias.as_ref().map(|bias| bias.to_kind(pass.compute));
        let is_fast = has_convolutions(pass.compute, x.device()) && !self.exceeds(x, pass.compute);
        let x = if is_fast {
            self.convolve(x, &weight, bias.as_ref())
        } else {
            let [x, weight] = [x, &weight].map(|tensor| tensor.to_kind(Kind::Float));
            let bias = bias.map(|bias| bias.to_kind(Kind::Float));
            self.convolve(&x, &weight, bias.as_ref()).to_kind(pass.compute)
        };
        if self.channels_first { x.contiguous() } else { x }
    }

    /// True if the kernel is longer than the image along an axis, in 16 bits on the processor. Such
    /// weight gradients of oneDNN (seen with bf16, stride 1, two voxels along x and a kernel of 3)
    /// contain memory that was never written: garbage, and different in every run.
    fn exceeds(&self, x: &Tensor, compute: Kind) -> bool {
        let mut sides = x.size().into_iter().zip(self.weight.size()).skip(2);
        x.device() == Device::Cpu
            && matches!(compute, Kind::BFloat16 | Kind::Half)
            && sides.any(|(side, kernel)| side < kernel)
    }

    fn convolve(&self, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Tensor {
        if let Some(bias) = bias
            && let Some(found) = small_conv::convolve(x, weight, bias, self.geometry)
        {
            return found;
        }
        let ConvGeometry { stride, padding, transposed } = self.geometry;
        match transposed {
            None => x.conv3d(weight, bias, stride, padding, [1, 1, 1], 1),
            Some(output_padding) => {
                x.conv_transpose3d(weight, bias, stride, padding, output_padding, 1, [1, 1, 1])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::channels_last;
    use super::*;
    use voxflow_stages::model::graph::Graph;

    /// The same products and sums: what differs is the order of the sums, which may turn the last
    /// bit.
    #[test]
    fn a_convolution_of_rounded_values_is_the_convolution_in_sixteen_bits_with_its_gradients() {
        let mut graph = Graph::new(1);
        let shape = graph::Conv::same([3; 3], [2; 3]);
        let node = graph.conv("conv", Graph::INPUT, 16, shape.clone());
        let random = |size: &[i64]| Tensor::randn(size, (Kind::Float, Device::Cpu));
        let tensors = [random(&[16, 1, 3, 3, 3]) * 0.2, random(&[16]) * 0.2];
        let conv = ConvStep::new(&graph.nodes[node.0], &shape, &tensors);
        for (compute, last_bit) in [(Kind::BFloat16, 1.0 / 128.0), (Kind::Half, 1.0 / 1024.0)] {
            let image = random(&[1, 1, 8, 8, 8]).set_requires_grad(true);
            let rounded = |wide: bool| {
                let kinds: &[Kind] = if wide { &[compute, Kind::Float] } else { &[compute] };
                let [x, weight, bias] = [&image, &tensors[0], &tensors[1]].map(|tensor| {
                    kinds.iter().fold(tensor.shallow_clone(), |tensor, kind| tensor.to_kind(*kind))
                });
                let out = conv.convolve(&x, &weight, Some(&bias)).to_kind(compute);
                let gradient =
                    Tensor::run_backward(&[out.square().sum(Kind::Float)], &[&image], false, false);
                [out.to_kind(Kind::Float), gradient[0].to_kind(Kind::Float)]
            };
            for (wide, native) in rounded(true).into_iter().zip(rounded(false)) {
                let off = ((wide - &native).abs()
                    / (native.abs() + native.abs().mean(Kind::Float)))
                .max();
                assert!(off.double_value(&[]) <= 2.0 * last_bit, "{compute:?}: {off:?}");
            }
        }
    }

    /// Fills freed memory with NaN, so that memory that is read before it is written shows.
    fn poison_freed_memory() {
        let sizes = (0..18).map(|power| 1i64 << power);
        let options = (Kind::Float, Device::Cpu);
        let all: Vec<Tensor> = sizes
            .flat_map(|size| (0..8).map(move |_| Tensor::full([size], f64::NAN, options)))
            .collect();
        drop(all);
    }

    #[test]
    fn gradients_in_bf16_repeat_and_are_right_where_the_kernel_is_longer_than_the_image() {
        let mut graph = Graph::new(8);
        let shape = graph::Conv::same([3; 3], [1; 3]);
        let node = graph.conv("conv", Graph::INPUT, 10, shape.clone());
        let random = |size: &[i64]| Tensor::randn(size, (Kind::Float, Device::Cpu)) * 0.2;
        let weight = channels_last(&random(&[10, 8, 3, 3, 3])).set_requires_grad(true);
        let tensors = [weight.shallow_clone(), random(&[10])];
        let conv = ConvStep::new(&graph.nodes[node.0], &shape, &tensors);
        for sides in [[2, 12, 12], [12, 2, 12], [12, 12, 2], [1, 2, 2], [4, 4, 4]] {
            let image = channels_last(&random(&[[2, 8].as_slice(), &sides].concat()));
            let gradient = |compute: Kind| {
                poison_freed_memory();
                let image = image.to_kind(compute);
                let out = conv.forward(&image, Pass::training(compute));
                let loss = out.to_kind(Kind::Float).square().sum(Kind::Float);
                Tensor::run_backward(&[loss], &[&weight], false, false).remove(0)
            };
            let (wanted, found) = (gradient(Kind::Float), gradient(Kind::BFloat16));
            let off = ((&found - &wanted).abs().max() / wanted.abs().max()).double_value(&[]);
            assert!(off < 0.02, "{sides:?}: {off}");
            (0..5).for_each(|_| assert!(gradient(Kind::BFloat16).equal(&found), "{sides:?}"));
        }
    }
}
