//! The loss's description: Dice, cross-entropy, or their weighted sum.

use super::{Mistake, is_amount, mistake};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The loss function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LossKind {
    /// The weighted sum of both.
    #[default]
    DiceCe,
    /// Dice alone.
    Dice,
    /// Cross-entropy alone.
    Ce,
}

/// The loss function on softmax probabilities against one-hot labels, as MONAI's `DiceCELoss`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LossParams {
    /// The loss: Dice, cross-entropy, or both.
    pub name: LossKind,
    /// Count the background as a class in Dice.
    pub include_background: bool,
    /// Sum squares in the denominator of Dice.
    pub squared_pred: bool,
    /// Compute Dice over the whole batch at once instead of for each patch.
    pub batch: bool,
    /// Added to the numerator of Dice.
    pub smooth_nr: f64,
    /// Added to the denominator of Dice.
    pub smooth_dr: f64,
    /// The weights of Dice and cross-entropy in their sum (for dice_ce).
    pub weights: [f64; 2],
}

impl Default for LossParams {
    fn default() -> Self {
        LossParams {
            name: LossKind::DiceCe,
            include_background: true,
            squared_pred: true,
            batch: true,
            smooth_nr: 1e-5,
            smooth_dr: 1e-5,
            weights: [0.5, 0.5],
        }
    }
}

impl LossParams {
    /// Mistakes in the parameters; `path` is their place in the workflow.
    pub fn check(&self, path: &str) -> Vec<Mistake> {
        let weights =
            self.weights.iter().any(|weight| !is_amount(*weight)) || self.weights == [0.0, 0.0];
        [
            mistake(
                !is_amount(self.smooth_nr),
                format!("{path}.smooth_nr"),
                "must not be negative",
            ),
            mistake(
                !is_amount(self.smooth_dr),
                format!("{path}.smooth_dr"),
                "must not be negative",
            ),
            mistake(weights, format!("{path}.weights"), "must not be negative, nor both 0"),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}
