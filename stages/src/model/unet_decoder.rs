//! The way up in nnU-Net's networks, and their shared checks and blocks, under the names from
//! dynamic-network-architectures.

use super::graph::{Activation, Conv, ConvInit, Graph, NodeId};
use super::{Mistake, Network, Norm, mistake};

/// The slope below 0 of nnU-Net's LeakyReLU.
pub const SLOPE: f64 = 0.01;

/// Convolutions or blocks of a resolution stage.
const DEPTHS: std::ops::RangeInclusive<u32> = 1..=64;

/// Mistakes in the lists of both networks; `depths` is their own list: its key, and its values.
pub fn check(network: &Network, (key, depths): (&str, &[u32])) -> Vec<Mistake> {
    let stages = network.features.len();
    let length = |key: &'static str, found: usize, wanted: usize| {
        let trouble = format!("{stages} features need {wanted} {key}, found {found}");
        mistake(found != wanted, key, trouble)
    };
    let wide = network.features.iter().any(|count| !(1..=4096).contains(count));
    let first = network.strides.first().is_some_and(|stride| stride.xyz() != [1; 3]);
    let decoder = &network.decoder_convolutions;
    let trouble = format!("{stages} features need {stages} {key}, found {}", depths.len());
    let words = "each must lie in 1 to 64";
    [
        mistake(stages < 2, "features", "needs at least two resolution stages, as in [32, 64]"),
        mistake(wide, "features", "each must lie in 1 to 4096"),
        length("kernel_sizes", network.kernel_sizes.len(), stages),
        mistake(
            !network.kernel_sizes.iter().all(|kernel| kernel.is_kernel()),
            "kernel_sizes",
            "sides must be odd, at most 31",
        ),
        length("strides", network.strides.len(), stages),
        mistake(
            !network.strides.iter().all(|stride| stride.is_stride()),
            "strides",
            "each must lie in 1 to 16",
        ),
        mistake(first, "strides", "the first must be 1, since the output has the image's sides"),
        mistake(depths.len() != stages, key, trouble),
        mistake(!depths.iter().all(|count| DEPTHS.contains(count)), key, words),
        length("decoder_convolutions", decoder.len(), stages.saturating_sub(1)),
        mistake(!decoder.iter().all(|count| DEPTHS.contains(count)), "decoder_convolutions", words),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A graph in the making.
pub struct StagedGraph<'a> {
    /// The parameters.
    pub network: &'a Network,
    /// The nodes so far.
    pub graph: Graph,
}

impl StagedGraph<'_> {
    /// Begins with the image.
    pub fn new(network: &Network, inputs: usize) -> StagedGraph<'_> {
        let initial = ConvInit::HeNormal { slope: SLOPE };
        StagedGraph { network, graph: Graph { initial, ..Graph::new(inputs as u32) } }
    }

    /// A convolution and its norm, without activation.
    pub fn normalised(&mut self, path: &str, x: NodeId, channels: u32, conv: Conv) -> NodeId {
        let x = self.graph.conv(&format!("{path}.conv"), x, channels, conv);
        self.graph.repeat(x, twins(path, "conv", 0));
        let x = self.graph.norm(&format!("{path}.norm"), x, Norm::Instance, true);
        self.graph.repeat(x, twins(path, "norm", 1));
        x
    }

    /// LeakyReLU.
    pub fn activation(&mut self, x: NodeId) -> NodeId {
        self.graph.activation("", x, Activation::LeakyRelu(SLOPE))
    }

    /// `count` times convolution, norm and activation; the first has the strides.
    pub fn stacked(
        &mut self,
        path: &str,
        mut x: NodeId,
        channels: u32,
        (count, kernel, stride): (u32, [u32; 3], [u32; 3]),
    ) -> NodeId {
        for index in 0..count {
            let conv = Conv::same(kernel, if index == 0 { stride } else { [1; 3] });
            let normalised = self.normalised(&format!("{path}.convs.{index}"), x, channels, conv);
            x = self.activation(normalised);
        }
        x
    }

    /// The way up from the values of the encoder's stages, top first, and the outputs: those of all
    /// stages with deep supervision, else of the top alone. Either has all tensors.
    pub fn decode(mut self, skips: &[NodeId], outputs: usize) -> Graph {
        let network = self.network;
        let (mut logits, mut below) = (vec![], skips[skips.len() - 1]);
        for (index, count) in network.decoder_convolutions.iter().enumerate() {
            let stage = skips.len() - 2 - index;
            let channels = network.features[stage];
            let up = Conv::enlarging(network.strides[stage + 1].xyz());
            let up = self.graph.conv(&format!("decoder.transpconvs.{index}"), below, channels, up);
            let joined = self.graph.cat(&[up, skips[stage]]);
            let blocks = (*count, network.kernel_sizes[stage].xyz(), [1; 3]);
            below = self.stacked(&format!("decoder.stages.{index}"), joined, channels, blocks);
            let path = format!("decoder.seg_layers.{index}");
            let head = Conv::same([1; 3], [1; 3]);
            logits.push(self.graph.conv(&path, below, outputs as u32, head));
        }
        let supervised = if network.deep_supervision { logits.len() } else { 1 };
        logits.iter().rev().take(supervised).for_each(|output| self.graph.output(*output));
        self.graph
    }
}

/// A module keeps its parts as attributes and in a list, and the decoder keeps the encoder: the
/// `state_dict` has their tensors under each of these names.
fn twins(path: &str, name: &str, index: usize) -> Vec<String> {
    let listed = format!("{path}.all_modules.{index}");
    let mut twins = vec![listed.clone()];
    if path.starts_with("encoder.") {
        twins.extend([format!("decoder.{path}.{name}"), format!("decoder.{listed}")]);
    }
    twins
}
