//! A training's state except its tensors, in the stored format of checkpoints. Field names and
//! their order must stay: trainings from earlier releases resume from them.

use super::epoch_stats::EpochStats;
use super::training_length::LengthState;
use crate::device_room::DeviceRoom;
use crate::grad_scaler::LossScale;
use serde::{Deserialize, Serialize};
use voxflow_stages::Metric;

/// Progress of a training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Epochs finished.
    pub epoch: u32,
    /// Batches done in the current epoch.
    pub batch: u64,
    /// Optimizer steps done.
    pub step: u64,
}

impl Position {
    /// The number of the next batch since the start, with this many batches per epoch.
    pub fn batch_number(&self, batches_per_epoch: u64) -> u64 {
        u64::from(self.epoch) * batches_per_epoch + self.batch
    }
}

/// Everything of a training except its tensors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainingState {
    /// Epochs finished.
    pub epoch: u32,
    /// Batches done in the current epoch.
    pub batch: u64,
    /// Optimizer steps done.
    pub step: u64,
    /// Sums over the current epoch.
    #[serde(rename = "sums")]
    pub epoch_stats: EpochStats,
    /// All metric rows of finished epochs.
    pub metrics: Vec<Metric>,
    /// The latest validation score.
    #[serde(rename = "dice")]
    pub latest_dice: Option<f64>,
    /// The epoch with the best validation score, and the score.
    pub best: Option<(u32, f64)>,
    /// The loss scale.
    #[serde(rename = "scaler")]
    pub loss_scale: LossScale,
    /// Seconds of training in finished epochs.
    pub train_seconds: f64,
    /// Seconds of validation.
    pub validate_seconds: f64,
    /// The worker processes that the training ran in.
    #[serde(rename = "stretches")]
    pub sessions: Vec<Session>,
    /// Scores and decision of a training whose length validation decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<LengthState>,
    /// The device's room for volumes, which decides where they live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_room: Option<DeviceRoom>,
    /// The state to keep for an extension, of a training whose learning rate falls already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<Box<TrainingState>>,
}

/// A worker process's share in a training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// Optimizer steps done when it began.
    pub from_step: u64,
    /// The device's name.
    pub device: String,
    /// Threads of libtorch.
    pub threads: usize,
    /// Version of libtorch.
    pub libtorch: String,
    /// Version of this program.
    pub voxflow: String,
    /// Processes that trained together.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub ranks: usize,
    /// Name and version of what added their gradients up; empty for one process.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub backend: String,
}

fn one() -> usize {
    1
}

fn is_one(ranks: &usize) -> bool {
    *ranks == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_is_stored_under_the_names_and_in_the_order_of_earlier_releases() {
        let stored = concat!(
            r#"{"epoch":2,"batch":1,"step":7,"sums":{"loss":1.5,"norm":0.5,"steps":2,"#,
            r#""finite_norms":1},"metrics":[],"dice":0.25,"best":[1,0.5],"#,
            r#""scaler":{"scale":65536.0,"steady":3,"active":true},"train_seconds":1.25,"#,
            r#""validate_seconds":0.5,"stretches":[{"from_step":0,"device":"CPU","threads":2,"#,
            r#""libtorch":"2.11.0","voxflow":"0.1.0"}]}"#
        );
        let state: TrainingState = serde_json::from_str(stored).unwrap();
        assert_eq!((state.sessions[0].threads, state.sessions[0].ranks), (2, 1));
        assert_eq!(serde_json::to_string(&state).unwrap(), stored);
    }
}
