//! Scoring: the parameters of the kinds `validate` and `test`.

use super::{InferenceOptions, Mistake, is_amount, mistake};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Scoring parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scoring {
    /// Surfaces closer than this, in mm, count as agreeing in surface Dice.
    #[serde(default = "one_mm")]
    pub tolerance_mm: f64,
    /// The use of the models.
    #[serde(flatten)]
    pub options: InferenceOptions,
    /// Score cases used for the model's training or selection, with a warning, instead of refusing
    /// them (data leakage).
    #[serde(default)]
    #[schemars(extend("x-neutral" = false))]
    pub allow_leakage: bool,
    /// Of 'test': also write nnU-Net's summary.json.
    #[serde(default)]
    #[schemars(extend("x-neutral" = false))]
    pub summary_json: bool,
}

fn one_mm() -> f64 {
    1.0
}

impl Scoring {
    /// Checks beyond types.
    pub fn check(&self) -> Vec<Mistake> {
        let tolerance =
            mistake(!is_amount(self.tolerance_mm), "tolerance_mm", "must not be negative");
        tolerance.into_iter().chain(self.options.check()).collect()
    }
}
