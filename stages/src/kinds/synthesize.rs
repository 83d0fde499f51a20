//! `synthesize`: draws a phantom dataset in Decathlon layout: abdominal CT with a spleen.

use super::{ArtifactType, Pool, Read, Run, Stage};
use crate::context::Context;
use crate::error::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Draws a phantom dataset in Decathlon layout: abdominal CT with a spleen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Synthesize {
    /// Labelled cases.
    pub cases: u32,
    /// Cases without labels.
    #[serde(default)]
    pub unlabelled: u32,
    /// Seed of all that varies.
    #[serde(default)]
    pub seed: u64,
}

impl Stage for Synthesize {
    const NAME: &'static str = "synthesize";
    const VERSION: u32 = 1;
    const READS: &'static [Read] = &[];
    const MAKES: ArtifactType = ArtifactType::Dataset;
    const POOL: Pool = Pool::Cpu;
}

impl Run for Synthesize {
    fn run(&self, _cx: &Context) -> Result<()> {
        Err(Error::failed("not yet"))
    }
}
