//! How models are scored: the parameters of the kinds `validate` and `test`.

use super::{Inference, Mistake, Weights, is_amount, mistake};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How models are scored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scoring {
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
    /// Score cases that the model was trained on or chosen by, with a warning, instead of refusing
    /// them (data leakage).
    #[serde(default)]
    #[schemars(extend("x-neutral" = false))]
    pub allow_leakage: bool,
}

fn one_mm() -> f64 {
    1.0
}

impl Scoring {
    /// What types cannot say.
    pub fn check(&self) -> Vec<Mistake> {
        let tolerance =
            mistake(!is_amount(self.tolerance_mm), "tolerance_mm", "must not be negative");
        let inference = self.inference.iter().flat_map(|inference| inference.check("inference"));
        tolerance.into_iter().chain(inference).collect()
    }
}
