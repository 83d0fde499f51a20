//! `cache`: joins volumes with their split and their candidate voxels, without copying them.

use super::{ArtifactType, Count, Pool, Read, Run, Stage};
use crate::context::Context;
use crate::error::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Joins volumes with their split and their candidate voxels, without copying them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CacheVolumes {
    /// Background candidates must have an image value above this; null takes all, absent means 0 for
    /// windowed CT and all otherwise.
    #[serde(default)]
    pub background_above: Option<f32>,
}

impl Stage for CacheVolumes {
    const NAME: &'static str = "cache";
    const VERSION: u32 = 1;
    const READS: &'static [Read] = &[
        Read {
            role: "dataset",
            artifact: ArtifactType::Dataset,
            parts: &["dataset.json"],
            count: Count::One,
            doc: "the listing of cases and labels",
        },
        Read {
            role: "volumes",
            artifact: ArtifactType::Volumes,
            parts: &[""],
            count: Count::One,
            doc: "the preprocessed volumes",
        },
        Read {
            role: "split",
            artifact: ArtifactType::Split,
            parts: &["split.json"],
            count: Count::One,
            doc: "which case is for what",
        },
    ];
    const MAKES: ArtifactType = ArtifactType::Cache;
    const POOL: Pool = Pool::Cpu;
}

impl Run for CacheVolumes {
    fn run(&self, _cx: &Context) -> Result<()> {
        Err(Error::failed("not yet"))
    }
}
