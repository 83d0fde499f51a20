//! `preprocess`: makes one volume of each case: oriented, resampled, scaled and cropped.

use super::{ArtifactType, Count, Pool, Read, Run, Stage};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::image::Preparation;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Makes one volume of each case: oriented, resampled, scaled and cropped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Preprocess(pub Preparation);

impl Stage for Preprocess {
    const NAME: &'static str = "preprocess";
    const VERSION: u32 = 1;
    const READS: &'static [Read] = &[Read {
        role: "dataset",
        artifact: ArtifactType::Dataset,
        parts: &[""],
        count: Count::One,
        doc: "images and labels",
    }];
    const MAKES: ArtifactType = ArtifactType::Volumes;
    const POOL: Pool = Pool::Cpu;
}

impl Run for Preprocess {
    fn run(&self, _cx: &Context) -> Result<()> {
        Err(Error::failed("not yet"))
    }
}
