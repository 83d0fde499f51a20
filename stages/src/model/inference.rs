//! Sliding-window inference.

use super::{InferencePrecision, Mistake, Network, mistake};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Weights of overlapping windows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Blend {
    /// All voxels of a window count the same.
    #[default]
    Constant,
    /// Voxels count by a Gaussian around the window's centre (sigma = side / 8).
    Gaussian,
    /// nnU-Net's Gaussian: the same around voxel side / 2, cut off at four sigma, where its
    /// smallest value goes on, in 16 bits.
    GaussianNnunet,
}

/// Positions of the windows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Placement {
    /// Steps of roi · (1 − overlap), the last window moved back to end with the image (MONAI's).
    #[default]
    Regular,
    /// As many windows as steps of at most roi · (1 − overlap) need, evenly spread (nnU-Net's).
    Even,
}

/// The average over flips and models.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Average {
    /// Of probabilities, whole volumes being flipped.
    #[default]
    Probabilities,
    /// Of logits, each window being flipped by itself (nnU-Net's). Logits are also resampled to the
    /// image's grid, before the class is decided.
    Logits,
}

/// Axes along which images are flipped: in each combination, and once not at all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Flips {
    /// All axes, or none.
    All(bool),
    /// These axes: 0, 1 and 2 are x, y and z.
    Axes(Vec<usize>),
}

impl Default for Flips {
    fn default() -> Flips {
        Flips::All(false)
    }
}

impl Flips {
    /// The axes.
    pub fn axes(&self) -> Vec<usize> {
        match self {
            Flips::All(true) => vec![0, 1, 2],
            Flips::All(false) => vec![],
            Flips::Axes(axes) => axes.clone(),
        }
    }

    /// Every set of flipped axes, the empty set first.
    pub fn sets(&self) -> Vec<Vec<usize>> {
        let axes = self.axes();
        let sets = (0..1u32 << axes.len()).map(|mask| {
            (0..axes.len()).filter(|at| mask >> at & 1 == 1).map(|at| axes[at]).collect()
        });
        sets.collect()
    }
}

/// The sliding window, as MONAI's `sliding_window_inference`; as nnU-Net's with `blend:
/// gaussian_nnunet`, `placement: even`, `average: logits` and `flips: true`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Inference {
    /// Window size in voxels, x, y, z; null takes the training patch. Smaller volumes are
    /// padded.
    pub roi: Option<[usize; 3]>,
    /// The fraction by which neighbouring windows overlap.
    pub overlap: f64,
    /// Windows at a time.
    pub batch: usize,
    /// Weights of overlapping windows.
    pub blend: Blend,
    /// Average over flips: true for all eight (eight times as slow), or the axes, as [0, 1], for
    /// their combinations.
    pub flips: Flips,
    /// Positions of the windows.
    #[serde(skip_serializing_if = "is_regular")]
    #[schemars(extend("x-neutral" = "regular", "default" = "regular"))]
    pub placement: Placement,
    /// The average over flips and models.
    #[serde(skip_serializing_if = "is_of_probabilities")]
    #[schemars(extend("x-neutral" = "probabilities", "default" = "probabilities"))]
    pub average: Average,
    /// The numbers that networks compute in. null is fp32, and of a training's own validations the
    /// training's precision. With a value, here `training` among them, the model has it for all
    /// later inference too.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-neutral" = null, "default" = null))]
    pub precision: Option<InferencePrecision>,
}

/// Models stored before the choice existed lack it.
fn is_regular(placement: &Placement) -> bool {
    *placement == Placement::Regular
}

/// Models stored before the choice existed lack it.
fn is_of_probabilities(average: &Average) -> bool {
    *average == Average::Probabilities
}

impl Default for Inference {
    fn default() -> Self {
        Inference {
            roi: None,
            overlap: 0.5,
            batch: 4,
            blend: Blend::Constant,
            flips: Flips::default(),
            placement: Placement::Regular,
            average: Average::Probabilities,
            precision: None,
        }
    }
}

impl Inference {
    /// Mistakes in the parameters; `path` is their place in the workflow.
    pub fn check(&self, path: &str) -> Vec<Mistake> {
        let mut axes = self.flips.axes();
        axes.sort_unstable();
        let repeated = axes.windows(2).any(|pair| pair[0] == pair[1]);
        [
            mistake(
                repeated || axes.iter().any(|axis| *axis > 2),
                format!("{path}.flips"),
                "axes are 0, 1 and 2, each at most once",
            ),
            mistake(
                !(0.0..1.0).contains(&self.overlap),
                format!("{path}.overlap"),
                "must lie in 0 to below 1",
            ),
            mistake(
                !(1..=4096).contains(&self.batch),
                format!("{path}.batch"),
                "must lie in 1 to 4096",
            ),
            mistake(
                self.roi.is_some_and(|roi| roi.contains(&0)),
                format!("{path}.roi"),
                "sides must be at least 1",
            ),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// [`Inference::check`], and a precision that only a training has.
    pub fn check_outside_training(&self, path: &str) -> Vec<Mistake> {
        let training = mistake(
            self.precision == Some(InferencePrecision::Training),
            format!("{path}.precision"),
            "'training' is for the inference of 'train', whose model then has that precision; \
             here give fp32, tf32, bf16 or fp16, or null for the model's own",
        );
        self.check(path).into_iter().chain(training).collect()
    }

    /// True if the windows are the same; each network has a precision of its own.
    pub fn has_windows_of(&self, other: &Inference) -> bool {
        let windows = |one: &Inference| Inference { precision: None, ..one.clone() };
        windows(self) == windows(other)
    }

    /// Mistakes in the window's sides for this network.
    pub fn check_roi(&self, network: &Network, path: &str) -> Option<Mistake> {
        let path = format!("{path}.roi");
        let roi = self.roi?;
        network.check_sides(roi, &path).or_else(|| network.check_instance_norm(roi, &path))
    }
}
