//! The optimizer's description.

use super::{Mistake, is_amount, mistake};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The optimizer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OptimizerName {
    /// Novograd, as MONAI's: one second moment for each tensor, no bias correction.
    #[default]
    Novograd,
    /// Adam; weight decay is added to the gradient.
    Adam,
    /// Adam with decoupled weight decay.
    Adamw,
    /// Stochastic gradient descent with momentum.
    Sgd,
}

/// The optimizer and its constants.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OptimizerParams {
    /// The optimizer's name.
    pub name: OptimizerName,
    /// Decay of the first and second moment (not for sgd); null: 0.9 and 0.98 for novograd, 0.9 and
    /// 0.999 else.
    pub betas: Option<[f64; 2]>,
    /// Added to the root of the second moment (not for sgd).
    pub eps: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// Momentum (for sgd).
    pub momentum: f64,
    /// Use Nesterov momentum (for sgd).
    pub nesterov: bool,
}

impl Default for OptimizerParams {
    fn default() -> Self {
        OptimizerParams {
            name: OptimizerName::Novograd,
            betas: None,
            eps: 1e-8,
            weight_decay: 0.0,
            momentum: 0.9,
            nesterov: false,
        }
    }
}

impl OptimizerParams {
    /// The betas, or the defaults of the optimizer's name.
    pub fn betas(&self) -> [f64; 2] {
        self.betas.unwrap_or(if self.name == OptimizerName::Novograd {
            [0.9, 0.98]
        } else {
            [0.9, 0.999]
        })
    }

    /// Mistakes in the parameters; `path` is their place in the workflow.
    pub fn check(&self, path: &str) -> Vec<Mistake> {
        let nesterov = self.nesterov && self.momentum <= 0.0;
        [
            mistake(
                !self.betas().iter().all(|beta| (0.0..1.0).contains(beta)),
                format!("{path}.betas"),
                "each must lie in 0 to below 1",
            ),
            mistake(!is_amount(self.eps), format!("{path}.eps"), "must not be negative"),
            mistake(
                !is_amount(self.weight_decay),
                format!("{path}.weight_decay"),
                "must not be negative",
            ),
            mistake(
                !(0.0..1.0).contains(&self.momentum),
                format!("{path}.momentum"),
                "must lie in 0 to below 1",
            ),
            mistake(nesterov, format!("{path}.nesterov"), "needs a momentum above 0"),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}
