//! Convolutions: by libtorch, or by `small_conv` for few channels on the processor.

use super::pass::Pass;
use super::small_conv::{self, ConvGeometry};
use crate::amp::has_convolutions;
use tch::{Device, Kind, Tensor};
use voxflow_stages::model::graph::{self, Node, Op};

/// Results of fewer channels are laid out channels first.
const FEW: u32 = 8;

/// Kernels up to this have right gradients in fp32 on any image.
const LONGEST_SAFE: i64 = 3;
/// Kernels up to this have right gradients in fp32 at strides above 1.
const LONGEST_STRIDED: i64 = 5;

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

    /// Weight and bias.
    pub(super) fn weights(&self) -> impl Iterator<Item = &Tensor> {
        std::iter::once(&self.weight).chain(&self.bias)
    }

    /// The convolution with the next tensors as weight and bias.
    pub(super) fn with_weights(&self, mut next: impl FnMut() -> Tensor) -> ConvStep {
        let weight = next();
        let bias = self.bias.as_ref().map(|_| next());
        ConvStep { weight, bias, ..*self }
    }

    /// Values and weights are rounded to `pass.compute`. If that is not the kind to sum in, they
    /// are widened, and the sum is rounded, as 16-bit convolutions do internally.
    pub(super) fn forward(&self, x: &Tensor, pass: Pass) -> Tensor {
        let weight = self.weight.to_kind(pass.compute);
        let bias = self.bias.as_ref().map(|bias| bias.to_kind(pass.compute));
        let kind = self.summing_kind(x, pass);
        let x = if kind == pass.compute {
            self.convolve(x, &weight, bias.as_ref())
        } else {
            let [x, weight] = [x, &weight].map(|tensor| tensor.to_kind(kind));
            let bias = bias.map(|bias| bias.to_kind(kind));
            self.convolve(&x, &weight, bias.as_ref()).to_kind(pass.compute)
        };
        if self.channels_first { x.contiguous() } else { x }
    }

    /// The kind in which products are summed: `pass.compute` where libtorch's convolution is right.
    ///
    /// On the processor, weight gradients of oneDNN contain memory that was never written (garbage,
    /// and different in every run) or are written past their end in three cases: in 16 bits, where
    /// the kernel is longer than the image along an axis; in fp32, the same with kernels above 3;
    /// and kernels above 5 with a stride, on any image. In fp64 libtorch has convolutions of its
    /// own, which are slow.
    fn summing_kind(&self, x: &Tensor, pass: Pass) -> Kind {
        let on_processor = x.device() == Device::Cpu;
        let kernel = &self.weight.size()[2..];
        let exceeds = x.size().iter().skip(2).zip(kernel).any(|(side, kernel)| side < kernel);
        let is_long = kernel.iter().any(|side| *side > LONGEST_SAFE);
        let leaps = kernel.iter().zip(self.geometry.stride);
        let leaps = leaps.into_iter().any(|(side, stride)| *side > LONGEST_STRIDED && stride > 1);
        let is_half = matches!(pass.compute, Kind::BFloat16 | Kind::Half);
        let is_native = has_convolutions(pass.compute, x.device());
        match pass.compute {
            Kind::Float | Kind::BFloat16 | Kind::Half
                if on_processor && pass.training && (leaps || (exceeds && is_long)) =>
            {
                Kind::Double
            }
            _ if is_half && (!is_native || (on_processor && exceeds)) => Kind::Float,
            other => other,
        }
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

    /// The largest deviation of a convolution and its gradients from those in double precision,
    /// relative to the largest value of each.
    fn deviation(conv: &graph::Conv, [inputs, outputs]: [i64; 2], sides: [i64; 3]) -> f64 {
        let random = |size: &[i64]| Tensor::randn(size, (Kind::Float, Device::Cpu)) * 0.2;
        let channels =
            if conv.transposed.is_some() { [inputs, outputs] } else { [outputs, inputs] };
        let kernel = conv.kernel.map(i64::from);
        let weight = channels_last(&random(&[&channels[..], &kernel].concat()));
        let image = channels_last(&random(&[&[2, inputs][..], &sides].concat()));
        let bias = random(&[outputs]);
        let mut graph = Graph::new(inputs as u32);
        let node = graph.conv("conv", Graph::INPUT, outputs as u32, conv.clone());
        let [wanted, found] = [Kind::Double, Kind::Float].map(|compute| {
            poison_freed_memory();
            let [weight, bias, image] = [&weight, &bias, &image]
                .map(|tensor| tensor.to_kind(compute).detach().set_requires_grad(true));
            let tensors = [weight.shallow_clone(), bias.shallow_clone()];
            let step = ConvStep::new(&graph.nodes[node.0], conv, &tensors);
            let out = step.forward(&image, Pass { training: true, compute, part: None });
            let loss = out.square().sum(Kind::Double);
            let mut all = Tensor::run_backward(&[loss], &[&weight, &bias, &image], false, false);
            all.push(out);
            all.into_iter().map(|tensor| tensor.to_kind(Kind::Double)).collect::<Vec<_>>()
        });
        let relative = wanted.iter().zip(&found).map(|(wanted, found)| {
            ((found - wanted).abs().max() / wanted.abs().max()).double_value(&[])
        });
        // NaN counts as the worst.
        relative.fold(0.0, |worst, off| if off <= worst { worst } else { off.max(1e-9) })
    }

    #[test]
    fn long_kernels_on_small_images_have_right_gradients_in_single_precision() {
        for (kernel, stride) in [(5, 1), (5, 2), (7, 1), (7, 2), (9, 3)] {
            let same = graph::Conv::same([kernel; 3], [stride; 3]);
            let padding = Some([stride - 1; 3]);
            for conv in [same.clone(), graph::Conv { transposed: padding, ..same }] {
                for channels in [[1, 4], [8, 10]] {
                    for sides in [[4, 1, 4], [4, 4, 1], [1, 4, 4], [4, 4, 2], [1, 1, 1], [3, 5, 4]]
                    {
                        let off = deviation(&conv, channels, sides);
                        assert!(off < 1e-4, "{kernel}, {stride}, {channels:?}, {sides:?}: {off}");
                    }
                }
            }
        }
    }

    #[test]
    fn images_as_long_as_the_kernel_have_right_gradients_in_single_precision() {
        for (kernel, stride, sides) in [
            (3, 1, [3, 3, 3]),
            (3, 2, [4, 3, 5]),
            (5, 1, [5, 5, 5]),
            (5, 2, [6, 5, 7]),
            (7, 1, [7, 7, 7]),
            (7, 2, [7, 8, 9]),
        ] {
            let conv = graph::Conv::same([kernel; 3], [stride; 3]);
            for channels in [[1, 4], [8, 10]] {
                let off = deviation(&conv, channels, sides);
                assert!(off < 1e-4, "{kernel}, {stride}, {channels:?}, {sides:?}: {off}");
            }
        }
    }
}
