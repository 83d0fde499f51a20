//! `test`: scores a model on the testing cases in each image's own space, and writes the predictions.

use super::{ArtifactType, Count, Pool, Read, Stage};
use crate::model::{Inference, Mistake, Weights, is_amount, mistake};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Scores a model on the testing cases in each image's own space, and writes the predictions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Test {
    /// Surfaces closer than this, in mm, count as agreeing in surface Dice.
    #[serde(default = "one_mm")]
    pub tolerance_mm: f64,
    /// How the network is slid over volumes; null takes the model's own settings.
    #[serde(default)]
    pub inference: Option<Inference>,
    /// Average over all eight flips of the volume (eight times as slow).
    #[serde(default)]
    pub flips: bool,
    /// Which of the model's weights.
    #[serde(default)]
    pub weights: Weights,
}

fn one_mm() -> f64 {
    1.0
}

impl Stage for Test {
    const NAME: &'static str = "test";
    const VERSION: u32 = 1;
    const READS: &'static [Read] = &[
        Read {
            role: "dataset",
            artifact: ArtifactType::Dataset,
            parts: &[""],
            count: Count::One,
            doc: "the original label files",
        },
        Read {
            role: "cache",
            artifact: ArtifactType::Cache,
            parts: &["testing/"],
            count: Count::One,
            doc: "testing volumes",
        },
        Read {
            role: "model",
            artifact: ArtifactType::Model,
            parts: &[""],
            count: Count::Many,
            doc: "the network; several are averaged",
        },
    ];
    const MAKES: ArtifactType = ArtifactType::Scores;
    const POOL: Pool = Pool::Gpu;

    fn check(&self) -> Vec<Mistake> {
        let tolerance = mistake(!is_amount(self.tolerance_mm), "tolerance_mm", "must not be negative");
        let inference = self.inference.iter().flat_map(|inference| inference.check("inference"));
        tolerance.into_iter().chain(inference).collect()
    }
}
