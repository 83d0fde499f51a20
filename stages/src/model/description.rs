//! `model.json`: the description of a trained model, complete enough to predict with the weights
//! alone.

use super::graph::Graph;
use super::{DecayPhase, Inference, Network, Provenance};
use crate::dataset::{Label, Region};
use crate::image::Preparation;
use crate::metric::post_processing::Steps;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use voxflow_cache::Digest;

/// The choice between a model's weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Weights {
    /// Those with the best validation score: `best.safetensors`.
    #[default]
    Best,
    /// Those after the last step: `last.safetensors`.
    Last,
}

impl Weights {
    /// The file's name in the model artifact.
    pub fn file(self) -> &'static str {
        match self {
            Weights::Best => "best.safetensors",
            Weights::Last => "last.safetensors",
        }
    }
}

/// `model.json` of a model artifact.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelCard {
    /// The version of this format.
    pub format: u32,
    /// The dataset it was trained on.
    pub dataset: String,
    /// Channel names, in the order of the network's inputs.
    pub modality: Vec<String>,
    /// The labels; the network's outputs are the background and then these, in order.
    pub labels: Vec<Label>,
    /// The regions of labels that are the network's outputs instead, each by sigmoid.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub regions: Vec<Region>,
    /// The images' preparation.
    pub preparation: Preparation,
    /// The network.
    pub network: Network,
    /// Sliding-window settings, with the window filled in.
    pub inference: Inference,
    /// Post-processing of label maps on images' own grids: for each list of labels, in order, only
    /// their largest component is kept. Chosen by the kind `postprocess`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keep_largest: Steps,
    /// The models of an ensemble, in folders beside this card. The card then tells what holds for
    /// all of them: labels, channels, post-processing, cases; network, preparation and inference
    /// are those of the first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<EnsembleMember>,
    /// Training summary.
    pub training: TrainingSummary,
    /// The cases that decided the weights; `None` if unknown (weights from another program, or an
    /// older model).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provenance: Option<Provenance>,
}

impl ModelCard {
    /// The network's graph in use: the logits alone.
    pub fn graph(&self) -> Graph {
        let network = Network { deep_supervision: false, ..self.network.clone() };
        network.graph(self.modality.len().max(1), self.outputs())
    }

    /// The number of the network's outputs.
    pub fn outputs(&self) -> usize {
        if self.regions.is_empty() { self.labels.len() + 1 } else { self.regions.len() }
    }

    /// The names of what is segmented: regions, or labels.
    pub fn names(&self) -> Vec<&str> {
        match self.regions.is_empty() {
            true => self.labels.iter().map(|label| label.name.as_str()).collect(),
            false => self.regions.iter().map(|region| region.name.as_str()).collect(),
        }
    }
}

/// A model of an ensemble.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnsembleMember {
    /// Its folder in the artifact, such as `fold_0`.
    pub folder: String,
    /// The number of its configuration, from 0. Models of one configuration have equal preparation
    /// and inference, and are averaged as its `inference.average` says; configurations by their
    /// probabilities on the image's own grid.
    #[serde(default)]
    pub configuration: usize,
}

/// Training summary.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingSummary {
    /// Epochs done.
    pub epochs: u32,
    /// Optimizer steps done.
    pub steps: u64,
    /// Training cases.
    pub training_cases: usize,
    /// Validation cases.
    pub validation_cases: usize,
    /// The epoch with the best validation score; `None` without validation.
    pub best_epoch: Option<u32>,
    /// Their validation score.
    pub best_dice: Option<f64>,
    /// The decision to end, if validation took it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decay: Option<DecayPhase>,
    /// The training that this one extends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extends: Option<ExtendedTraining>,
}

/// The training that another one extends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExtendedTraining {
    /// Epochs that it had done; with an end decided by validation, before its learning rate fell.
    pub epochs: u32,
    /// Digest of its last weights.
    pub last_weights: Digest,
}

/// The state of a finished training in its model, if `keep_state` asks for it.
pub const TRAINING_STATE: &str = "training.checkpoint";
