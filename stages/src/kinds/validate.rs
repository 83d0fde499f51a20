//! `validate`: scores a model on the validation volumes, on the resampled grid.

use crate::model::{Mistake, Scoring, mistake};
use crate::stage::{ArtifactType, Count, MODELS, Pool, Read, Stage, Yields};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Scores a model on the validation volumes, on the resampled grid.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Validate(pub Scoring);

impl Stage for Validate {
    const NAME: &'static str = "validate";
    const VERSION: u32 = 4;
    const READS: &'static [Read] = &[
        Read {
            role: "cache",
            artifact: ArtifactType::Cache,
            parts: &["validation/"],
            count: Count::One,
            doc: "validation volumes",
        },
        MODELS,
    ];
    const MAKES: ArtifactType = ArtifactType::Scores;
    const POOL: Pool = Pool::Gpu;
    const YIELDS: Yields = Yields::ValidationScores;

    fn check(&self) -> Vec<Mistake> {
        let summary = mistake(
            self.0.summary_json,
            "summary_json",
            "is of label maps on the images' own grids; set it in 'test', or use 'out_of_fold', \
             which writes it",
        );
        self.0.check().into_iter().chain(summary).collect()
    }
}
