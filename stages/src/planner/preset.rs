//! Presets: nnU-Net's planners and their constants.

use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// A planner of nnU-Net.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// `ExperimentPlanner`: a plain U-Net on 8 GB.
    Default,
    /// `nnUNetPlannerResEncM`: a residual encoder on 8 GB.
    ResencM,
    /// `nnUNetPlannerResEncL`: a residual encoder on 24 GB.
    ResencL,
    /// `nnUNetPlannerResEncXL`: a residual encoder on 40 GB.
    ResencXl,
}

/// Most stages that a planner has blocks for.
pub const MOST_STAGES: usize = 13;

impl Preset {
    /// All of them.
    pub const ALL: [Preset; 4] =
        [Preset::Default, Preset::ResencM, Preset::ResencL, Preset::ResencXl];

    /// The recipe's name: "nnunet", "nnunet-resenc-m".
    pub const fn recipe(self) -> &'static str {
        match self {
            Preset::Default => "nnunet",
            Preset::ResencM => "nnunet-resenc-m",
            Preset::ResencL => "nnunet-resenc-l",
            Preset::ResencXl => "nnunet-resenc-xl",
        }
    }

    /// The name of nnU-Net's class.
    pub const fn planner(self) -> &'static str {
        match self {
            Preset::Default => "ExperimentPlanner",
            Preset::ResencM => "nnUNetPlannerResEncM",
            Preset::ResencL => "nnUNetPlannerResEncL",
            Preset::ResencXl => "nnUNetPlannerResEncXL",
        }
    }

    /// GPU memory in GB that the reference stands for.
    pub const fn gpu_memory_gb(self) -> f64 {
        match self {
            Preset::Default | Preset::ResencM => 8.0,
            Preset::ResencL => 24.0,
            Preset::ResencXl => 40.0,
        }
    }

    /// Elements of feature maps of a sample for this memory, with a batch of two.
    pub const fn reference(self) -> f64 {
        match self {
            Preset::Default => 560e6,
            Preset::ResencM => 680e6,
            Preset::ResencL => 2100e6,
            Preset::ResencXl => 3600e6,
        }
    }

    /// The largest share of the dataset's voxels in one batch.
    pub const fn max_dataset_covered(self) -> f64 {
        match self {
            Preset::Default => 0.05,
            _ => 1.0,
        }
    }

    /// True for networks with residual encoders.
    pub const fn is_residual(self) -> bool {
        !matches!(self, Preset::Default)
    }

    /// Convolutions (plain) or blocks (residual) of each encoder stage.
    pub fn encoder_blocks(self, stages: usize) -> Vec<usize> {
        match self {
            Preset::Default => vec![2; stages],
            _ => [1, 3, 4].into_iter().chain(std::iter::repeat(6)).take(stages).collect(),
        }
    }

    /// Convolutions of each decoder stage.
    pub fn decoder_convolutions(self, stages: usize) -> Vec<usize> {
        vec![if self.is_residual() { 1 } else { 2 }; stages.saturating_sub(1)]
    }
}

impl FromStr for Preset {
    type Err = ();

    fn from_str(recipe: &str) -> Result<Preset, ()> {
        Preset::ALL.into_iter().find(|preset| preset.recipe() == recipe).ok_or(())
    }
}
