//! `train`: trains a 3D U-Net on the training volumes, choosing weights by the validation volumes.
//! Its work is done by `voxflow-worker`.

mod foresight;
mod open_end;

use crate::dataset::{Region, region};
use crate::disk_space::Upstream;
use crate::foresight::Foresight;
use crate::image::augment::Augmentation;
use crate::image::patch_sampler::Sampling;
use crate::model::{
    Epochs, Inference, LearningRateSchedule, LossParams, Mistake, Network, Norm, OptimizerParams,
    Precision, is_amount, mistake,
};
use crate::stage::{ArtifactType, Count, Demand, Pool, Read, Stage, Yields};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Trains a 3D U-Net on the training volumes, choosing weights by the validation volumes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Train {
    /// Passes over the training volumes; with 'steps_per_epoch', parts of the training. `auto`, or
    /// a mapping, for as many as validation still gains from (docs/training.md).
    pub epochs: Epochs,
    /// Optimizer steps of an epoch, whose volumes are drawn at random, each time from all; null
    /// for a pass over the volumes.
    #[serde(default)]
    #[schemars(extend("x-neutral" = null))]
    pub steps_per_epoch: Option<u32>,
    /// Patch size in voxels, x, y, z; each a multiple of the product of the strides. Smaller
    /// volumes are padded with 0.
    pub patch: [usize; 3],
    /// Volumes in a batch; the batch size is this times `patches_per_volume`.
    #[serde(default = "four")]
    pub volumes_per_step: usize,
    /// Patches from each volume of a batch (MONAI's `num_samples`).
    #[serde(default = "four")]
    pub patches_per_volume: usize,
    /// Sampling of patches.
    #[serde(default)]
    pub sampling: Sampling,
    /// How patches are varied: a mapping of transforms, applied in the order below, or a list of
    /// them with their `name`, applied in the order given.
    #[serde(default)]
    pub augmentation: Augmentation,
    /// The network.
    #[serde(default)]
    pub network: Network,
    /// Regions (unions of labels, such as BraTS') that the network segments instead of the labels:
    /// an output each, by sigmoid. A prediction is made of them in this order, where a region is
    /// more likely than not.
    #[serde(default)]
    #[schemars(extend("x-neutral" = []))]
    pub regions: Vec<Region>,
    /// The loss.
    #[serde(default)]
    pub loss: LossParams,
    /// The learning rate, before the schedule.
    #[serde(default = "learning_rate")]
    pub learning_rate: f64,
    /// The optimizer.
    #[serde(default)]
    pub optimizer: OptimizerParams,
    /// The learning rate over time.
    #[serde(default)]
    pub schedule: LearningRateSchedule,
    /// Numbers of the forward and backward pass; weights, norm statistics and loss are always fp32.
    #[serde(default)]
    pub precision: Precision,
    /// Decay per step for a moving average of the weights; the averaged weights are validated and
    /// kept. null for none.
    #[serde(default)]
    pub ema: Option<f64>,
    /// Gradient clipping: scale gradients down to this norm where they exceed it; null for never.
    #[serde(default)]
    pub clip_gradients: Option<f64>,
    /// Gradient accumulation: batches whose gradients are averaged for one optimizer step.
    #[serde(default = "one")]
    pub accumulate: usize,
    /// Early-stopping patience: stop at the first validation that comes this many epochs or more
    /// after the best one; null for never.
    #[serde(default)]
    pub stop_after: Option<u32>,
    /// Criterion of the best weights.
    #[serde(default)]
    pub best_by: BestBy,
    /// Keep an epoch's last batch where volumes do not fill it (PyTorch's `drop_last: false`).
    #[serde(default = "yes")]
    pub keep_last_batch: bool,
    /// Epochs between validations; the last epoch is always validated.
    #[serde(default = "five")]
    pub validate_every: u32,
    /// Epochs between checkpoints; one is also written every five minutes.
    #[serde(default = "twenty")]
    pub checkpoint_every: u32,
    /// Sliding-window inference, here and by default later.
    #[serde(default)]
    pub inference: Inference,
    /// Refuse fast algorithms that do not repeat bit by bit (on CUDA; the processor always repeats
    /// with the same number of threads).
    #[serde(default)]
    pub deterministic: bool,
    /// Keep the gradients of convolution biases before norms, which are rounding noise (as MONAI
    /// does).
    #[serde(default)]
    pub noisy_biases: bool,
    /// Patterns (with * and ?) of parameter names to leave as they are. A batch norm whose running
    /// statistics are among them normalises by those, in training too.
    #[serde(default)]
    pub freeze: Vec<String>,
    /// Choose weights by validation cases seen by the `start` model in its training, with a
    /// warning, instead of refusing them (data leakage).
    #[serde(default)]
    #[schemars(extend("x-neutral" = false))]
    pub allow_leakage: bool,
    /// Keep the state of the finished training in the model (`training.checkpoint`), so that
    /// another one can `extend` it: its weights, their average, the best ones, and a moment or two
    /// of each by the optimizer, in fp32. With `epochs: auto` the state before the learning rate
    /// fell.
    #[serde(default)]
    #[schemars(extend("x-neutral" = false))]
    pub keep_state: bool,
    /// Go on with the training of the `start` model, which must have kept its state, instead of
    /// beginning with its weights. `epochs` counts from that training's beginning, and so do the
    /// schedule and all draws (docs/training.md).
    #[serde(default)]
    #[schemars(extend("x-neutral" = false))]
    pub extend: bool,
    /// Where several processes (GPUs) share a batch, take batch norm's statistics over the whole
    /// batch. Else each takes them over its own share, as PyTorch's DistributedDataParallel.
    #[serde(default)]
    #[schemars(extend("x-neutral" = false))]
    pub sync_batch_norm: bool,
    /// The seed of initial weights, order, patches, augmentation and dropout.
    #[serde(default)]
    pub seed: u64,
}

/// Criterion of the best weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BestBy {
    /// Mean Dice over cases and labels of the validation volumes, on the resampled grid.
    #[default]
    Dice,
    /// The last weights are the best.
    Last,
}

fn one() -> usize {
    1
}
fn four() -> usize {
    4
}
fn five() -> u32 {
    5
}
fn twenty() -> u32 {
    20
}
fn learning_rate() -> f64 {
    2e-3
}
fn yes() -> bool {
    true
}

impl Train {
    /// The precision of its own validations.
    pub fn validation_precision(&self) -> Precision {
        let own = self.inference.precision.map(|named| named.of_training(self.precision));
        own.unwrap_or(self.precision)
    }

    /// The settings of later inference with its model.
    pub fn inference_of_model(&self) -> Inference {
        Inference {
            roi: self.inference.roi.or(Some(self.patch)),
            precision: self.inference.precision.map(|_| self.validation_precision().into()),
            ..self.inference.clone()
        }
    }

    fn check_numbers(&self) -> impl Iterator<Item = Mistake> {
        let rate = self.learning_rate.is_finite() && self.learning_rate > 0.0;
        let clip = self.clip_gradients.is_none_or(|norm| is_amount(norm) && norm > 0.0);
        let ema = self.ema.is_none_or(|decay| (0.0..1.0).contains(&decay));
        let least = "must be at least 1";
        [
            mistake(self.steps_per_epoch == Some(0), "steps_per_epoch", least),
            mistake(self.volumes_per_step == 0, "volumes_per_step", least),
            mistake(self.patches_per_volume == 0, "patches_per_volume", least),
            mistake(self.accumulate == 0, "accumulate", least),
            mistake(self.validate_every == 0, "validate_every", least),
            mistake(self.checkpoint_every == 0, "checkpoint_every", least),
            mistake(self.stop_after == Some(0), "stop_after", least),
            mistake(!rate, "learning_rate", "must be above 0"),
            mistake(!clip, "clip_gradients", "must be above 0"),
            mistake(!ema, "ema", "must lie in 0 to below 1"),
            mistake(
                self.volumes_per_step.saturating_mul(self.patches_per_volume) > 65_536,
                "patches_per_volume",
                "a batch of more than 65536 patches does not fit",
            ),
        ]
        .into_iter()
        .flatten()
    }

    /// The parts of a training that look at a whole batch; with several ranks each rank's looks at
    /// its own share, so that their number changes the model. Each with the parameter that avoids
    /// it.
    pub fn whole_batch_parts(&self) -> Vec<(&'static str, &'static str)> {
        let norm = self.network.kind_of_norms() == Norm::Batch && !self.sync_batch_norm;
        let dice = self.loss.batch && self.loss.name.has_dice();
        let parts = [
            (norm, ("batch norm", "'sync_batch_norm: true'")),
            (dice, ("Dice of the whole batch", "'loss: { batch: false }'")),
        ];
        parts.into_iter().filter(|(is_used, _)| *is_used).map(|(_, part)| part).collect()
    }

    /// True if a batch of `volumes` leaves batch norm a single value per channel. PyTorch refuses
    /// that ("Expected more than 1 value per channel when training"); libtorch itself would write
    /// NaN into the running statistics.
    pub fn check_batch_norm(&self, volumes: usize) -> Option<Mistake> {
        self.check_batch_norm_of(volumes.saturating_mul(self.patches_per_volume))
    }

    /// [`Train::check_batch_norm`] of a batch of `patches`, or of a rank's share of it.
    pub fn check_batch_norm_of(&self, patches: usize) -> Option<Mistake> {
        let is_single = self.network.kind_of_norms() == Norm::Batch
            && patches == 1
            && self.network.deepest_voxels(self.patch) == 1
            && !self.freezes_deepest_norms();
        mistake(
            is_single,
            "patch",
            format!(
                "a batch of one patch {:?} leaves one voxel on the deepest level, and batch norm \
                 needs more than one value per channel; enlarge 'patch', raise 'volumes_per_step' \
                 or 'patches_per_volume', or set 'keep_last_batch: false' where only an epoch's \
                 last batch is that small",
                self.patch
            ),
        )
    }

    /// The volumes of the smallest batch of an epoch over `cases` training cases.
    pub fn smallest_batch(&self, cases: usize) -> usize {
        if self.steps_per_epoch.is_some() {
            return self.volumes_per_step;
        }
        match cases % self.volumes_per_step {
            _ if cases < self.volumes_per_step => cases,
            0 => self.volumes_per_step,
            _ if !self.keep_last_batch => self.volumes_per_step,
            rest => rest,
        }
    }

    /// True if every batch norm of the deepest level keeps its running statistics.
    fn freezes_deepest_norms(&self) -> bool {
        let tensors = self.network.graph(1, 2).tensors();
        let statistics = tensors.iter().map(|tensor| tensor.name.as_str());
        let statistics: Vec<&str> =
            statistics.filter(|name| name.ends_with(".running_var")).collect();
        let deepest = statistics.iter().map(|name| depth(name)).max();
        let patterns = self.freeze.iter().filter_map(|text| glob::Pattern::new(text).ok());
        let patterns: Vec<glob::Pattern> = patterns.collect();
        let mut deep = statistics.iter().filter(|name| Some(depth(name)) == deepest);
        deep.all(|name| patterns.iter().any(|pattern| pattern.matches(name)))
    }

    /// Invalid patterns, and patterns matching no parameter.
    fn check_freeze(&self) -> impl Iterator<Item = Mistake> {
        let names = self.network.graph(1, 2).tensors();
        let troubles =
            self.freeze.iter().filter_map(move |pattern| match glob::Pattern::new(pattern) {
                Err(error) => Some(error.to_string()),
                Ok(known) if names.iter().any(|tensor| known.matches(&tensor.name)) => None,
                Ok(_) => Some(format!(
                    "'{pattern}' is of no parameter; they are named as '{}'",
                    names[0].name
                )),
            });
        troubles.map(|trouble| ("freeze".to_string(), trouble))
    }
}

/// The level of a tensor by its name.
fn depth(name: &str) -> usize {
    name.matches("submodule").count()
}

impl Stage for Train {
    const NAME: &'static str = "train";
    const VERSION: u32 = 4;
    const READS: &'static [Read] = &[
        Read {
            role: "cache",
            artifact: ArtifactType::Cache,
            parts: &["training/", "validation/"],
            count: Count::One,
            doc: "training and validation volumes",
        },
        Read {
            role: "start",
            artifact: ArtifactType::Model,
            parts: &[""],
            count: Count::Optional,
            doc: "weights to start from, or with 'extend' the training",
        },
    ];
    const MAKES: ArtifactType = ArtifactType::Model;
    const POOL: Pool = Pool::Gpu;
    const DEMAND: Demand = Demand::TRAINING;
    const YIELDS: Yields = Yields::Curves;

    fn check(&self) -> Vec<Mistake> {
        let mut mistakes = self.network.check("network");
        if mistakes.is_empty() {
            let sides = self.network.check_sides(self.patch, "patch");
            mistakes.extend(
                sides
                    .or_else(|| self.network.check_instance_norm(self.patch, "patch"))
                    .or_else(|| self.check_batch_norm(self.volumes_per_step)),
            );
            mistakes.extend(self.inference.check_roi(&self.network, "inference"));
            mistakes.extend(self.check_freeze());
        }
        mistakes.extend(self.length().check("epochs", self.validate_every));
        mistakes.extend(self.check_numbers());
        mistakes.extend(self.check_open_end());
        let sampling = self
            .sampling
            .check(self.patch)
            .into_iter()
            .map(|(path, trouble)| (format!("sampling.{path}"), trouble));
        mistakes.extend(sampling);
        let varied = self.augmentation.check(self.patch).into_iter();
        mistakes.extend(varied.map(|(path, trouble)| (format!("augmentation.{path}"), trouble)));
        mistakes.extend(region::check(&self.regions, "regions"));
        mistakes.extend(self.loss.check("loss"));
        mistakes.extend(self.optimizer.check("optimizer"));
        mistakes.extend(self.schedule.check("schedule"));
        mistakes.extend(self.inference.check("inference"));
        mistakes
    }

    fn foresee(&self, sight: &Foresight) -> Vec<String> {
        self.foreseen(sight)
    }

    /// Two models, and three checkpoints while the third is written, each with up to two moments a
    /// number; a fourth is kept if it is asked for. With an open end the others hold it too.
    fn expected_bytes(&self, _inputs: &BTreeMap<String, Upstream>) -> Option<u64> {
        let checkpoints = match (self.keep_state, self.epochs.until_plateau()) {
            (false, _) => 3,
            (true, None) => 4,
            (true, Some(_)) => 7,
        };
        let copies = 2 + 3 * checkpoints;
        Some(4 * copies * self.network.graph(1, 2).numel())
    }
}

#[cfg(test)]
mod tests {
    use crate::kind::Kind;
    use serde_json::{Value, json};

    #[test]
    fn two_lines_are_enough_and_the_rest_is_filled_in() {
        let kind = Kind::named("train").unwrap();
        let full = kind.understand(&json!({ "epochs": 3, "patch": [32, 32, 16] })).unwrap();
        assert_eq!(full["learning_rate"], json!(0.002));
        assert_eq!(full["network"]["channels"], json!([16, 32, 64, 128, 256]));
        assert_eq!(kind.understand(&full).unwrap(), full);
    }

    #[test]
    fn an_old_augmentation_is_the_recipe_that_it_was_and_a_list_of_its_order_too() {
        let kind = Kind::named("train").unwrap();
        let hashed = |augmentation: Value| {
            let params =
                json!({ "epochs": 3, "patch": [32, 32, 16], "augmentation": augmentation });
            kind.hashed(&kind.understand(&params).unwrap())["augmentation"].clone()
        };
        let mapping = json!({ "flip": { "probability": 0.5, "axes": [0, 1, 2] },
                              "rotate90": { "probability": 0.1, "axes": [0, 1] },
                              "noise": { "probability": 0.2, "std": 0.1 } });
        let flip = json!({ "name": "flip", "probability": 0.5 });
        let turn = json!({ "name": "rotate90", "probability": 0.1 });
        let noise = json!({ "name": "noise", "probability": 0.2, "std": 0.1 });
        assert_eq!(hashed(json!({})), json!({}));
        assert_eq!(hashed(mapping.clone()), mapping);
        assert_eq!(hashed(json!([flip, turn, noise])), mapping);
        assert!(hashed(json!([noise, flip])).is_array());
    }

    #[test]
    fn all_mistakes_are_told_at_once_each_with_its_path() {
        let kind = Kind::named("train").unwrap();
        let wrong = json!({ "epochs": 0, "patch": [30, 32, 16], "optimizer": { "betas": [1.0, 0.9] }, "ema": 1.5 });
        let paths: Vec<String> =
            kind.understand(&wrong).unwrap_err().into_iter().map(|(path, _)| path).collect();
        assert_eq!(paths, ["patch", "epochs", "ema", "optimizer.betas"]);
    }
}
