//! nnU-Net's network with a residual encoder (ResEnc), `ResidualEncoderUNet` of
//! dynamic-network-architectures, as a graph.

use super::architecture::Architecture;
use super::graph::{Conv, Graph, NodeId};
use super::unet_decoder::{self, StagedGraph};
use super::{Mistake, Network, Norm};

/// Residual blocks on each resolution stage on the way down.
pub struct ResidualEncoderUnet;

impl Architecture for ResidualEncoderUnet {
    fn keys(&self) -> &'static [&'static str] {
        &[
            "features",
            "kernel_sizes",
            "strides",
            "blocks",
            "decoder_convolutions",
            "deep_supervision",
        ]
    }

    fn check(&self, network: &Network) -> Vec<Mistake> {
        unet_decoder::check(network, ("blocks", &network.blocks))
    }

    fn norm(&self, _network: &Network) -> Norm {
        Norm::Instance
    }

    fn graph(&self, network: &Network, inputs: usize, outputs: usize) -> Graph {
        let mut staged = StagedGraph::new(network, inputs);
        let kernels: Vec<[u32; 3]> = network.kernel_sizes.iter().map(|one| one.xyz()).collect();
        let stem = (1, kernels[0], [1; 3]);
        let mut x = staged.stacked("encoder.stem", Graph::INPUT, network.features[0], stem);
        let mut skips = vec![];
        for (stage, features) in network.features.iter().enumerate() {
            for index in 0..network.blocks[stage] {
                let stride = if index == 0 { network.strides[stage].xyz() } else { [1; 3] };
                let path = format!("encoder.stages.{stage}.blocks.{index}");
                let conv = Conv::same(kernels[stage], stride);
                x = block(&mut staged, &path, x, *features, conv);
            }
            skips.push(x);
        }
        staged.decode(&skips, outputs)
    }
}

/// Two convolutions, the first with the strides, and the shortcut: the mean over blocks if strided,
/// then a convolution 1×1×1 and a norm if channels change. The second norm starts at 0, so that the
/// block starts as its shortcut.
fn block(staged: &mut StagedGraph, path: &str, x: NodeId, channels: u32, conv: Conv) -> NodeId {
    let (kernel, stride) = (conv.kernel, conv.stride);
    let first = staged.normalised(&format!("{path}.conv1"), x, channels, conv);
    let first = staged.activation(first);
    let same = Conv::same(kernel, [1; 3]);
    let second = staged.normalised(&format!("{path}.conv2"), first, channels, same);
    staged.graph.zeroed.insert(second);
    let mut shortcut = staged.graph.avg_pool(x, stride);
    if staged.graph.channels(x) != channels {
        let place = usize::from(stride != [1; 3]);
        let point = Conv { bias: false, ..Conv::same([1; 3], [1; 3]) };
        let path = format!("{path}.skip.{place}");
        shortcut = staged.normalised(&path, shortcut, channels, point);
    }
    let sum = staged.graph.add(second, shortcut);
    staged.activation(sum)
}

#[cfg(test)]
mod tests {
    use crate::model::tensor_spec::InitialValue;
    use crate::model::{Network, NetworkName, PerAxis};

    fn network() -> Network {
        Network {
            name: NetworkName::ResidualEncoderUnet,
            features: vec![32, 64, 128, 256, 320, 320],
            kernel_sizes: vec![PerAxis::All(3); 6],
            strides: [1, 2, 2, 2, 2, 2].map(PerAxis::All).into(),
            blocks: vec![1, 3, 4, 6, 6, 6],
            decoder_convolutions: vec![1; 5],
            deep_supervision: true,
            ..Network::default()
        }
    }

    #[test]
    fn it_has_its_published_number_of_parameters() {
        assert_eq!(network().check("network"), []);
        assert_eq!((network().graph(1, 3).numel() as f64 / 1e5).round(), 1024.0);
    }

    #[test]
    fn the_last_norm_of_each_block_starts_at_zero_and_all_others_at_one() {
        let tensors = network().graph(1, 2).tensors();
        let norms = tensors.iter().filter(|spec| spec.name.ends_with(".norm.weight"));
        let zero = |last: &bool| InitialValue::Constant(if *last { 0.0 } else { 1.0 });
        let mut zeroed = 0;
        for spec in norms {
            let last = spec.name.contains(".conv2.");
            assert_eq!(spec.initial, zero(&last), "{}", spec.name);
            zeroed += usize::from(last);
        }
        assert_eq!(zeroed, 26);
    }
}
