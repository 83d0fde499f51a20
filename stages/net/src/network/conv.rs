//! Convolutions: by libtorch, or by `small_conv` for few channels on the processor.

use super::pass::Pass;
use super::small_conv::{self, ConvGeometry};
use crate::amp::has_convolutions;
use tch::{Kind, Tensor};
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
        let x = if has_convolutions(pass.compute, x.device()) {
            self.convolve(x, &weight, bias.as_ref())
        } else {
            let [x, weight] = [x, &weight].map(|tensor| tensor.to_kind(Kind::Float));
            let bias = bias.map(|bias| bias.to_kind(Kind::Float));
            self.convolve(&x, &weight, bias.as_ref()).to_kind(pass.compute)
        };
        if self.channels_first { x.contiguous() } else { x }
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
    use super::*;
    use tch::Device;
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
}
