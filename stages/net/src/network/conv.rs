//! Convolutions, by libtorch or, to few channels on the processor, by `small_conv`.

use super::{Pass, small_conv};
use crate::amp::has_convolutions;
use tch::{Kind, Tensor};
use voxflow_stages::model::graph::{self, Node, Op};

/// Fewer output channels than this are laid out channels first.
const FEW: u32 = 8;

/// True if the node is a convolution whose weight is laid out with channels last.
pub(super) fn is_channels_last(node: &Node) -> bool {
    match &node.op {
        Op::Conv(conv) => node.channels >= FEW || conv.transposed.is_some(),
        _ => false,
    }
}

/// Sides of a convolution along x, y, z.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Geometry {
    pub(super) stride: [i64; 3],
    pub(super) padding: [i64; 3],
    /// Output padding of a transposed convolution.
    pub(super) transposed: Option<[i64; 3]>,
}

#[derive(Debug)]
pub(super) struct Conv {
    weight: Tensor,
    bias: Option<Tensor>,
    geometry: Geometry,
    few: bool,
}

impl Conv {
    /// Of a node with its tensors.
    pub(super) fn new(node: &Node, conv: &graph::Conv, tensors: &[Tensor]) -> Conv {
        let geometry = Geometry {
            stride: conv.stride.map(i64::from),
            padding: conv.padding.map(i64::from),
            transposed: conv.transposed.map(|padding| padding.map(i64::from)),
        };
        Conv {
            weight: tensors[0].shallow_clone(),
            bias: tensors.get(1).map(Tensor::shallow_clone),
            geometry,
            few: node.channels < FEW,
        }
    }

    /// Where the device has no convolutions of `pass.compute`, the same rounded values are
    /// multiplied and summed in fp32, and the sum is rounded: what convolutions in 16 bits do
    /// inside.
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
        if self.few { x.contiguous() } else { x }
    }

    fn convolve(&self, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Tensor {
        if let Some(bias) = bias
            && let Some(found) = small_conv::convolve(x, weight, bias, self.geometry)
        {
            return found;
        }
        let Geometry { stride, padding, transposed } = self.geometry;
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
        let conv = Conv::new(&graph.nodes[node.0], &shape, &tensors);
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
