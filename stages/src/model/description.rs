//! `model.json`: what a trained model says of itself, enough to predict with nothing else at hand.

use super::graph::Graph;
use super::{Inference, Network, Provenance};
use crate::dataset::Label;
use crate::image::Preparation;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The weights of a model.
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
    /// The name of the file in the model artifact.
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
    /// The name of each image channel, in the order of the network's inputs.
    pub modality: Vec<String>,
    /// The labels; the network's outputs are the background and then these, in order.
    pub labels: Vec<Label>,
    /// Preparation of images.
    pub preparation: Preparation,
    /// The network.
    pub network: Network,
    /// Sliding-window inference, with its window filled in.
    pub inference: Inference,
    /// Summary of the training.
    pub training: TrainingSummary,
    /// The cases that decided the weights; `None` where nobody knows (another program's weights, or
    /// a model of before this was kept).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provenance: Option<Provenance>,
}

impl ModelCard {
    /// The graph of the network.
    pub fn graph(&self) -> Graph {
        self.network.graph(self.modality.len().max(1), self.labels.len() + 1)
    }
}

/// Summary of a training.
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
    /// The epoch whose weights are the best ones; none where nothing was validated.
    pub best_epoch: Option<u32>,
    /// Their validation score.
    pub best_dice: Option<f64>,
}
