//! Makes the tensors of a network's layers and lists them under MONAI's names, in MONAI's order.

use super::activation::{After, Normalise};
use super::{Below, Block, Conv, Convolution, Level, Parameter, Residual, Role, channels_last};
use crate::initial::Initial;
use tch::{Device, Kind, Tensor};
use voxflow_stages::model::{Norm, layers};

/// Makes layers and lists their tensors in MONAI's order.
pub(super) struct Builder<'a> {
    initial: Initial,
    kind: Kind,
    device: Device,
    frozen: &'a dyn Fn(&str) -> bool,
    parameters: Vec<Parameter>,
}

impl<'a> Builder<'a> {
    pub(super) fn new(
        seed: u64,
        kind: Kind,
        device: Device,
        frozen: &'a dyn Fn(&str) -> bool,
    ) -> Builder<'a> {
        Builder { initial: Initial::new(seed), kind, device, frozen, parameters: vec![] }
    }

    /// The tensors of all layers made so far.
    pub(super) fn parameters(self) -> Vec<Parameter> {
        self.parameters
    }

    pub(super) fn level(&mut self, level: &layers::Level) -> Level {
        let down = self.block(&level.down);
        let below = match &level.below {
            layers::Below::Bottom(block) => Below::Bottom(self.block(block)),
            layers::Below::Level(level) => Below::Level(Box::new(self.level(level))),
        };
        let up = self.convolution(&level.up);
        Level {
            down,
            below,
            up,
            up_residual: level.up_residual.as_ref().map(|residual| self.residual(residual)),
        }
    }

    fn block(&mut self, block: &layers::Block) -> Block {
        match block {
            layers::Block::Plain(convolution) => Block::Plain(self.convolution(convolution)),
            layers::Block::Residual(residual) => Block::Residual(self.residual(residual)),
        }
    }

    fn residual(&mut self, residual: &layers::Residual) -> Residual {
        let units = residual.units.iter().map(|unit| self.convolution(unit)).collect();
        Residual {
            units,
            residual: residual.residual.as_ref().map(|conv| self.conv(conv, Role::Weight)),
        }
    }

    fn convolution(&mut self, convolution: &layers::Convolution) -> Convolution {
        let bias = if convolution.after.is_some() { Role::Quiet } else { Role::Weight };
        let conv = self.conv(&convolution.conv, bias);
        Convolution { conv, after: convolution.after.as_ref().map(|after| self.after(after)) }
    }

    fn conv(&mut self, conv: &layers::Conv, bias_role: Role) -> Conv {
        let size = conv.weight_shape().map(i64::from);
        // PyTorch takes the second side as fan-in, for transposed convolutions too.
        let fan_in = size[1..].iter().product();
        let few = i64::from(conv.outputs) < Conv::FEW;
        let weight = self.initial.uniform(&size, fan_in);
        let weight = if few && !conv.transposed { weight } else { channels_last(&weight) };
        let bias = self.initial.uniform(&[i64::from(conv.outputs)], fan_in);
        Conv {
            weight: self.keep(format!("{}.weight", conv.path), weight, Role::Weight),
            bias: self.keep(format!("{}.bias", conv.path), bias, bias_role),
            stride: conv.stride.map(i64::from),
            padding: conv.padding().map(i64::from),
            transposed: conv.transposed,
            few,
        }
    }

    fn after(&mut self, after: &layers::After) -> After {
        let normalise = match after.norm {
            Norm::Instance => Normalise::Instance,
            Norm::Batch => self.batch_norm(&format!("{}.N", after.path), i64::from(after.channels)),
        };
        let slope = self.keep(
            format!("{}.A.weight", after.path),
            Initial::constant(&[1], 0.25),
            Role::Weight,
        );
        After { normalise, dropout: after.dropout, slope }
    }

    fn batch_norm(&mut self, path: &str, channels: i64) -> Normalise {
        let full = |value| Initial::constant(&[channels], value);
        let tracked = Tensor::zeros([] as [i64; 0], (Kind::Int64, Device::Cpu));
        let frozen = ["running_mean", "running_var"]
            .iter()
            .any(|name| (self.frozen)(&format!("{path}.{name}")));
        Normalise::Batch {
            weight: self.keep(format!("{path}.weight"), full(1.0), Role::Weight),
            bias: self.keep(format!("{path}.bias"), full(0.0), Role::Weight),
            mean: self.keep(format!("{path}.running_mean"), full(0.0), Role::Statistic),
            variance: self.keep(format!("{path}.running_var"), full(1.0), Role::Statistic),
            tracked: self.keep(format!("{path}.num_batches_tracked"), tracked, Role::Statistic),
            frozen,
        }
    }

    fn keep(&mut self, name: String, tensor: Tensor, role: Role) -> Tensor {
        let kind = if tensor.kind() == Kind::Int64 { Kind::Int64 } else { self.kind };
        let tensor = tensor.to_device(self.device).to_kind(kind);
        self.parameters.push(Parameter { name, tensor: tensor.shallow_clone(), role });
        tensor
    }
}
