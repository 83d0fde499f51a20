//! `unpack`: unpacks an archive in Decathlon layout (tar or tar.gz) into a dataset.

use super::{ArtifactType, Count, Pool, Read, Run, Stage};
use crate::context::Context;
use crate::error::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Unpacks an archive in Decathlon layout (tar or tar.gz) into a dataset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Unpack {}

impl Stage for Unpack {
    const NAME: &'static str = "unpack";
    const VERSION: u32 = 1;
    const READS: &'static [Read] = &[Read {
        role: "archive",
        artifact: ArtifactType::Archive,
        parts: &["archive"],
        count: Count::One,
        doc: "a tar or tar.gz in Decathlon layout",
    }];
    const MAKES: ArtifactType = ArtifactType::Dataset;
    const POOL: Pool = Pool::Cpu;
}

impl Run for Unpack {
    fn run(&self, _cx: &Context) -> Result<()> {
        Err(Error::failed("not yet"))
    }
}
