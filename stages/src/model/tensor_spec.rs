//! The tensors of a graph: names, shapes, parts in training and initial values.

use super::Norm;
use super::graph::{Activation, Conv, ConvInit, Graph, Node, NodeId, Op};

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
    /// Further names in another program's `state_dict`.
    pub twins: Vec<String>,
}

/// A tensor's part in training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TensorRole {
    /// Learned.
    Weight,
    /// A convolution's bias directly before a norm: learned, but cancelled by the norm's mean, so
    /// its gradient is rounding noise.
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
        /// Number of input values per output.
        fan_in: usize,
    },
    /// Normal around 0.
    Normal {
        /// The standard deviation.
        std: f64,
    },
    /// The same value everywhere.
    Constant(f64),
}

impl Graph {
    /// Every tensor, in the order of the nodes.
    pub fn tensors(&self) -> Vec<TensorSpec> {
        self.tensors_by_node().concat()
    }

    /// Each node's tensors. Convolutions have weight and bias; norms scale and shift, then mean,
    /// variance and counter; activations a slope.
    pub fn tensors_by_node(&self) -> Vec<Vec<TensorSpec>> {
        let users = self.users();
        let nodes = self.nodes.iter().enumerate();
        nodes
            .map(|(id, node)| {
                let is_output = self.outputs.contains(&NodeId(id));
                self.node_tensors(NodeId(id), node, !is_output && self.are_norms(&users[id]))
            })
            .collect()
    }

    /// True if all nodes are norms, with at least one.
    fn are_norms(&self, nodes: &[NodeId]) -> bool {
        !nodes.is_empty()
            && nodes.iter().all(|node| matches!(self.nodes[node.0].op, Op::Norm { .. }))
    }

    fn node_tensors(&self, id: NodeId, node: &Node, before_norm: bool) -> Vec<TensorSpec> {
        match &node.op {
            Op::Conv(conv) => self.conv_tensors(node, conv, before_norm),
            Op::Norm { kind, affine } => {
                let scale = if self.zeroed.contains(&id) { 0.0 } else { 1.0 };
                norm_tensors(node, *kind, affine.then_some(scale))
            }
            Op::Activation(Activation::PRelu) => {
                vec![node.tensor("weight", vec![1], TensorRole::Weight, 0.25)]
            }
            Op::Input | Op::Dropout(_) | Op::Activation(_) | Op::AvgPool(_) | Op::Add | Op::Cat => {
                vec![]
            }
        }
    }

    fn conv_tensors(&self, node: &Node, conv: &Conv, before_norm: bool) -> Vec<TensorSpec> {
        let inputs: usize = node.inputs.iter().map(|input| self.channels(*input) as usize).sum();
        let outputs = node.channels as usize;
        let pair = if conv.transposed.is_some() { [inputs, outputs] } else { [outputs, inputs] };
        let shape: Vec<usize> =
            pair.into_iter().chain(conv.kernel.map(|side| side as usize)).collect();
        // PyTorch takes the second side as fan-in, for transposed convolutions too.
        let fan_in = shape[1..].iter().product();
        let [of_weight, of_bias] = initial_values(self.initial, fan_in);
        let role = if before_norm { TensorRole::BiasBeforeNorm } else { TensorRole::Weight };
        let weight = node.tensor("weight", shape, TensorRole::Weight, 0.0);
        let bias = conv.bias.then(|| node.tensor("bias", vec![outputs], role, 0.0));
        let bias = bias.map(|bias| TensorSpec { initial: of_bias, ..bias });
        [Some(TensorSpec { initial: of_weight, ..weight }), bias].into_iter().flatten().collect()
    }

    /// The numbers in all tensors.
    pub fn numel(&self) -> u64 {
        self.tensors().iter().map(|spec| spec.shape.iter().product::<usize>() as u64).sum()
    }
}

/// Initial weight and bias of a convolution.
fn initial_values(initial: ConvInit, fan_in: usize) -> [InitialValue; 2] {
    match initial {
        ConvInit::PyTorch => [InitialValue::Uniform { fan_in }; 2],
        ConvInit::HeNormal { slope } => {
            let std = (2.0 / (1.0 + slope * slope) / fan_in as f64).sqrt();
            [InitialValue::Normal { std }, InitialValue::Constant(0.0)]
        }
    }
}

/// `scale`: the initial scale of an affine norm.
fn norm_tensors(node: &Node, kind: Norm, scale: Option<f64>) -> Vec<TensorSpec> {
    let per_channel = vec![node.channels as usize];
    let mut tensors = vec![];
    if let Some(scale) = scale {
        tensors.push(node.tensor("weight", per_channel.clone(), TensorRole::Weight, scale));
        tensors.push(node.tensor("bias", per_channel.clone(), TensorRole::Weight, 0.0));
    }
    if kind == Norm::Batch {
        let statistics = [("running_mean", 0.0), ("running_var", 1.0)];
        tensors.extend(statistics.map(|(name, initial)| {
            node.tensor(name, per_channel.clone(), TensorRole::Statistic, initial)
        }));
        tensors.push(node.tensor("num_batches_tracked", vec![], TensorRole::Counter, 0.0));
    }
    tensors
}

impl Node {
    fn tensor(&self, name: &str, shape: Vec<usize>, role: TensorRole, initial: f64) -> TensorSpec {
        let twins = self.twins.iter().map(|path| format!("{path}.{name}")).collect();
        let name = format!("{}.{name}", self.path);
        TensorSpec { name, shape, role, initial: InitialValue::Constant(initial), twins }
    }
}

impl TensorSpec {
    /// True for a whole number, false for fp32.
    pub fn is_counter(&self) -> bool {
        self.role == TensorRole::Counter
    }
}
