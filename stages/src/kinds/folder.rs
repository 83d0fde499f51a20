//! `folder`: refers to an existing folder of images and labels, without copying it.

use super::{ArtifactType, Pool, Read, Run, Stage};
use crate::context::Context;
use crate::error::{Error, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Refers to an existing folder of images and labels, without copying it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Folder {
    /// The folder.
    pub path: std::path::PathBuf,
}

impl Stage for Folder {
    const NAME: &'static str = "folder";
    const VERSION: u32 = 1;
    const READS: &'static [Read] = &[];
    const MAKES: ArtifactType = ArtifactType::Dataset;
    const POOL: Pool = Pool::Cpu;
}

impl Run for Folder {
    fn run(&self, _cx: &Context) -> Result<()> {
        Err(Error::failed("not yet"))
    }
}
