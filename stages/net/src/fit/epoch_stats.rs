//! Loss and gradient norm over an epoch.

use serde::{Deserialize, Serialize};

/// Sums over the steps of an epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EpochStats {
    loss: f64,
    norm: f64,
    steps: u64,
    finite_norms: u64,
}

impl EpochStats {
    /// Adds a step. A norm that overflowed (fp16) is left out.
    pub fn add(&mut self, loss: f64, norm: f64) {
        self.loss += loss;
        self.steps += 1;
        if norm.is_finite() {
            self.norm += norm;
            self.finite_norms += 1;
        }
    }

    /// Mean loss so far.
    pub fn mean_loss(&self) -> f64 {
        self.loss / self.steps.max(1) as f64
    }

    /// Mean of the finite gradient norms.
    pub fn mean_norm(&self) -> f64 {
        self.norm / self.finite_norms.max(1) as f64
    }
}
