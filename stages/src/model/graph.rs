//! A network as plain data: a flat graph of operations. Tensors (`tensor_spec`), TorchScript and
//! libtorch operations (in `voxflow-net`) each take a single walk over the graph.
//!
//! Nodes follow their inputs; MONAI's in the network's `state_dict` order. An architecture is a
//! function returning a graph: `unet` is MONAI's.

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
    /// Initial weights of its convolutions.
    pub initial: ConvInit,
    /// Affine norms whose scale starts at 0 instead of 1.
    pub zeroed: BTreeSet<NodeId>,
}

/// Initial weights of convolutions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ConvInit {
    /// PyTorch's: uniform in ±1/√fan-in, weight and bias.
    PyTorch,
    /// `kaiming_normal_`: normal, with standard deviation √(2 / (1 + slope²) / fan-in); bias 0.
    HeNormal {
        /// The slope below 0 of the activation.
        slope: f64,
    },
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
    /// Prefixes under which another program's `state_dict` repeats its tensors.
    pub twins: Vec<String>,
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
    /// The mean over blocks of these sides.
    AvgPool([u32; 3]),
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

    /// Multiplies the image's sides by the strides, each voxel into a block of its own.
    pub fn enlarging(stride: [u32; 3]) -> Conv {
        let padding = [0; 3];
        Conv { kernel: stride, stride, padding, transposed: Some([0; 3]), bias: true }
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
        let (inputs, path, twins) = (vec![], String::new(), vec![]);
        let input = Node { op: Op::Input, inputs, path, twins, channels };
        let (initial, zeroed) = (ConvInit::PyTorch, BTreeSet::new());
        Graph { nodes: vec![input], outputs: vec![], initial, zeroed }
    }

    /// A convolution to `channels` channels.
    pub fn conv(&mut self, path: &str, input: NodeId, channels: u32, conv: Conv) -> NodeId {
        self.push(Op::Conv(conv), &[input], path, channels)
    }

    /// A norm.
    pub fn norm(&mut self, path: &str, input: NodeId, kind: Norm, affine: bool) -> NodeId {
        self.push(Op::Norm { kind, affine }, &[input], path, self.channels(input))
    }

    /// Dropout; no node for probability 0.
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

    /// The mean over blocks with these sides; no node for sides 1.
    pub fn avg_pool(&mut self, input: NodeId, sides: [u32; 3]) -> NodeId {
        if sides == [1; 3] {
            return input;
        }
        self.push(Op::AvgPool(sides), &[input], "", self.channels(input))
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

    /// Names prefixes under which another program's `state_dict` repeats a node's tensors.
    pub fn repeat(&mut self, node: NodeId, twins: Vec<String>) {
        self.nodes[node.0].twins = twins;
    }

    /// Declares the next output.
    pub fn output(&mut self, node: NodeId) {
        self.outputs.push(node);
    }

    fn push(&mut self, op: Op, inputs: &[NodeId], path: &str, channels: u32) -> NodeId {
        let (inputs, path, twins) = (inputs.to_vec(), path.to_string(), vec![]);
        self.nodes.push(Node { op, inputs, path, twins, channels });
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
