//! `postprocess`: chooses post-processing by the validation cases. Its work is done by
//! `voxflow-worker`.

use super::test::{LABEL_FILES, files_of_part};
use crate::error::Result;
use crate::model::{InferenceOptions, Mistake};
use crate::stage::{ArtifactType, Count, Peek, Pool, Read, Stage};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Chooses by the validation cases, in each image's own space, whether only the largest component
/// of the foreground or of single labels is kept, by nnU-Net's rule: of the whole foreground where
/// the mean Dice rises and no label's falls, then of each label whose Dice rises. The result is the
/// model with that choice, which 'test' and 'predict' apply, and the predictions of these cases.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Postprocess {
    /// The use of the model that predicts the cases. The result has all its weights.
    #[serde(flatten)]
    pub options: InferenceOptions,
    /// Use cases that the model was trained on, with a warning, instead of refusing them (data
    /// leakage).
    #[serde(default)]
    pub allow_leakage: bool,
}

impl Stage for Postprocess {
    const NAME: &'static str = "postprocess";
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
        Read {
            role: "model",
            artifact: ArtifactType::Model,
            parts: &[""],
            count: Count::One,
            doc: "the network",
        },
    ];
    const MAKES: ArtifactType = ArtifactType::Model;
    const HOLDS: &'static [&'static str] = &["postprocessing.json", "predictions/"];
    const POOL: Pool = Pool::Gpu;
    const NARROWED: &'static [&'static str] = &["dataset"];

    /// The listing and the files of the validation cases.
    fn names_read(_role: &str, peek: &Peek) -> Result<BTreeSet<String>> {
        files_of_part("validation", peek)
    }

    fn check(&self) -> Vec<Mistake> {
        self.options.check()
    }
}
