//! `split`: decides which case is for training, validation and testing.

use super::{ArtifactType, Count, Pool, Read, Run, Stage};
use crate::context::Context;
use crate::error::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Decides which case is for training, validation and testing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SplitCases {
    /// How many cases to train on (drawn by seed), or their names.
    #[serde(default)]
    pub training: Option<u32>,
}

impl Stage for SplitCases {
    const NAME: &'static str = "split";
    const VERSION: u32 = 1;
    const READS: &'static [Read] = &[Read {
        role: "dataset",
        artifact: ArtifactType::Dataset,
        parts: &["dataset.json"],
        count: Count::One,
        doc: "the listing of cases and labels",
    }];
    const MAKES: ArtifactType = ArtifactType::Split;
    const POOL: Pool = Pool::Cpu;
}

impl Run for SplitCases {
    fn run(&self, _cx: &Context) -> Result<()> {
        Err(Error::failed("not yet"))
    }
}
