//! The tensors of a graph: names, shapes, parts in training and initial values.

use super::Norm;
use super::graph::{Activation, Conv, Graph, Node, NodeId, Op};

/// A tensor of a network.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorSpec {
    /// Its name in the network's `state_dict`.
    pub name: String,
    /// Its sides.
    pub shape: Vec<usize>,
    /// Its part in training.
    pub role: TensorRole,
    /// Its values before training.
    pub initial: InitialValue,
}

/// A tensor's part in training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TensorRole {
    /// Learned.
    Weight,
    /// A convolution's bias directly before a norm: learned, but the norm takes out what it adds,
    /// so its gradient is zero but for rounding.
    BiasBeforeNorm,
    /// A norm's running statistic: not learned.
    Statistic,
    /// A whole number that counts (`num_batches_tracked`): not learned, all others are fp32.
    Counter,
}

impl TensorRole {
    /// True if gradients change it.
    pub fn is_learned(self) -> bool {
        matches!(self, TensorRole::Weight | TensorRole::BiasBeforeNorm)
    }
}

/// A tensor's values before training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum InitialValue {
    /// Uniform in ±1/√`fan_in`: `kaiming_uniform_(a=√5)` of a convolution's weight, and PyTorch's
    /// convolutions' bias.
    Uniform {
        /// The values that one output is made of.
        fan_in: usize,
    },
    /// The same value everywhere.
    Constant(f64),
}

impl Graph {
    /// Every tensor, in the order of the `state_dict`.
    pub fn tensors(&self) -> Vec<TensorSpec> {
        self.tensors_by_node().concat()
    }

    /// The tensors of each node: of a convolution weight and bias, of a norm scale and shift and
    /// then mean, variance and counter, of an activation its slope.
    pub fn tensors_by_node(&self) -> Vec<Vec<TensorSpec>> {
        let users = self.users();
        let feeds_norm = |id: usize| {
            let is_norm = |user: &NodeId| matches!(self.nodes[user.0].op, Op::Norm { .. });
            !users[id].is_empty() && users[id].iter().all(is_norm)
        };
        let is_output = |id: usize| self.outputs.contains(&NodeId(id));
        let nodes = self.nodes.iter().enumerate();
        nodes.map(|(id, node)| self.node_tensors(node, feeds_norm(id) && !is_output(id))).collect()
    }

    fn node_tensors(&self, node: &Node, before_norm: bool) -> Vec<TensorSpec> {
        match &node.op {
            Op::Conv(conv) => self.conv_tensors(node, conv, before_norm),
            Op::Norm { kind, affine } => norm_tensors(node, *kind, *affine),
            Op::Activation(Activation::PRelu) => {
                vec![node.tensor("weight", vec![1], TensorRole::Weight, 0.25)]
            }
            Op::Input | Op::Dropout(_) | Op::Activation(_) | Op::Add | Op::Cat => vec![],
        }
    }

    fn conv_tensors(&self, node: &Node, conv: &Conv, before_norm: bool) -> Vec<TensorSpec> {
        let inputs: usize = node.inputs.iter().map(|input| self.channels(*input) as usize).sum();
        let outputs = node.channels as usize;
        let pair = if conv.transposed.is_some() { [inputs, outputs] } else { [outputs, inputs] };
        let shape: Vec<usize> =
            pair.into_iter().chain(conv.kernel.map(|side| side as usize)).collect();
        // PyTorch takes the second side as fan-in, for transposed convolutions too.
        let initial = InitialValue::Uniform { fan_in: shape[1..].iter().product() };
        let role = if before_norm { TensorRole::BiasBeforeNorm } else { TensorRole::Weight };
        let weight = node.tensor("weight", shape, TensorRole::Weight, 0.0);
        let bias = conv.bias.then(|| node.tensor("bias", vec![outputs], role, 0.0));
        [Some(weight), bias]
            .into_iter()
            .flatten()
            .map(|spec| TensorSpec { initial, ..spec })
            .collect()
    }

    /// The numbers in all tensors.
    pub fn numel(&self) -> u64 {
        self.tensors().iter().map(|spec| spec.shape.iter().product::<usize>() as u64).sum()
    }
}

fn norm_tensors(node: &Node, kind: Norm, affine: bool) -> Vec<TensorSpec> {
    let each = |name: &str, role: TensorRole, initial: f64| {
        node.tensor(name, vec![node.channels as usize], role, initial)
    };
    let mut tensors = vec![];
    if affine {
        tensors.push(each("weight", TensorRole::Weight, 1.0));
        tensors.push(each("bias", TensorRole::Weight, 0.0));
    }
    if kind == Norm::Batch {
        tensors.push(each("running_mean", TensorRole::Statistic, 0.0));
        tensors.push(each("running_var", TensorRole::Statistic, 1.0));
        tensors.push(node.tensor("num_batches_tracked", vec![], TensorRole::Counter, 0.0));
    }
    tensors
}

impl Node {
    fn tensor(&self, name: &str, shape: Vec<usize>, role: TensorRole, initial: f64) -> TensorSpec {
        let name = format!("{}.{name}", self.path);
        TensorSpec { name, shape, role, initial: InitialValue::Constant(initial) }
    }
}

impl TensorSpec {
    /// True for a whole number, false for fp32.
    pub fn is_counter(&self) -> bool {
        self.role == TensorRole::Counter
    }
}
