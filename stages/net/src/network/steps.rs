//! The execution plan of a graph: libtorch operations in order, each value freed after its last
//! use.

use super::conv::ConvStep;
use super::dropout::dropout;
use super::fusion::{Fusion, NormActNodes};
use super::norm_act::{NormAct, Normalise, slope};
use super::pass::Pass;
use crate::foreach;
use std::collections::BTreeSet;
use tch::{Device, Kind, Tensor};
use voxflow_stages::model::graph::{Graph, NodeId, Op};

/// An operation. Values are numbered by their nodes.
#[derive(Debug)]
pub(super) struct ExecutionStep {
    operation: Operation,
    inputs: Vec<usize>,
    /// The node of the result.
    pub(super) output: usize,
    /// The values that no later step reads.
    freed: Vec<usize>,
}

#[derive(Debug)]
enum Operation {
    Input,
    Conv(ConvStep),
    /// A second input is added to the result.
    NormAct(NormAct),
    Norm(Normalise),
    Dropout(f64),
    /// The slope below 0.
    Activation(Tensor),
    AvgPool([i64; 3]),
    Add,
    Cat,
}

/// A graph's steps. `tensors` lists each node's tensors, with kind and device `options`.
pub(super) fn of_graph(
    graph: &Graph,
    tensors: &[Vec<Tensor>],
    is_frozen: &dyn Fn(usize) -> bool,
    options: (Kind, Device),
) -> Vec<ExecutionStep> {
    let builder = StepBuilder { graph, tensors, is_frozen, options };
    let fusion = Fusion::of_graph(graph);
    let order = graph.order().into_iter().filter(|node| !fusion.inner.contains(node));
    let mut steps: Vec<ExecutionStep> = order
        .map(|node| match fusion.patterns.get(&node) {
            Some(pattern) => builder.norm_act(node, pattern),
            None => builder.step(node),
        })
        .collect();
    mark_last_uses(&mut steps, graph);
    steps
}

struct StepBuilder<'a> {
    graph: &'a Graph,
    tensors: &'a [Vec<Tensor>],
    is_frozen: &'a dyn Fn(usize) -> bool,
    options: (Kind, Device),
}

impl StepBuilder<'_> {
    fn step(&self, id: NodeId) -> ExecutionStep {
        let (node, tensors) = (&self.graph.nodes[id.0], &self.tensors[id.0]);
        let operation = match &node.op {
            Op::Input => Operation::Input,
            Op::Conv(conv) => Operation::Conv(ConvStep::new(node, conv, tensors)),
            Op::Norm { .. } => Operation::Norm(self.normalise(id)),
            Op::Dropout(probability) => Operation::Dropout(*probability),
            Op::Activation(activation) => {
                Operation::Activation(slope(*activation, tensors, self.options))
            }
            Op::AvgPool(sides) => Operation::AvgPool(sides.map(i64::from)),
            Op::Add => Operation::Add,
            Op::Cat => Operation::Cat,
        };
        let inputs = node.inputs.iter().map(|input| input.0).collect();
        ExecutionStep { operation, inputs, output: id.0, freed: vec![] }
    }

    fn norm_act(&self, last: NodeId, pattern: &NormActNodes) -> ExecutionStep {
        let Operation::Activation(slope) = self.step(pattern.activation).operation else {
            return self.step(last);
        };
        let normalise = self.normalise(pattern.norm);
        let norm_act = NormAct { normalise, dropout: pattern.dropout, slope };
        let inputs = self.graph.nodes[pattern.norm.0].inputs.iter().chain(&pattern.added);
        ExecutionStep {
            operation: Operation::NormAct(norm_act),
            inputs: inputs.map(|input| input.0).collect(),
            output: last.0,
            freed: vec![],
        }
    }

    fn normalise(&self, id: NodeId) -> Normalise {
        Normalise::new(&self.graph.nodes[id.0].op, &self.tensors[id.0], (self.is_frozen)(id.0))
    }
}

/// Sets `freed`: each value is freed by its last reader, outputs never.
fn mark_last_uses(steps: &mut [ExecutionStep], graph: &Graph) {
    let mut needed: BTreeSet<usize> = graph.outputs.iter().map(|output| output.0).collect();
    for step in steps.iter_mut().rev() {
        let inputs: BTreeSet<usize> = step.inputs.iter().copied().collect();
        step.freed = inputs.into_iter().filter(|input| needed.insert(*input)).collect();
    }
}

/// Runs the steps and returns the value of each node; undefined if it was freed or never computed.
pub(super) fn run(
    steps: &[ExecutionStep],
    nodes: usize,
    images: &Tensor,
    pass: Pass,
) -> Vec<Tensor> {
    count_batches(steps, pass);
    let mut cast = cast_weights(steps, pass).into_iter();
    let mut values: Vec<Tensor> = (0..nodes).map(|_| Tensor::new()).collect();
    for step in steps {
        let inputs: Vec<&Tensor> = step.inputs.iter().map(|input| &values[*input]).collect();
        let value = match step.operation.is_cast(pass) {
            true => step.operation.with_weights(&mut cast).forward(images, &inputs, pass),
            false => step.operation.forward(images, &inputs, pass),
        };
        values[step.output] = value;
        step.freed.iter().for_each(|value| values[*value] = Tensor::new());
    }
    values
}

/// Counts the batch in all norms that use its statistics.
fn count_batches(steps: &[ExecutionStep], pass: Pass) {
    let counters = steps.iter().filter_map(|step| match &step.operation {
        Operation::NormAct(norm_act) => norm_act.normalise.counter(pass),
        Operation::Norm(norm) => norm.counter(pass),
        _ => None,
    });
    foreach::add_scalar(&counters.map(Tensor::shallow_clone).collect::<Vec<_>>(), 1.0);
}

/// Casts the weights of all operations to `pass.compute`, in their order: one kernel for all, and
/// one for all their gradients.
fn cast_weights(steps: &[ExecutionStep], pass: Pass) -> Vec<Tensor> {
    let cast = steps.iter().map(|step| &step.operation).filter(|operation| operation.is_cast(pass));
    let weights: Vec<Tensor> =
        cast.flat_map(Operation::weights).map(Tensor::shallow_clone).collect();
    foreach::cast(&weights, pass.compute)
}

impl Operation {
    /// The weights that are read in the numbers of the values.
    fn weights(&self) -> Vec<&Tensor> {
        match self {
            Operation::Conv(conv) => conv.weights().collect(),
            Operation::NormAct(NormAct { slope, .. }) | Operation::Activation(slope) => vec![slope],
            _ => vec![],
        }
    }

    /// True if its weights are cast together with others' before a pass: on a graphics card. On the
    /// processor each operation casts its own, and some take them as they are.
    fn is_cast(&self, pass: Pass) -> bool {
        let weights = self.weights();
        weights
            .first()
            .is_some_and(|first| first.device().is_cuda() && first.kind() != pass.compute)
    }

    /// The operation with the next of these tensors in the place of its weights.
    fn with_weights(&self, cast: &mut impl Iterator<Item = Tensor>) -> Operation {
        let mut next = || cast.next().unwrap_or_default();
        match self {
            Operation::Conv(conv) => Operation::Conv(conv.with_weights(next)),
            Operation::NormAct(norm_act) => {
                let NormAct { normalise, dropout, .. } = norm_act;
                let normalise = normalise.shallow_clone();
                Operation::NormAct(NormAct { normalise, dropout: *dropout, slope: next() })
            }
            _ => Operation::Activation(next()),
        }
    }

    fn forward(&self, images: &Tensor, inputs: &[&Tensor], pass: Pass) -> Tensor {
        match self {
            Operation::Input => images.to_kind(pass.compute),
            Operation::Conv(conv) => conv.forward(inputs[0], pass),
            Operation::NormAct(norm_act) => {
                norm_act.forward(inputs[0], inputs.get(1).copied(), pass)
            }
            Operation::Norm(norm) => norm.forward(inputs[0], pass),
            Operation::Dropout(probability) => dropout(inputs[0], *probability, pass),
            Operation::Activation(slope) => inputs[0].prelu(&slope.to_kind(inputs[0].kind())),
            Operation::AvgPool(sides) => {
                inputs[0].avg_pool3d(sides, sides, [0, 0, 0], false, true, None)
            }
            Operation::Add => inputs[0] + inputs[1],
            Operation::Cat => Tensor::cat(inputs, 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::GraphNetwork;
    use super::*;
    use voxflow_stages::model::Network;

    #[test]
    fn at_most_the_skip_connections_and_what_is_in_hand_are_kept() {
        let graph = Network::default().graph(1, 2);
        let network = GraphNetwork::new(&graph, 0, Kind::Float, Device::Cpu);
        let (mut there, mut most) = (BTreeSet::new(), 0);
        for step in &network.steps {
            assert!(step.inputs.iter().all(|input| there.contains(input)), "{step:?}");
            there.insert(step.output);
            most = most.max(there.len());
            step.freed.iter().for_each(|value| assert!(there.remove(value)));
        }
        assert_eq!(there.into_iter().collect::<Vec<_>>(), network.outputs);
        // Four skip connections; and a block's input, shortcut, value and result.
        assert!(most <= 4 + 4, "{most}");
    }
}
