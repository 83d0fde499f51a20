//! The result of a training.

use super::state::TrainingState;
use crate::weights::{NamedTensors, without_prefix};
use std::collections::BTreeMap;
use tch::Tensor;
use voxflow_stages::model::DecayPhase;

/// Prefix of a kept state's tensors in a checkpoint.
const KEPT: &str = "kept/";

/// The state of a finished training, for an extension.
pub struct KeptState {
    /// Everything except tensors.
    pub state: TrainingState,
    /// The tensors, on the processor.
    pub tensors: NamedTensors,
}

impl KeptState {
    /// The tensors for a checkpoint. They are never changed, so they are shared.
    pub fn snapshot(&self) -> NamedTensors {
        let tensors = self.tensors.iter();
        tensors.map(|(name, values)| (format!("{KEPT}{name}"), values.shallow_clone())).collect()
    }

    /// The state among those of a checkpoint.
    pub fn restored(state: TrainingState, tensors: &BTreeMap<String, Tensor>) -> KeptState {
        KeptState { state, tensors: without_prefix(KEPT, tensors).into_iter().collect() }
    }
}

/// The result of a training.
pub struct TrainingResult {
    /// The weights with the best validation score; the last ones if nothing was selected.
    pub best: NamedTensors,
    /// The weights after the last step.
    pub last: NamedTensors,
    /// The epoch of the best weights and their score.
    pub best_score: Option<(u32, f64)>,
    /// Epochs done.
    pub epochs: u32,
    /// Optimizer steps done.
    pub steps: u64,
    /// The decision to end, if validation took it.
    pub decay: Option<DecayPhase>,
    /// The state for an extension, if it is kept.
    pub kept: Option<KeptState>,
}
