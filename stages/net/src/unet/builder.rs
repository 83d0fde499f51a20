//! Builds the layers of a network and lists their tensors under MONAI's names, in MONAI's order.

use super::{After, Below, Block, Conv, Convolution, Level, Normalise, Parameter, Residual, Role, channels_last};
use crate::initial::Initial;
use tch::{Device, Kind, Tensor};
use voxflow_stages::model::{Network, Norm, PerAxis};

/// Builds layers and lists their tensors in MONAI's order.
pub(super) struct Builder<'a> {
    network: &'a Network,
    initial: Initial,
    kind: Kind,
    device: Device,
    parameters: Vec<Parameter>,
}

/// A convolution to build.
#[derive(Clone, Copy)]
struct Shape {
    inputs: i64,
    outputs: i64,
    kernel: PerAxis,
    stride: PerAxis,
    transposed: bool,
}

impl<'a> Builder<'a> {
    pub(super) fn new(network: &'a Network, seed: u64, kind: Kind, device: Device) -> Builder<'a> {
        Builder { network, initial: Initial::new(seed), kind, device, parameters: vec![] }
    }

    /// The tensors of all layers built so far.
    pub(super) fn parameters(self) -> Vec<Parameter> {
        self.parameters
    }

    pub(super) fn level(&mut self, path: &str, inputs: i64, outputs: i64, depth: usize) -> Level {
        let channels = |level: usize| i64::from(self.network.channels[level]);
        let (width, below_width, stride) = (channels(depth), channels(depth + 1), self.network.strides[depth]);
        let bottom = depth + 2 == self.network.channels.len();
        let below_path = format!("{path}.1.submodule");
        let down = self.block(&format!("{path}.0"), inputs, width, stride);
        let below = if bottom {
            Below::Bottom(self.block(&below_path, width, below_width, PerAxis::All(1)))
        } else {
            Below::Level(Box::new(self.level(&below_path, width, width, depth + 1)))
        };
        let joined = width + if bottom { below_width } else { width };
        let (up, up_residual) = self.up(&format!("{path}.2"), joined, outputs, stride, depth == 0);
        Level { down, below, up, up_residual }
    }

    fn block(&mut self, path: &str, inputs: i64, outputs: i64, stride: PerAxis) -> Block {
        match self.network.residual_units {
            0 => Block::Plain(self.convolution(path, self.shape(inputs, outputs, stride), true)),
            units => Block::Residual(self.residual(path, self.shape(inputs, outputs, stride), units, true)),
        }
    }

    fn up(
        &mut self,
        path: &str,
        inputs: i64,
        outputs: i64,
        stride: PerAxis,
        top: bool,
    ) -> (Convolution, Option<Residual>) {
        let shape = Shape { inputs, outputs, kernel: self.network.up_kernel, stride, transposed: true };
        if self.network.residual_units == 0 {
            return (self.convolution(path, shape, !top), None);
        }
        let up = self.convolution(&format!("{path}.0"), shape, true);
        let same = self.shape(outputs, outputs, PerAxis::All(1));
        (up, Some(self.residual(&format!("{path}.1"), same, 1, !top)))
    }

    fn shape(&self, inputs: i64, outputs: i64, stride: PerAxis) -> Shape {
        Shape { inputs, outputs, kernel: self.network.kernel, stride, transposed: false }
    }

    fn residual(&mut self, path: &str, shape: Shape, units: u32, last_normalised: bool) -> Residual {
        let unit = |builder: &mut Self, index: u32| {
            let first = Shape { inputs: if index == 0 { shape.inputs } else { shape.outputs }, ..shape };
            let each = Shape { stride: if index == 0 { shape.stride } else { PerAxis::All(1) }, ..first };
            let normalised = last_normalised || index + 1 < units;
            builder.convolution(&format!("{path}.conv.unit{index}"), each, normalised)
        };
        let units = (0..units).map(|index| unit(self, index)).collect();
        let strided = shape.stride.xyz() != [1; 3];
        let residual = (strided || shape.inputs != shape.outputs).then(|| {
            let kernel = if strided { shape.kernel } else { PerAxis::All(1) };
            self.conv(&format!("{path}.residual"), Shape { kernel, ..shape }, Role::Weight)
        });
        Residual { units, residual }
    }

    fn convolution(&mut self, path: &str, shape: Shape, normalised: bool) -> Convolution {
        let bias = if normalised { Role::Quiet } else { Role::Weight };
        let conv = self.conv(&format!("{path}.conv"), shape, bias);
        Convolution { conv, after: normalised.then(|| self.after(&format!("{path}.adn"), shape.outputs)) }
    }

    fn conv(&mut self, path: &str, shape: Shape, bias_role: Role) -> Conv {
        let kernel = shape.kernel.xyz().map(i64::from);
        let (first, second) =
            if shape.transposed { (shape.inputs, shape.outputs) } else { (shape.outputs, shape.inputs) };
        let size = [first, second, kernel[0], kernel[1], kernel[2]];
        // PyTorch takes the second side as fan-in, for transposed convolutions too.
        let fan_in = second * kernel.iter().product::<i64>();
        let few = shape.outputs < Conv::FEW;
        let weight = self.initial.uniform(&size, fan_in);
        let weight = if few && !shape.transposed { weight } else { channels_last(&weight) };
        let bias = self.initial.uniform(&[shape.outputs], fan_in);
        Conv {
            weight: self.keep(format!("{path}.weight"), weight, Role::Weight),
            bias: self.keep(format!("{path}.bias"), bias, bias_role),
            stride: shape.stride.xyz().map(i64::from),
            padding: kernel.map(|side| (side - 1) / 2),
            transposed: shape.transposed,
            few,
        }
    }

    fn after(&mut self, path: &str, channels: i64) -> After {
        let normalise = match self.network.norm {
            Norm::Instance => Normalise::Instance,
            Norm::Batch => self.batch_norm(&format!("{path}.N"), channels),
        };
        let slope = self.keep(format!("{path}.A.weight"), Initial::constant(&[1], 0.25), Role::Weight);
        After { normalise, dropout: self.network.dropout, slope }
    }

    fn batch_norm(&mut self, path: &str, channels: i64) -> Normalise {
        let full = |value| Initial::constant(&[channels], value);
        let tracked = Tensor::zeros([] as [i64; 0], (Kind::Int64, Device::Cpu));
        Normalise::Batch {
            weight: self.keep(format!("{path}.weight"), full(1.0), Role::Weight),
            bias: self.keep(format!("{path}.bias"), full(0.0), Role::Weight),
            mean: self.keep(format!("{path}.running_mean"), full(0.0), Role::Statistic),
            variance: self.keep(format!("{path}.running_var"), full(1.0), Role::Statistic),
            tracked: self.keep(format!("{path}.num_batches_tracked"), tracked, Role::Statistic),
        }
    }

    fn keep(&mut self, name: String, tensor: Tensor, role: Role) -> Tensor {
        let kind = if tensor.kind() == Kind::Int64 { Kind::Int64 } else { self.kind };
        let tensor = tensor.to_device(self.device).to_kind(kind);
        self.parameters.push(Parameter { name, tensor: tensor.shallow_clone(), role });
        tensor
    }
}
