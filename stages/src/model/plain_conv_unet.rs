//! nnU-Net's default network, `PlainConvUNet` of dynamic-network-architectures, as a graph.

use super::architecture::Architecture;
use super::graph::Graph;
use super::unet_decoder::{self, StagedGraph};
use super::{Mistake, Network, Norm};

/// Stacked convolutions on each resolution stage.
pub struct PlainConvUnet;

impl Architecture for PlainConvUnet {
    fn keys(&self) -> &'static [&'static str] {
        &[
            "features",
            "kernel_sizes",
            "strides",
            "convolutions",
            "decoder_convolutions",
            "deep_supervision",
        ]
    }

    fn check(&self, network: &Network) -> Vec<Mistake> {
        unet_decoder::check(network, ("convolutions", &network.convolutions))
    }

    fn norm(&self, _network: &Network) -> Norm {
        Norm::Instance
    }

    fn graph(&self, network: &Network, inputs: usize, outputs: usize) -> Graph {
        let mut staged = StagedGraph::new(network, inputs);
        let (mut x, mut skips) = (Graph::INPUT, vec![]);
        for (stage, features) in network.features.iter().enumerate() {
            let (kernel, stride) = (network.kernel_sizes[stage], network.strides[stage]);
            let blocks = (network.convolutions[stage], kernel.xyz(), stride.xyz());
            x = staged.stacked(&format!("encoder.stages.{stage}.0"), x, *features, blocks);
            skips.push(x);
        }
        staged.decode(&skips, outputs)
    }
}

#[cfg(test)]
mod tests {
    use crate::model::{Network, NetworkName, PerAxis};

    fn network() -> Network {
        Network {
            name: NetworkName::PlainConvUnet,
            features: vec![32, 64, 128, 256, 320, 320],
            kernel_sizes: vec![PerAxis::All(3); 6],
            strides: [1, 2, 2, 2, 2, 2].map(PerAxis::All).into(),
            convolutions: vec![2; 6],
            decoder_convolutions: vec![2; 5],
            ..Network::default()
        }
    }

    #[test]
    fn nnu_nets_default_has_its_published_number_of_parameters_and_an_output_of_each_stage() {
        assert_eq!(network().check("network"), []);
        let graph = Network { deep_supervision: true, ..network() }.graph(1, 3);
        assert_eq!(graph.outputs.len(), 5);
        assert_eq!((graph.numel() as f64 / 1e5).round(), 312.0);
        let alone = network().graph(1, 3);
        assert_eq!(alone.outputs, graph.outputs[..1]);
        assert_eq!(alone.tensors(), graph.tensors());
    }

    #[test]
    fn lists_of_other_lengths_are_mistakes_that_say_what_is_needed() {
        let network = Network {
            kernel_sizes: vec![PerAxis::All(3); 5],
            strides: vec![PerAxis::All(2); 6],
            decoder_convolutions: vec![],
            convolutions: vec![2, 2, 2, 2, 2, 0],
            ..network()
        };
        let found = network.check("network");
        let wanted = [
            ("network.kernel_sizes", "6 features need 6 kernel_sizes, found 5"),
            ("network.strides", "the first must be 1, since the output has the image's sides"),
            ("network.convolutions", "each must lie in 1 to 64"),
            ("network.decoder_convolutions", "6 features need 5 decoder_convolutions, found 0"),
        ];
        assert_eq!(found, wanted.map(|(path, words)| (path.to_string(), words.to_string())));
    }
}
