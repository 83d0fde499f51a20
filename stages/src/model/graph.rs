//! A network as plain data: a flat graph of operations. Tensors (`tensor_spec`), TorchScript and
//! libtorch operations (in `voxflow-net`) each take a single walk over the graph.
//!
//! Nodes follow their inputs, in the network's `state_dict` order. An architecture is a function
//! returning a graph: `unet` is MONAI's.

use super::Norm;
use std::collections::BTreeSet;

/// A node's index in its graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeId(pub usize);

/// A network.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    /// The operations; the first is the input.
    pub nodes: Vec<Node>,
    /// The nodes whose values the network gives. The first are the logits; others are for losses.
    pub outputs: Vec<NodeId>,
}

/// An operation on other nodes' values.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The operation.
    pub op: Op,
    /// The nodes it reads.
    pub inputs: Vec<NodeId>,
    /// The prefix of its tensors' names, such as `model.0.conv`; empty without tensors.
    pub path: String,
    /// Channels of its value.
    pub channels: u32,
}

/// The operations.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// The image.
    Input,
    /// A convolution.
    Conv(Conv),
    /// A norm with eps 1e-5; batch norms have running statistics, of momentum 0.1.
    Norm {
        /// Batch or instance.
        kind: Norm,
        /// With a learned scale and shift of each channel.
        affine: bool,
    },
    /// Dropout of elements with this probability.
    Dropout(f64),
    /// An activation.
    Activation(Activation),
    /// The sum of two values.
    Add,
    /// Values joined along the channels.
    Cat,
}

/// Activations, by their slope below 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Activation {
    /// One learned slope, 0.25 at first.
    PRelu,
    /// A fixed slope.
    LeakyRelu(f64),
}

/// A convolution along x, y, z.
#[derive(Clone, Debug, PartialEq)]
pub struct Conv {
    /// Sides of the kernel.
    pub kernel: [u32; 3],
    /// Strides; a transposed convolution enlarges by them.
    pub stride: [u32; 3],
    /// Voxels added around the image (of a transposed convolution, taken off).
    pub padding: [u32; 3],
    /// Set for a transposed convolution: voxels added at the end of the enlarged image.
    pub transposed: Option<[u32; 3]>,
    /// With a learned bias of each channel.
    pub bias: bool,
}

impl Conv {
    /// Keeps the image's sides, divided by the strides and rounded up; kernels are odd.
    pub fn same(kernel: [u32; 3], stride: [u32; 3]) -> Conv {
        let padding = kernel.map(|side| (side - 1) / 2);
        Conv { kernel, stride, padding, transposed: None, bias: true }
    }

    /// Multiplies the image's sides by the strides; kernels are odd.
    pub fn transposed(kernel: [u32; 3], stride: [u32; 3]) -> Conv {
        let output_padding = stride.map(|step| step - 1);
        Conv { transposed: Some(output_padding), ..Conv::same(kernel, stride) }
    }
}

/// Adding nodes; each method returns the new node.
impl Graph {
    /// The image.
    pub const INPUT: NodeId = NodeId(0);

    /// A graph of the image alone.
    pub fn new(channels: u32) -> Graph {
        let input = Node { op: Op::Input, inputs: vec![], path: String::new(), channels };
        Graph { nodes: vec![input], outputs: vec![] }
    }

    /// A convolution to `channels` channels.
    pub fn conv(&mut self, path: &str, input: NodeId, channels: u32, conv: Conv) -> NodeId {
        self.push(Op::Conv(conv), &[input], path, channels)
    }

    /// A norm.
    pub fn norm(&mut self, path: &str, input: NodeId, kind: Norm, affine: bool) -> NodeId {
        self.push(Op::Norm { kind, affine }, &[input], path, self.channels(input))
    }

    /// Dropout; no node where nothing is dropped.
    pub fn dropout(&mut self, input: NodeId, probability: f64) -> NodeId {
        if probability == 0.0 {
            return input;
        }
        self.push(Op::Dropout(probability), &[input], "", self.channels(input))
    }

    /// An activation.
    pub fn activation(&mut self, path: &str, input: NodeId, activation: Activation) -> NodeId {
        self.push(Op::Activation(activation), &[input], path, self.channels(input))
    }

    /// The sum of a branch and its shortcut. The shortcut is computed first.
    pub fn add(&mut self, branch: NodeId, shortcut: NodeId) -> NodeId {
        self.push(Op::Add, &[branch, shortcut], "", self.channels(branch))
    }

    /// Values joined along the channels.
    pub fn cat(&mut self, inputs: &[NodeId]) -> NodeId {
        let channels = inputs.iter().map(|input| self.channels(*input)).sum();
        self.push(Op::Cat, inputs, "", channels)
    }

    /// Declares the next output.
    pub fn output(&mut self, node: NodeId) {
        self.outputs.push(node);
    }

    fn push(&mut self, op: Op, inputs: &[NodeId], path: &str, channels: u32) -> NodeId {
        self.nodes.push(Node { op, inputs: inputs.to_vec(), path: path.to_string(), channels });
        NodeId(self.nodes.len() - 1)
    }
}

/// Walks.
impl Graph {
    /// The channels of a node's value.
    pub fn channels(&self, node: NodeId) -> u32 {
        self.nodes[node.0].channels
    }

    /// The nodes that read each node.
    pub fn users(&self) -> Vec<Vec<NodeId>> {
        let mut users = vec![vec![]; self.nodes.len()];
        for (id, node) in self.nodes.iter().enumerate() {
            node.inputs.iter().for_each(|input| users[input.0].push(NodeId(id)));
        }
        users
    }

    /// The nodes that the outputs need, in the order of computing: depth first from each output,
    /// and among the inputs of a node the last first. So the first output is ready first, and a
    /// shortcut is computed before the branch that it is added to. (Gradients are summed in the
    /// reverse of this order: another one would change their last bits.)
    pub fn order(&self) -> Vec<NodeId> {
        let (mut order, mut seen) = (vec![], BTreeSet::new());
        self.outputs.iter().for_each(|output| self.visit(*output, &mut seen, &mut order));
        order
    }

    fn visit(&self, node: NodeId, seen: &mut BTreeSet<NodeId>, order: &mut Vec<NodeId>) {
        if seen.insert(node) {
            let inputs = self.nodes[node.0].inputs.iter().rev();
            inputs.for_each(|input| self.visit(*input, seen, order));
            order.push(node);
        }
    }
}
