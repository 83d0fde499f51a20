//! The weights in training, and their exponential moving average.

use crate::foreach;
use crate::network::{BatchPart, GraphNetwork, Pass};
use crate::weights::{self, NamedTensors, with_prefix, without_prefix};
use std::collections::BTreeMap;
use tch::{Device, Kind, Tensor};
use voxflow_stages::Result;
use voxflow_stages::kinds::train::Train;
use voxflow_stages::model::graph::Graph;
use voxflow_stages::model::tensor_spec::TensorRole;

/// Prefixes of the tensors in a checkpoint.
const WEIGHTS: &str = "weights/";
const AVERAGE: &str = "average/";

/// A network in training.
pub struct Model {
    network: GraphNetwork,
    ema: Option<Ema>,
    freeze: Vec<glob::Pattern>,
}

/// A moving average of the weights.
struct Ema {
    network: GraphNetwork,
    decay: f64,
}

impl Model {
    /// A network with initial weights, or with those of `start`.
    pub fn new(
        graph: &Graph,
        params: &Train,
        device: Device,
        start: Option<&BTreeMap<String, Tensor>>,
    ) -> Result<Model> {
        let freeze: Vec<glob::Pattern> =
            params.freeze.iter().filter_map(|pattern| glob::Pattern::new(pattern).ok()).collect();
        let network = build(graph, params.seed, device, &freeze);
        if let Some(start) = start {
            weights::fill(&network, start)?;
        }
        let mut ema = None;
        if let Some(decay) = params.ema {
            let average = build(graph, params.seed, device, &freeze);
            weights::fill(&average, &weights::snapshot(&network).into_iter().collect())?;
            ema = Some(Ema { network: average, decay });
        }
        Ok(Model { network, ema, freeze })
    }

    /// The network that the optimizer changes.
    pub fn network(&self) -> &GraphNetwork {
        &self.network
    }

    /// The network to validate and keep: the moving average if enabled.
    pub fn eval_model(&self) -> &GraphNetwork {
        self.ema.as_ref().map_or(&self.network, |ema| &ema.network)
    }

    /// The outputs of a training pass, logits first. `part` as in [`Pass`].
    pub fn forward(&self, images: &Tensor, compute: Kind, part: Option<BatchPart>) -> Vec<Tensor> {
        self.network.forward(images, Pass { part, ..Pass::training(compute) })
    }

    /// The running means and variances of batch norms, and their averages.
    pub fn statistics(&self) -> Vec<Tensor> {
        let networks =
            std::iter::once(&self.network).chain(self.ema.as_ref().map(|ema| &ema.network));
        let tensors = networks.flat_map(|network| network.parameters());
        tensors
            .filter(|tensor| tensor.role == TensorRole::Statistic)
            .map(|tensor| &tensor.tensor)
            .filter(|tensor| tensor.is_floating_point())
            .map(Tensor::shallow_clone)
            .collect()
    }

    /// True if the training leaves the tensor of this name alone.
    pub fn is_frozen(&self, name: &str) -> bool {
        matches_any(&self.freeze, name)
    }

    /// Moves the average towards the weights after step `step` (from 0), faster in the first steps:
    /// the decay is min(decay, (1+t)/(10+t)). `taken` is the Bool from
    /// [`Update`](super::stepper::Update): a skipped step leaves the average unchanged.
    pub fn update_ema(&self, step: u64, taken: Option<&Tensor>) {
        let Some(ema) = &self.ema else { return };
        let time = step as f64;
        let share = 1.0 - ema.decay.min((1.0 + time) / (10.0 + time));
        // Counters are whole numbers and cannot be averaged: they are copied.
        let (mut counters, mut values) = (TensorPairs::default(), TensorPairs::default());
        for (old, new) in ema.network.parameters().iter().zip(self.network.parameters()) {
            let is_counter = old.tensor.kind() == Kind::Int64;
            let pairs = if is_counter { &mut counters } else { &mut values };
            pairs.old.push(old.tensor.shallow_clone());
            pairs.new.push(new.tensor.detach());
        }
        match taken {
            None => {
                foreach::copy(&counters.old, &counters.new);
                foreach::lerp(&values.old, &values.new, share);
            }
            // Whether the step was taken is known on the device alone, and reading it would make
            // the processor wait: both outcomes are computed there, and one of them chosen.
            Some(taken) => {
                if !counters.old.is_empty() {
                    let [new, old] =
                        [&counters.new, &counters.old].map(|all| Tensor::stack(all, 0));
                    foreach::copy(&counters.old, &new.where_self(taken, &old).unbind(0));
                }
                let share = Tensor::where_scalar(taken, share, 0.0);
                foreach::lerp_by(&values.old, &values.new, &share);
            }
        }
    }

    /// Copies of all tensors for a checkpoint.
    pub fn snapshot(&self) -> NamedTensors {
        let mut tensors = with_prefix(WEIGHTS, weights::snapshot(&self.network));
        if let Some(ema) = &self.ema {
            tensors.extend(with_prefix(AVERAGE, weights::snapshot(&ema.network)));
        }
        tensors
    }

    /// True if a checkpoint's tensors hold all that this model keeps an average for.
    pub fn has_average_in(&self, tensors: &BTreeMap<String, Tensor>) -> bool {
        self.ema.is_none() || tensors.keys().any(|name| name.starts_with(AVERAGE))
    }

    /// Restores a checkpoint's tensors. Errors if they belong to another network.
    pub fn restore(&self, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
        weights::fill(&self.network, &without_prefix(WEIGHTS, tensors))?;
        match &self.ema {
            Some(ema) => weights::fill(&ema.network, &without_prefix(AVERAGE, tensors)),
            None => Ok(()),
        }
    }
}

/// Tensors from the average and from the network, side by side.
#[derive(Default)]
struct TensorPairs {
    old: Vec<Tensor>,
    new: Vec<Tensor>,
}

/// A network with initial weights.
fn build(graph: &Graph, seed: u64, device: Device, freeze: &[glob::Pattern]) -> GraphNetwork {
    GraphNetwork::with_frozen(graph, seed, Kind::Float, device, &|name| matches_any(freeze, name))
}

fn matches_any(patterns: &[glob::Pattern], name: &str) -> bool {
    patterns.iter().any(|pattern| pattern.matches(name))
}
