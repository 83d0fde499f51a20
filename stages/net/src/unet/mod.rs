//! MONAI's `UNet` in three dimensions, with its parameter names, as libtorch operations.
//!
//! Tensors are (N, C, X, Y, Z). Memory is laid out with channels last where there are several,
//! which the processor and tensor cores like, and with channels first where there are few (the
//! classes at the top), since norms and activations over three interleaved values are six times as
//! slow. Shapes do not show it.

mod activation;
mod builder;
mod few;

use crate::amp::has_convolutions;
use activation::After;
use builder::Builder;
use tch::{Device, Kind, Tensor};
use voxflow_stages::model::{Network, layers};

/// What a tensor of the network is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Learned.
    Weight,
    /// A convolution's bias directly before a norm: learned, but the norm takes out what it adds,
    /// so its gradient is zero but for rounding.
    Quiet,
    /// A norm's running statistic: not learned.
    Statistic,
}

/// A named tensor of the network.
#[derive(Debug)]
pub struct Parameter {
    /// MONAI's name.
    pub name: String,
    /// The values; the network's layers share them.
    pub tensor: Tensor,
    /// What it is for.
    pub role: Role,
}

/// How a forward pass is made.
#[derive(Clone, Copy, Debug)]
pub struct Pass {
    /// Norms use (and update) the batch's statistics, dropout drops.
    pub training: bool,
    /// The numbers convolutions compute in.
    pub compute: Kind,
}

/// The network.
#[derive(Debug)]
pub struct Unet {
    top: Level,
    parameters: Vec<Parameter>,
}

impl Unet {
    /// A network of `inputs` channels and `outputs` classes with initial values of `seed`.
    /// `kind` is Float, or Double for comparisons.
    pub fn new(
        network: &Network,
        inputs: usize,
        outputs: usize,
        seed: u64,
        kind: Kind,
        device: Device,
    ) -> Unet {
        Unet::of_layers(&network.layers(inputs, outputs), seed, kind, device, &|_| false)
    }

    /// The same of layers. Batch norms whose statistics are `frozen` keep them, and normalise by
    /// them in training too.
    pub fn of_layers(
        layers: &layers::Level,
        seed: u64,
        kind: Kind,
        device: Device,
        frozen: &dyn Fn(&str) -> bool,
    ) -> Unet {
        let mut builder = Builder::new(seed, kind, device, frozen);
        let top = builder.level(layers);
        Unet { top, parameters: builder.parameters() }
    }

    /// Logits (N, classes, X, Y, Z) of images (N, C, X, Y, Z); sides are multiples of the strides'
    /// product.
    pub fn forward(&self, images: &Tensor, pass: Pass) -> Tensor {
        self.top.forward(&images.to_kind(pass.compute), pass)
    }

    /// Every tensor, in the order of MONAI's `state_dict`.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// The number of learned values.
    pub fn count(&self) -> usize {
        let learned = self.parameters.iter().filter(|parameter| parameter.role != Role::Statistic);
        learned.map(|parameter| parameter.tensor.numel()).sum()
    }
}

/// The same values, laid out with channels last in memory.
pub fn channels_last(tensor: &Tensor) -> Tensor {
    tensor.permute([0, 2, 3, 4, 1]).contiguous().permute([0, 4, 1, 2, 3])
}

#[derive(Debug)]
struct Conv {
    weight: Tensor,
    bias: Tensor,
    stride: [i64; 3],
    padding: [i64; 3],
    transposed: bool,
    few: bool,
}

impl Conv {
    /// Fewer output channels than this are laid out channels first.
    const FEW: i64 = 8;

    /// Where the device has no convolutions of `pass.compute`, the same rounded values are
    /// multiplied and summed in fp32, and the sum is rounded: what convolutions in 16 bits do
    /// inside.
    fn forward(&self, x: &Tensor, pass: Pass) -> Tensor {
        let (weight, bias) = (self.weight.to_kind(pass.compute), self.bias.to_kind(pass.compute));
        let x = if has_convolutions(pass.compute, x.device()) {
            self.convolve(x, &weight, &bias)
        } else {
            let [x, weight, bias] = [x, &weight, &bias].map(|tensor| tensor.to_kind(Kind::Float));
            self.convolve(&x, &weight, &bias).to_kind(pass.compute)
        };
        if self.few { x.contiguous() } else { x }
    }

    fn convolve(&self, x: &Tensor, weight: &Tensor, bias: &Tensor) -> Tensor {
        if self.transposed && few::suits_transposed(x, weight, self.stride) {
            few::transposed(x, weight, bias)
        } else if self.transposed {
            let output_padding = self.stride.map(|step| step - 1);
            x.conv_transpose3d(
                weight,
                Some(bias),
                self.stride,
                self.padding,
                output_padding,
                1,
                [1, 1, 1],
            )
        } else if few::suits(x, weight, self.stride) {
            few::convolve(x, weight, bias)
        } else {
            x.conv3d(weight, Some(bias), self.stride, self.padding, [1, 1, 1], 1)
        }
    }
}

#[derive(Debug)]
struct Convolution {
    conv: Conv,
    after: Option<After>,
}

impl Convolution {
    /// With `added` to what comes out.
    fn forward(&self, x: &Tensor, added: Option<&Tensor>, pass: Pass) -> Tensor {
        let x = self.conv.forward(x, pass);
        match (&self.after, added) {
            (Some(after), _) => after.forward(&x, added, pass),
            (None, Some(added)) => x + added,
            (None, None) => x,
        }
    }
}

/// Convolutions in a row, and the input added to their output, through `residual` where shapes
/// differ.
#[derive(Debug)]
struct Residual {
    units: Vec<Convolution>,
    residual: Option<Conv>,
}

impl Residual {
    fn forward(&self, x: &Tensor, pass: Pass) -> Tensor {
        let skipped =
            self.residual.as_ref().map_or_else(|| x.shallow_clone(), |conv| conv.forward(x, pass));
        let last = self.units.len().saturating_sub(1);
        let units = self.units.iter().enumerate();
        units.fold(x.shallow_clone(), |x, (at, unit)| {
            unit.forward(&x, (at == last).then_some(&skipped), pass)
        })
    }
}

#[derive(Debug)]
enum Block {
    Plain(Convolution),
    Residual(Residual),
}

impl Block {
    fn forward(&self, x: &Tensor, pass: Pass) -> Tensor {
        match self {
            Block::Plain(convolution) => convolution.forward(x, None, pass),
            Block::Residual(residual) => residual.forward(x, pass),
        }
    }
}

#[derive(Debug)]
enum Below {
    Level(Box<Level>),
    Bottom(Block),
}

/// Down, what lies below beside the skip connection, and up again.
#[derive(Debug)]
struct Level {
    down: Block,
    below: Below,
    up: Convolution,
    up_residual: Option<Residual>,
}

impl Level {
    fn forward(&self, x: &Tensor, pass: Pass) -> Tensor {
        let down = self.down.forward(x, pass);
        let below = match &self.below {
            Below::Level(level) => level.forward(&down, pass),
            Below::Bottom(block) => block.forward(&down, pass),
        };
        let up = self.up.forward(&Tensor::cat(&[down, below], 1), None, pass);
        self.up_residual
            .as_ref()
            .map_or_else(|| up.shallow_clone(), |residual| residual.forward(&up, pass))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use voxflow_stages::model::{Norm, PerAxis};

    fn unet(network: &Network, outputs: usize) -> Unet {
        Unet::new(network, 1, outputs, 0, Kind::Float, Device::Cpu)
    }

    #[test]
    fn the_reference_networks_have_their_published_numbers_of_parameters() {
        assert_eq!(unet(&Network::default(), 2).count(), 4_808_917);
        let wide = Network { channels: vec![32, 64, 128, 256, 512], ..Network::default() };
        assert_eq!(unet(&wide, 2).count(), 19_221_797);
    }

    #[test]
    fn logits_have_the_shape_of_the_image_whatever_the_strides_and_units() {
        let strides = vec![PerAxis::Each([2, 2, 1]), PerAxis::All(2)];
        let small = Network { channels: vec![4, 6, 8], strides, ..Network::default() };
        let image = Tensor::zeros([2, 1, 8, 12, 6], (Kind::Float, Device::Cpu));
        for residual_units in [0, 1, 3] {
            for norm in [Norm::Batch, Norm::Instance] {
                let network = Network { residual_units, norm, ..small.clone() };
                let logits = unet(&network, 3)
                    .forward(&image, Pass { training: true, compute: Kind::Float });
                assert_eq!(logits.size(), [2, 3, 8, 12, 6]);
            }
        }
    }

    /// The same products and sums: what differs is the order of the sums, which may turn the last
    /// bit.
    #[test]
    fn a_convolution_of_rounded_values_is_the_convolution_in_sixteen_bits_with_its_gradients() {
        for (compute, last_bit) in [(Kind::BFloat16, 1.0 / 128.0), (Kind::Half, 1.0 / 1024.0)] {
            let network = unet(&Network::default(), 2);
            let Block::Residual(residual) = &network.top.down else {
                panic!("the network has residual units")
            };
            let conv = residual.residual.as_ref().unwrap();
            let image =
                Tensor::randn([1, 1, 8, 8, 8], (Kind::Float, Device::Cpu)).set_requires_grad(true);
            let rounded = |wide: bool| {
                let image = image.to_kind(compute);
                let (weight, bias) = (conv.weight.to_kind(compute), conv.bias.to_kind(compute));
                let out = if wide {
                    let [x, weight, bias] =
                        [&image, &weight, &bias].map(|tensor| tensor.to_kind(Kind::Float));
                    conv.convolve(&x, &weight, &bias).to_kind(compute)
                } else {
                    conv.convolve(&image, &weight, &bias)
                };
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

    #[test]
    fn initial_weights_are_spread_as_pytorch_spreads_them() {
        let network = unet(&Network::default(), 2);
        let named =
            |name: &str| &network.parameters().iter().find(|p| p.name == name).unwrap().tensor;
        let weight = named("model.1.submodule.0.conv.unit1.conv.weight");
        let bound = 1.0 / f64::sqrt(32.0 * 27.0);
        assert!(weight.abs().max().double_value(&[]) <= bound);
        let spread = weight.std(true).double_value(&[]);
        assert!(
            (spread / (bound / f64::sqrt(3.0)) - 1.0).abs() < 0.02,
            "standard deviation {spread}"
        );
        assert_eq!(named("model.0.conv.unit0.adn.A.weight").double_value(&[0]), 0.25);
    }
}
