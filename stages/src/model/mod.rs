//! Models as plain data: networks, training and inference parameters, and the description of
//! trained models. Tensors live in `voxflow-net`.

pub mod architecture;
pub mod checkpoint;
pub mod compatibility;
pub mod cost;
pub mod description;
pub mod ensemble;
pub mod epochs;
pub mod export;
pub mod foreign;
pub mod graph;
pub mod inference;
mod inference_options;
pub mod loss;
pub mod network;
pub mod networks;
pub mod optimizer;
pub mod out_of_fold;
pub mod pickle;
pub mod plain_conv_unet;
pub mod plateau;
mod precision;
pub mod provenance;
pub mod residual_encoder_unet;
pub mod schedule;
pub mod score_memory;
pub mod scoring;
pub mod tensor_spec;
pub mod unet;
pub mod unet_decoder;
pub mod weights;

pub use description::{ModelCard, Weights};
pub use epochs::{DecayPhase, DecayReason, Epochs, UntilPlateau};
pub use inference::{Average, Blend, Flips, Inference, Placement};
pub use inference_options::InferenceOptions;
pub use loss::{LossKind, LossParams, OutputWeights, VoxelLoss};
pub use network::{Network, NetworkName, Norm, PerAxis};
pub use optimizer::{OptimizerName, OptimizerParams};
pub use precision::{InferencePrecision, Precision};
pub use provenance::Provenance;
pub use schedule::{Decay, LearningRateSchedule, ScheduleName, TimeUnit};
pub use score_memory::ScoreMemory;
pub use scoring::Scoring;

/// A mistake in parameters: the dotted path, and the trouble with the way out.
pub type Mistake = (String, String);

/// A mistake at `path` if `bad`.
pub(crate) fn mistake(
    bad: bool,
    path: impl Into<String>,
    trouble: impl Into<String>,
) -> Option<Mistake> {
    bad.then(|| (path.into(), trouble.into()))
}

/// True for numbers in 0..=1.
pub(crate) fn is_fraction(number: f64) -> bool {
    (0.0..=1.0).contains(&number)
}

/// True for finite numbers that are not negative.
pub(crate) fn is_amount(number: f64) -> bool {
    number.is_finite() && number >= 0.0
}
