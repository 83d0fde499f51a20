//! Networks as libtorch operations: [`GraphNetwork`] runs any graph of `voxflow_stages::model`.
//!
//! Tensors are (N, C, X, Y, Z). In memory, tensors of many channels are laid out with channels
//! last, the fast layout for the processor and for tensor cores. Tensors of few channels (the
//! classes at the top) have channels first, since norms and activations over three interleaved
//! values are six times as slow. Shapes are the same in both layouts.

mod conv;
mod dropout;
mod fusion;
mod norm_act;
mod pass;
mod small_conv;
mod steps;
mod sync_batch_norm;

pub use pass::{BatchPart, Pass};

use crate::initializer::Initializer;
use steps::ExecutionStep;
use tch::{Device, Kind, Tensor};
use voxflow_stages::model::graph::Graph;
use voxflow_stages::model::tensor_spec::{TensorRole, TensorSpec};

/// A named tensor of a network.
#[derive(Debug)]
pub struct NetworkTensor {
    /// Its key in the `state_dict`.
    pub name: String,
    /// The values, shared with the network's operations.
    pub tensor: Tensor,
    /// Its role in training.
    pub role: TensorRole,
}

/// A network: the tensors of a graph, and the steps that compute its outputs.
#[derive(Debug)]
pub struct GraphNetwork {
    specs: Vec<TensorSpec>,
    parameters: Vec<NetworkTensor>,
    steps: Vec<ExecutionStep>,
    /// The nodes of the outputs.
    outputs: Vec<usize>,
    nodes: usize,
}

impl GraphNetwork {
    /// The network of a graph, with initial values drawn from `seed`. `kind` is Float, or Double
    /// for comparisons.
    pub fn new(graph: &Graph, seed: u64, kind: Kind, device: Device) -> GraphNetwork {
        GraphNetwork::with_frozen(graph, seed, kind, device, &|_| false)
    }

    /// [`GraphNetwork::new`] with batch norms that keep their running statistics, and normalise by
    /// them in training too, if `frozen` is true for the name of a statistic.
    pub fn with_frozen(
        graph: &Graph,
        seed: u64,
        kind: Kind,
        device: Device,
        frozen: &dyn Fn(&str) -> bool,
    ) -> GraphNetwork {
        let mut initializer = Initializer::new(seed);
        let by_node = graph.tensors_by_node();
        let (mut tensors, mut parameters) = (vec![], vec![]);
        for (node, specs) in graph.nodes.iter().zip(&by_node) {
            let mut own = vec![];
            for spec in specs {
                let mut values = initializer.tensor(spec);
                if conv::is_channels_last(node) && spec.shape.len() == 5 {
                    values = channels_last(&values);
                }
                let kind = if spec.is_counter() { Kind::Int64 } else { kind };
                let tensor = values.to_device(device).to_kind(kind);
                own.push(tensor.shallow_clone());
                parameters.push(NetworkTensor { name: spec.name.clone(), tensor, role: spec.role });
            }
            tensors.push(own);
        }
        let keeps_statistics = |node: usize| {
            let statistics = by_node[node].iter().filter(|spec| spec.role == TensorRole::Statistic);
            statistics.map(|spec| spec.name.as_str()).any(frozen)
        };
        GraphNetwork {
            steps: steps::of_graph(graph, &tensors, &keeps_statistics, (kind, device)),
            specs: by_node.concat(),
            parameters,
            outputs: graph.outputs.iter().map(|output| output.0).collect(),
            nodes: graph.nodes.len(),
        }
    }

    /// The outputs for images (N, C, X, Y, Z), logits (N, classes, X, Y, Z) first. For MONAI's
    /// UNet, all sides must be multiples of the strides' product.
    pub fn forward(&self, images: &Tensor, pass: Pass) -> Vec<Tensor> {
        let values = steps::run(&self.steps, self.nodes, images, pass);
        self.outputs.iter().map(|output| values[*output].shallow_clone()).collect()
    }

    /// The first output alone, without the steps that only the others need.
    pub fn logits(&self, images: &Tensor, pass: Pass) -> Tensor {
        let logits = self.outputs[0];
        let last = self.steps.iter().position(|step| step.output == logits);
        let needed = last.map_or(&self.steps[..], |last| &self.steps[..=last]);
        steps::run(needed, self.nodes, images, pass)[logits].shallow_clone()
    }

    /// All tensors, in the order of the `state_dict`.
    pub fn parameters(&self) -> &[NetworkTensor] {
        &self.parameters
    }

    /// Name, shape and role of all tensors, in the same order.
    pub fn specs(&self) -> &[TensorSpec] {
        &self.specs
    }

    /// Number of learned values.
    pub fn count(&self) -> usize {
        let learned = self.parameters.iter().filter(|parameter| parameter.role.is_learned());
        learned.map(|parameter| parameter.tensor.numel()).sum()
    }
}

/// The tensor in channels-last memory layout.
pub fn channels_last(tensor: &Tensor) -> Tensor {
    tensor.permute([0, 2, 3, 4, 1]).contiguous().permute([0, 4, 1, 2, 3])
}

#[cfg(test)]
mod tests {
    use super::*;
    use voxflow_stages::model::{Network, Norm, PerAxis};

    fn unet(network: &Network, outputs: usize) -> GraphNetwork {
        GraphNetwork::new(&network.graph(1, outputs), 0, Kind::Float, Device::Cpu)
    }

    #[test]
    fn the_reference_networks_have_their_published_numbers_of_parameters() {
        assert_eq!(unet(&Network::default(), 2).count(), 4_808_917);
        let wide = Network { channels: vec![32, 64, 128, 256, 512], ..Network::default() };
        assert_eq!(unet(&wide, 2).count(), 19_221_797);
    }

    #[test]
    fn logits_have_the_shape_of_the_image_whatever_the_strides_and_units() {
        let strides = vec![PerAxis::Each([2, 2, 1]), PerAxis::All(2)];
        let small = Network { channels: vec![4, 6, 8], strides, ..Network::default() };
        let image = Tensor::zeros([2, 1, 8, 12, 6], (Kind::Float, Device::Cpu));
        for residual_units in [0, 1, 3] {
            for norm in [Norm::Batch, Norm::Instance] {
                let network = Network { residual_units, norm, ..small.clone() };
                let pass = Pass::training(Kind::Float);
                let outputs = unet(&network, 3).forward(&image, pass);
                assert_eq!(outputs.len(), 1);
                assert_eq!(outputs[0].size(), [2, 3, 8, 12, 6]);
            }
        }
    }

    #[test]
    fn initial_weights_are_spread_as_pytorch_spreads_them() {
        let network = unet(&Network::default(), 2);
        let named =
            |name: &str| &network.parameters().iter().find(|p| p.name == name).unwrap().tensor;
        let weight = named("model.1.submodule.0.conv.unit1.conv.weight");
        let bound = 1.0 / f64::sqrt(32.0 * 27.0);
        assert!(weight.abs().max().double_value(&[]) <= bound);
        let spread = weight.std(true).double_value(&[]);
        assert!(
            (spread / (bound / f64::sqrt(3.0)) - 1.0).abs() < 0.02,
            "standard deviation {spread}"
        );
        assert_eq!(named("model.0.conv.unit0.adn.A.weight").double_value(&[0]), 0.25);
    }
}
