//! `out_of_fold`: predicts the validation cases of a fold in each image's own space. Its work is
//! done by `voxflow-worker`.

use super::test::{LABEL_FILES, files_of_part};
use crate::error::Result;
use crate::model::{InferenceOptions, Mistake, is_amount, mistake};
use crate::stage::{ArtifactType, Count, MODELS, Peek, Pool, Read, Stage, Yields};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Predicts the validation cases in each image's own space, scores them, and keeps the label maps
/// beside the dataset's labels. Over the folds of a cross-validation each case is predicted once,
/// by a model that has not seen it: 'select' pools them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OutOfFold {
    /// Also keep each class's probability, which 'select' averages over two configurations: a 4D
    /// file for each image, background first.
    #[serde(default)]
    pub probabilities: bool,
    /// Surfaces closer than this, in mm, count as agreeing in surface Dice.
    #[serde(default = "one_mm")]
    pub tolerance_mm: f64,
    /// The use of the models.
    #[serde(flatten)]
    pub options: InferenceOptions,
    /// Use cases that the model was trained on, with a warning, instead of refusing them (data
    /// leakage).
    #[serde(default)]
    pub allow_leakage: bool,
}

fn one_mm() -> f64 {
    1.0
}

impl Stage for OutOfFold {
    const NAME: &'static str = "out_of_fold";
    const VERSION: u32 = 1;
    const READS: &'static [Read] = &[
        LABEL_FILES,
        Read {
            role: "cache",
            artifact: ArtifactType::Cache,
            parts: &["validation/"],
            count: Count::One,
            doc: "validation volumes",
        },
        MODELS,
    ];
    const MAKES: ArtifactType = ArtifactType::OutOfFold;
    const POOL: Pool = Pool::Gpu;
    const YIELDS: Yields = Yields::ValidationScores;
    const NARROWED: &'static [&'static str] = &["dataset"];

    /// The listing and the files of the validation cases.
    fn names_read(_role: &str, peek: &Peek) -> Result<BTreeSet<String>> {
        files_of_part("validation", peek)
    }

    fn check(&self) -> Vec<Mistake> {
        let tolerance =
            mistake(!is_amount(self.tolerance_mm), "tolerance_mm", "must not be negative");
        tolerance.into_iter().chain(self.options.check()).collect()
    }
}
