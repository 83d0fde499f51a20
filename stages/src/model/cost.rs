//! Operations and memory traffic of a network's passes, counted on its graph before anything runs:
//! the paper half of a roofline (Williams, Waterman and Patterson, 2009).
//!
//! A multiplication with its addition is two operations. Traffic counts each value that an
//! operation reads or writes once, as if no cache kept it between two operations. Convolutions with
//! bias, norms and activations are counted as the networks of `voxflow-net` run them: a norm and
//! the activation after it are one operation.

use super::graph::{Conv, Graph, Node, Op};
use std::ops::AddAssign;

/// Cost of one or several operations, for one patch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Operations of convolutions; all others are bound by traffic.
    pub flop: f64,
    /// Values read and written.
    pub values: f64,
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Cost) {
        self.flop += other.flop;
        self.values += other.values;
    }
}

/// Cost of a forward pass and of a training step, for one patch of these sides, node by node in
/// the order of computing. Nodes without work are left out.
///
/// The way back of a convolution takes as many operations for the gradient of its input as the way
/// forward, and again as many for that of its weights; the first convolution needs no gradient of
/// its input, which is counted all the same.
pub fn of_nodes(graph: &Graph, sides: [usize; 3]) -> Vec<NodeCost> {
    let shapes = shapes(graph, sides);
    let users = graph.users();
    let order = graph.order();
    let costs = order.into_iter().filter_map(|id| {
        let node = &graph.nodes[id.0];
        let inputs: f64 =
            node.inputs.iter().map(|input| values(&graph.nodes[input.0], shapes[input.0])).sum();
        let follows_norm = node.inputs.iter().any(|input| {
            matches!(graph.nodes[input.0].op, Op::Norm { .. }) && users[input.0].len() == 1
        });
        let output = values(node, shapes[id.0]);
        let (forward, backward) = cost(node, (inputs, output), follows_norm, || {
            conv_flop(graph, node, (shapes[node.inputs[0].0], shapes[id.0]))
        })?;
        let mut training = forward;
        training += backward;
        Some(NodeCost { path: node.path.clone(), forward, training })
    });
    costs.collect()
}

/// Cost of a node.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeCost {
    /// The prefix of its tensors' names.
    pub path: String,
    /// Of a forward pass.
    pub forward: Cost,
    /// Of a forward pass and the way back.
    pub training: Cost,
}

/// Forward and backward, from the values of a node's inputs and output; `None` if fused into
/// another node.
fn cost(
    node: &Node,
    (inputs, output): (f64, f64),
    follows_norm: bool,
    flop: impl Fn() -> f64,
) -> Option<(Cost, Cost)> {
    let moved = |forward, backward| {
        Some((Cost { flop: 0.0, values: forward }, Cost { flop: 0.0, values: backward }))
    };
    match &node.op {
        Op::Input => None,
        Op::Conv(_) => {
            let flop = flop();
            let forward = Cost { flop, values: inputs + output };
            // The output's gradient is read for either gradient, the input for that of the weights.
            let backward = Cost { flop: 2.0 * flop, values: 2.0 * output + 2.0 * inputs };
            Some((forward, backward))
        }
        // Moments, then the values; back, sums of gradients and values, then the gradient.
        Op::Norm { .. } => moved(2.0 * inputs + output, 4.0 * inputs + output),
        Op::Activation(_) if follows_norm => None,
        Op::Activation(_) | Op::Dropout(_) => moved(inputs + output, 2.0 * inputs + output),
        Op::AvgPool(_) => moved(inputs + output, inputs + output),
        // The gradient of a sum is the same for both.
        Op::Add => moved(inputs + output, 0.0),
        Op::Cat => moved(inputs + output, inputs + output),
    }
}

fn values(node: &Node, shape: [usize; 3]) -> f64 {
    f64::from(node.channels) * shape.iter().product::<usize>() as f64
}

fn conv_flop(graph: &Graph, node: &Node, (from, to): ([usize; 3], [usize; 3])) -> f64 {
    let Op::Conv(conv) = &node.op else { return 0.0 };
    let taps: u32 = conv.kernel.iter().product();
    // Each input voxel of a transposed convolution, and each output voxel of another, meets the
    // whole kernel.
    let voxels = if conv.transposed.is_some() { from } else { to };
    let channels = f64::from(graph.channels(node.inputs[0])) * f64::from(node.channels);
    2.0 * f64::from(taps) * channels * voxels.iter().product::<usize>() as f64
}

/// The sides of each node's value.
fn shapes(graph: &Graph, sides: [usize; 3]) -> Vec<[usize; 3]> {
    let mut shapes = vec![sides; graph.nodes.len()];
    // A node may come before its input: MONAI's order is that of its state_dict.
    for id in graph.order() {
        let node = &graph.nodes[id.0];
        let Some(input) = node.inputs.first().map(|input| shapes[input.0]) else { continue };
        shapes[id.0] = match &node.op {
            Op::Conv(conv) => conv_sides(conv, input),
            Op::AvgPool(blocks) => [0, 1, 2].map(|axis| input[axis] / blocks[axis] as usize),
            _ => input,
        };
    }
    shapes
}

fn conv_sides(conv: &Conv, input: [usize; 3]) -> [usize; 3] {
    [0, 1, 2].map(|axis| {
        let [kernel, stride, padding] =
            [conv.kernel[axis], conv.stride[axis], conv.padding[axis]].map(|side| side as usize);
        match conv.transposed {
            Some(added) => (input[axis] - 1) * stride + kernel + added[axis] as usize - 2 * padding,
            None => (input[axis] + 2 * padding - kernel) / stride + 1,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Norm;
    use crate::model::graph::Activation;

    fn total(graph: &Graph, sides: [usize; 3]) -> (Cost, Cost) {
        let (mut forward, mut training) = (Cost::default(), Cost::default());
        for node in of_nodes(graph, sides) {
            forward += node.forward;
            training += node.training;
        }
        (forward, training)
    }

    #[test]
    fn a_convolution_takes_twice_its_kernel_times_both_channels_for_each_voxel() {
        let mut graph = Graph::new(3);
        let conv = graph.conv("a", Graph::INPUT, 5, Conv::same([3, 3, 1], [2, 2, 1]));
        graph.output(conv);
        let (forward, training) = total(&graph, [8, 6, 4]);
        assert_eq!(forward.flop, 2.0 * 9.0 * 15.0 * (4 * 3 * 4) as f64);
        assert_eq!(forward.values, (3 * 8 * 6 * 4 + 5 * 4 * 3 * 4) as f64);
        assert_eq!(training.flop, 3.0 * forward.flop);
    }

    #[test]
    fn a_transposed_convolution_takes_its_kernel_for_each_voxel_that_it_reads() {
        let mut graph = Graph::new(4);
        let up = graph.conv("up", Graph::INPUT, 2, Conv::enlarging([2, 2, 1]));
        let odd = graph.conv("odd", up, 1, Conv::transposed([3; 3], [2; 3]));
        graph.output(odd);
        let costs = of_nodes(&graph, [3, 4, 5]);
        assert_eq!(costs[0].forward.flop, 2.0 * 4.0 * 8.0 * 60.0);
        assert_eq!(costs[1].forward.flop, 2.0 * 27.0 * 2.0 * (6 * 8 * 5) as f64);
        assert_eq!(costs[1].forward.values, (2 * 6 * 8 * 5 + 12 * 16 * 10) as f64);
    }

    #[test]
    fn an_activation_after_a_norm_of_its_own_costs_nothing() {
        let mut graph = Graph::new(1);
        let norm = graph.norm("n", Graph::INPUT, Norm::Instance, true);
        let activation = graph.activation("a", norm, Activation::LeakyRelu(0.01));
        graph.output(activation);
        assert_eq!(of_nodes(&graph, [4; 3]).len(), 1);
        graph.output(norm);
        let again = graph.add(activation, norm);
        graph.output(again);
        assert_eq!(of_nodes(&graph, [4; 3]).len(), 3, "the norm has another user");
    }
}
