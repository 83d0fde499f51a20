//! MONAI's `UNet` in three dimensions as a graph, with MONAI's parameter names in the order of its
//! `state_dict`.

use super::architecture::Architecture;
use super::graph::{Activation, Conv, Graph, NodeId};
use super::{Mistake, Network, Norm, PerAxis, mistake};

/// MONAI's U-Net.
pub struct Unet;

impl Architecture for Unet {
    fn keys(&self) -> &'static [&'static str] {
        &["channels", "strides", "kernel", "up_kernel", "residual_units", "norm", "dropout"]
    }

    fn check(&self, network: &Network) -> Vec<Mistake> {
        let (channels, strides) = (network.channels.len(), network.strides.len());
        let needed = channels.saturating_sub(1);
        let lacking = format!("{channels} levels need {needed} strides, found {strides}");
        let kernel = "sides must be odd, at most 31";
        let wide = network.channels.iter().any(|count| !(1..=4096).contains(count));
        let far = !network.strides.iter().all(|stride| stride.is_stride());
        let table: [(bool, &str, &str); 8] = [
            (channels < 2, "channels", "needs at least two levels, as in [16, 32]"),
            (wide, "channels", "each must lie in 1 to 4096"),
            (strides + 1 != channels, "strides", &lacking),
            (far, "strides", "each must lie in 1 to 16"),
            (!network.kernel.is_kernel(), "kernel", kernel),
            (!network.up_kernel.is_kernel(), "up_kernel", kernel),
            (network.residual_units > 16, "residual_units", "must lie in 0 to 16"),
            (!(0.0..1.0).contains(&network.dropout), "dropout", "must lie in 0 to below 1"),
        ];
        table.into_iter().filter_map(|(is, key, words)| mistake(is, key, words)).collect()
    }

    fn norm(&self, network: &Network) -> Norm {
        network.norm
    }

    fn graph(&self, network: &Network, inputs: usize, outputs: usize) -> Graph {
        let mut builder = UnetBuilder { network, graph: Graph::new(inputs as u32) };
        let logits = builder.level("model", Graph::INPUT, outputs as u32, 0);
        builder.graph.output(logits);
        builder.graph
    }
}

/// A graph in the making.
struct UnetBuilder<'a> {
    network: &'a Network,
    graph: Graph,
}

impl UnetBuilder<'_> {
    /// Down, the levels below beside the skip connection, and up from both, joined.
    fn level(&mut self, path: &str, x: NodeId, outputs: u32, depth: usize) -> NodeId {
        let network = self.network;
        let (width, width_below) = (network.channels[depth], network.channels[depth + 1]);
        let stride = network.strides[depth];
        let path_below = format!("{path}.1.submodule");
        let down = self.block(&format!("{path}.0"), x, width, stride);
        let below = if depth + 2 == network.channels.len() {
            self.block(&path_below, down, width_below, PerAxis::All(1))
        } else {
            self.level(&path_below, down, width, depth + 1)
        };
        let joined = self.graph.cat(&[down, below]);
        self.up(&format!("{path}.2"), joined, outputs, stride, depth == 0)
    }

    fn block(&mut self, path: &str, x: NodeId, outputs: u32, stride: PerAxis) -> NodeId {
        let conv = Conv::same(self.network.kernel.xyz(), stride.xyz());
        match self.network.residual_units {
            0 => self.convolution(path, x, outputs, conv, true),
            units => self.residual(path, x, outputs, conv, units, true),
        }
    }

    /// Neither norm nor activation follow the last convolution of the top level.
    fn up(&mut self, path: &str, x: NodeId, outputs: u32, stride: PerAxis, top: bool) -> NodeId {
        let conv = Conv::transposed(self.network.up_kernel.xyz(), stride.xyz());
        if self.network.residual_units == 0 {
            return self.convolution(path, x, outputs, conv, !top);
        }
        let x = self.convolution(&format!("{path}.0"), x, outputs, conv, true);
        let same = Conv::same(self.network.kernel.xyz(), [1; 3]);
        self.residual(&format!("{path}.1"), x, outputs, same, 1, !top)
    }

    /// `units` convolutions, the first with the strides, plus the input; the input passes through a
    /// convolution if shapes differ.
    fn residual(
        &mut self,
        path: &str,
        x: NodeId,
        outputs: u32,
        conv: Conv,
        units: u32,
        last_normalised: bool,
    ) -> NodeId {
        let mut branch = x;
        for index in 0..units {
            let stride = if index == 0 { conv.stride } else { [1; 3] };
            let conv = Conv::same(conv.kernel, stride);
            let normalised = last_normalised || index + 1 < units;
            let path = format!("{path}.conv.unit{index}");
            branch = self.convolution(&path, branch, outputs, conv, normalised);
        }
        let strided = conv.stride != [1; 3];
        let mut shortcut = x;
        if strided || self.graph.channels(x) != outputs {
            let kernel = if strided { conv.kernel } else { [1; 3] };
            let conv = Conv::same(kernel, conv.stride);
            shortcut = self.graph.conv(&format!("{path}.residual"), x, outputs, conv);
        }
        self.graph.add(branch, shortcut)
    }

    /// A convolution; if `normalised`, then norm, dropout and activation.
    fn convolution(
        &mut self,
        path: &str,
        x: NodeId,
        outputs: u32,
        conv: Conv,
        normalised: bool,
    ) -> NodeId {
        let x = self.graph.conv(&format!("{path}.conv"), x, outputs, conv);
        if !normalised {
            return x;
        }
        let norm = self.network.norm;
        let x = self.graph.norm(&format!("{path}.adn.N"), x, norm, norm == Norm::Batch);
        let x = self.graph.dropout(x, self.network.dropout);
        self.graph.activation(&format!("{path}.adn.A"), x, Activation::PRelu)
    }
}

#[cfg(test)]
mod tests {
    use crate::model::Network;
    use crate::model::graph::{NodeId, Op};
    use crate::model::tensor_spec::TensorRole;

    #[test]
    fn the_reference_network_has_its_published_number_of_parameters() {
        let graph = Network::default().graph(1, 2);
        let tensors = graph.tensors();
        let learned = tensors.iter().filter(|tensor| tensor.role.is_learned());
        assert_eq!(
            learned.map(|tensor| tensor.shape.iter().product::<usize>()).sum::<usize>(),
            4_808_917
        );
        assert_eq!(tensors[0].name, "model.0.conv.unit0.conv.weight");
        assert_eq!(tensors.last().unwrap().name, "model.2.1.conv.unit0.conv.bias");
        let not_learned = tensors.iter().filter(|tensor| !tensor.role.is_learned());
        let statistics: usize =
            not_learned.map(|tensor| tensor.shape.iter().product::<usize>()).sum();
        assert_eq!(graph.numel(), 4_808_917 + statistics as u64);
    }

    #[test]
    fn only_biases_before_norms_are_taken_out_by_them() {
        let tensors = Network::default().graph(1, 2).tensors();
        let role = |name: &str| tensors.iter().find(|tensor| tensor.name == name).unwrap().role;
        assert_eq!(role("model.0.conv.unit0.conv.bias"), TensorRole::BiasBeforeNorm);
        assert_eq!(role("model.2.0.conv.bias"), TensorRole::BiasBeforeNorm);
        assert_eq!(role("model.0.residual.bias"), TensorRole::Weight);
        assert_eq!(role("model.2.1.conv.unit0.conv.bias"), TensorRole::Weight);
        assert_eq!(role("model.0.conv.unit0.adn.N.num_batches_tracked"), TensorRole::Counter);
    }

    #[test]
    fn nodes_stand_in_the_order_of_the_state_dict_and_shortcuts_are_computed_first() {
        let graph = Network::default().graph(1, 2);
        let order = graph.order();
        assert_eq!(order.len(), graph.nodes.len(), "every node is needed, once");
        let at = |path: &str| graph.nodes.iter().position(|node| node.path == path).unwrap();
        let turn = |path: &str| order.iter().position(|id| *id == NodeId(at(path))).unwrap();
        let (branch, shortcut) = ("model.0.conv.unit0.conv", "model.0.residual");
        assert!(at(branch) < at(shortcut));
        assert!(turn(branch) > turn(shortcut));
        for (place, id) in order.iter().enumerate() {
            let inputs = &graph.nodes[id.0].inputs;
            assert!(inputs.iter().all(|input| input < id && order[..place].contains(input)));
        }
        assert_eq!(graph.nodes[graph.outputs[0].0].op, Op::Add);
    }
}
