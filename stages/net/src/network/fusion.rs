//! Operator fusion: a norm with the dropout, activation and residual sum after it is one step.

use std::collections::{BTreeMap, BTreeSet};
use voxflow_stages::model::graph::{Graph, NodeId, Op};

/// The nodes of a fused step.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct NormActNodes {
    pub(super) norm: NodeId,
    /// Probability of dropout between norm and activation.
    pub(super) dropout: f64,
    pub(super) activation: NodeId,
    /// The other summand, if a sum is fused too.
    pub(super) added: Option<NodeId>,
}

/// The fused steps of a graph.
#[derive(Debug, Default)]
pub(super) struct Fusion {
    /// By the last node of each, whose value the step computes.
    pub(super) patterns: BTreeMap<NodeId, NormActNodes>,
    /// The other fused nodes: their values are never computed.
    pub(super) inner: BTreeSet<NodeId>,
}

impl Fusion {
    /// Finds all fused steps. A node can be inside one only if no other node and no output needs
    /// its value.
    pub(super) fn of_graph(graph: &Graph) -> Fusion {
        let users = graph.users();
        let only_user = |node: NodeId| match users[node.0][..] {
            [user] if !graph.outputs.contains(&node) => Some(user),
            _ => None,
        };
        let mut fusion = Fusion::default();
        for norm in graph.order() {
            if matches!(op(graph, norm), Op::Norm { .. }) {
                fusion.fuse(graph, norm, &only_user);
            }
        }
        fusion
    }

    fn fuse(
        &mut self,
        graph: &Graph,
        norm: NodeId,
        only_user: &dyn Fn(NodeId) -> Option<NodeId>,
    ) -> Option<()> {
        let mut inner = vec![norm];
        let mut next = only_user(norm)?;
        let mut dropout = 0.0;
        if let Op::Dropout(probability) = op(graph, next) {
            dropout = *probability;
            inner.push(next);
            next = only_user(next)?;
        }
        let Op::Activation(_) = op(graph, next) else { return None };
        let activation = next;
        // A sum of two activations can be fused with one of them only.
        let sum = only_user(activation)
            .filter(|sum| *op(graph, *sum) == Op::Add && !self.patterns.contains_key(sum));
        let added = sum.and_then(|sum| {
            graph.nodes[sum.0].inputs.iter().copied().find(|input| *input != activation)
        });
        inner.extend(sum.map(|_| activation));
        self.inner.extend(inner);
        let pattern = NormActNodes { norm, dropout, activation, added };
        self.patterns.insert(sum.unwrap_or(activation), pattern);
        Some(())
    }
}

fn op(graph: &Graph, node: NodeId) -> &Op {
    &graph.nodes[node.0].op
}

#[cfg(test)]
mod tests {
    use super::*;
    use voxflow_stages::model::graph::Activation::PRelu;
    use voxflow_stages::model::graph::Conv;
    use voxflow_stages::model::{Network, Norm};

    #[test]
    fn every_norm_of_the_reference_network_is_one_step_with_its_activation_and_sum() {
        let graph = Network { dropout: 0.1, ..Network::default() }.graph(1, 2);
        let fusion = Fusion::of_graph(&graph);
        let count = |wanted: fn(&Op) -> bool| {
            let nodes = (0..graph.nodes.len()).map(NodeId);
            let left = nodes.filter(|node| !fusion.inner.contains(node));
            left.filter(|node| !fusion.patterns.contains_key(node))
                .filter(|node| wanted(op(&graph, *node)))
                .count()
        };
        assert_eq!(fusion.patterns.len(), 10 + 4 + 3, "down, transposed, and after these");
        assert_eq!(fusion.patterns.values().filter(|pattern| pattern.added.is_some()).count(), 8);
        let fused = |op: &Op| matches!(op, Op::Norm { .. } | Op::Dropout(_) | Op::Activation(_));
        assert_eq!(count(fused), 0);
        assert_eq!(count(|op| *op == Op::Add), 1, "the last block has no norm");
    }

    #[test]
    fn values_that_others_need_are_not_inside_a_pattern() {
        let mut graph = Graph::new(1);
        let x = graph.conv("conv", Graph::INPUT, 4, Conv::same([3; 3], [1; 3]));
        let read_twice = graph.norm("n1", x, Norm::Batch, true);
        let left = graph.activation("a1", read_twice, PRelu);
        let norm = graph.norm("n2", read_twice, Norm::Batch, true);
        let right = graph.activation("a2", norm, PRelu);
        let norm = graph.norm("n3", right, Norm::Batch, true);
        let third = graph.activation("a3", norm, PRelu);
        let sum = graph.add(left, third);
        [sum, third].into_iter().for_each(|output| graph.output(output));
        let fusion = Fusion::of_graph(&graph);
        assert_eq!(fusion.patterns.keys().copied().collect::<Vec<_>>(), [right, third]);
        assert!(fusion.patterns.values().all(|pattern| pattern.added.is_none()));
    }

    #[test]
    fn a_sum_of_two_activations_belongs_to_one_of_them() {
        let mut graph = Graph::new(1);
        let branch = |graph: &mut Graph, name: &str| {
            let norm = graph.norm(name, Graph::INPUT, Norm::Instance, false);
            graph.activation(&format!("{name}.A"), norm, PRelu)
        };
        let (one, two) = (branch(&mut graph, "one"), branch(&mut graph, "two"));
        let sum = graph.add(one, two);
        graph.output(sum);
        let fusion = Fusion::of_graph(&graph);
        let added: Vec<_> = fusion.patterns.values().map(|pattern| pattern.added).collect();
        assert_eq!(fusion.patterns.len(), 2);
        assert_eq!(added.iter().flatten().count(), 1);
    }
}
