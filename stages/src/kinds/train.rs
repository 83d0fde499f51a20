//! `train`: trains a 3D U-Net on the training volumes, choosing weights by the validation volumes.

use super::{ArtifactType, Count, Pool, Read, Stage};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Trains a 3D U-Net on the training volumes, choosing weights by the validation volumes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Train {
    /// Passes over the training volumes.
    pub epochs: u32,
}

impl Stage for Train {
    const NAME: &'static str = "train";
    const VERSION: u32 = 1;
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
            doc: "weights to start from",
        },
    ];
    const MAKES: ArtifactType = ArtifactType::Model;
    const POOL: Pool = Pool::Gpu;
}
