//! `test`: scores a model on the testing cases in each image's own space, writes the predictions,
//! and draws the worst, the median and the best case.

use crate::model::{Mistake, Scoring};
use crate::stage::{ArtifactType, Count, MODELS, Pool, Read, Stage};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Scores a model on the testing cases in each image's own space, and writes the predictions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Test(pub Scoring);

impl Stage for Test {
    const NAME: &'static str = "test";
    const VERSION: u32 = 5;
    const READS: &'static [Read] = &[
        Read {
            role: "dataset",
            artifact: ArtifactType::Dataset,
            parts: &[""],
            count: Count::One,
            doc: "the original label files",
        },
        Read {
            role: "cache",
            artifact: ArtifactType::Cache,
            parts: &["testing/"],
            count: Count::One,
            doc: "testing volumes",
        },
        MODELS,
    ];
    const MAKES: ArtifactType = ArtifactType::Scores;
    const HOLDS: &'static [&'static str] = &["scores.json", "pictures.json", "predictions/"];
    const POOL: Pool = Pool::Gpu;

    fn check(&self) -> Vec<Mistake> {
        self.0.check()
    }
}
