//! The loss's description: Dice, a loss of single voxels, or their weighted sum.

use super::{Mistake, is_amount, mistake};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The loss function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LossKind {
    /// The weighted sum of Dice and cross-entropy.
    #[default]
    DiceCe,
    /// Dice alone.
    Dice,
    /// Cross-entropy alone.
    Ce,
    /// The weighted sum of Dice and top-k cross-entropy.
    DiceTopk,
    /// Cross-entropy over the voxels with the largest, by 'top_percent'.
    Topk,
    /// The weighted sum of Dice and focal loss.
    DiceFocal,
    /// Focal loss: cross-entropy times (1 − p)^gamma, the mean over voxels.
    Focal,
}

/// A loss of single voxels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VoxelLoss {
    /// Cross-entropy.
    Ce,
    /// Cross-entropy over the voxels with the largest.
    Topk,
    /// Focal loss.
    Focal,
}

impl LossKind {
    /// True with Dice.
    pub fn has_dice(self) -> bool {
        !matches!(self, LossKind::Ce | LossKind::Topk | LossKind::Focal)
    }

    /// The voxel loss; `None` for Dice alone.
    pub fn of_voxels(self) -> Option<VoxelLoss> {
        match self {
            LossKind::Dice => None,
            LossKind::DiceCe | LossKind::Ce => Some(VoxelLoss::Ce),
            LossKind::DiceTopk | LossKind::Topk => Some(VoxelLoss::Topk),
            LossKind::DiceFocal | LossKind::Focal => Some(VoxelLoss::Focal),
        }
    }
}

/// Weights of a network's outputs under deep supervision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OutputWeights {
    /// MONAI's: 1, 1/2, 1/4, …, at least 1/16.
    #[default]
    Monai,
    /// nnU-Net's: the same without least value, the lowest output 0, divided by their sum.
    Nnunet,
}

impl OutputWeights {
    /// The weights of `count` outputs, the logits' first.
    pub fn list(self, count: usize) -> Vec<f64> {
        let halved: Vec<f64> = (0..count as i32).map(|index| 0.5f64.powi(index)).collect();
        if self == OutputWeights::Monai || count == 1 {
            return halved.into_iter().map(|weight| weight.max(0.0625)).collect();
        }
        let kept = &halved[..count.saturating_sub(1)];
        let sum: f64 = kept.iter().sum();
        kept.iter().map(|weight| weight / sum).chain([0.0]).collect()
    }
}

/// The loss function on softmax probabilities against one-hot labels, as MONAI's `DiceCELoss`; as
/// nnU-Net's with `include_background` and `squared_pred` false, `negative_dice` true, `clamp_dr`
/// 1e-8, `weights` of 1 and 1 and `output_weights` of nnunet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LossParams {
    /// The loss: Dice, a loss of single voxels, or both.
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
    /// The weights of Dice and the voxels' loss in their sum (for dice_ce, dice_topk and
    /// dice_focal).
    pub weights: [f64; 2],
    /// The least denominator of Dice.
    #[schemars(extend("x-neutral" = 0.0))]
    pub clamp_dr: f64,
    /// Minimize −Dice instead of 1 − Dice: a loss lower by 1, with the same gradients.
    #[schemars(extend("x-neutral" = false))]
    pub negative_dice: bool,
    /// The share of voxels that count, in percent (for topk and dice_topk).
    #[schemars(extend("x-neutral" = 10.0))]
    pub top_percent: f64,
    /// The exponent of the focal loss, 0 or at least 1 (for focal and dice_focal).
    #[schemars(extend("x-neutral" = 2.0))]
    pub gamma: f64,
    /// Weights of the network's outputs, where it has several ('network.deep_supervision').
    #[schemars(extend("x-neutral" = "monai"))]
    pub output_weights: OutputWeights,
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
            clamp_dr: 0.0,
            negative_dice: false,
            top_percent: 10.0,
            gamma: 2.0,
            output_weights: OutputWeights::Monai,
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
            mistake(!is_amount(self.clamp_dr), format!("{path}.clamp_dr"), "must not be negative"),
            mistake(
                !(self.top_percent > 0.0 && self.top_percent <= 100.0),
                format!("{path}.top_percent"),
                "must lie in above 0 to 100",
            ),
            mistake(
                !(self.gamma == 0.0 || (1.0..=100.0).contains(&self.gamma)),
                format!("{path}.gamma"),
                "must be 0, or lie in 1 to 100: between, the gradient of a certain voxel is \
                 infinite",
            ),
            mistake(weights, format!("{path}.weights"), "must not be negative, nor both 0"),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_count_half_as_much_each_down_to_a_sixteenth_or_sum_to_one_without_the_lowest() {
        assert_eq!(OutputWeights::Monai.list(6), [1.0, 0.5, 0.25, 0.125, 0.0625, 0.0625]);
        let found = OutputWeights::Nnunet.list(5);
        assert_eq!(found, [8.0 / 15.0, 4.0 / 15.0, 2.0 / 15.0, 1.0 / 15.0, 0.0]);
        assert_eq!(OutputWeights::Nnunet.list(1), [1.0], "the only output counts");
    }
}
