//! `test`: scores a model on the testing cases in each image's own space, writes the predictions,
//! and draws the worst, the median and the best case.

use crate::dataset::Listing;
use crate::error::{Error, Result};
use crate::image::VolumeList;
use crate::model::{Mistake, Scoring};
use crate::stage::{ArtifactType, Count, MODELS, Peek, Pool, Read, Stage, Yields};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The role of a dataset whose label files are scored against.
pub(super) const LABEL_FILES: Read = Read {
    role: "dataset",
    artifact: ArtifactType::Dataset,
    parts: &[""],
    count: Count::One,
    doc: "the original label files",
};

/// The listing of a dataset artifact.
const LISTING: &str = "dataset.json";

/// Scores a model on the testing cases in each image's own space, and writes the predictions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Test(pub Scoring);

impl Stage for Test {
    const NAME: &'static str = "test";
    const VERSION: u32 = 5;
    const READS: &'static [Read] = &[
        LABEL_FILES,
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
    const YIELDS: Yields = Yields::TestScores;
    const NARROWED: &'static [&'static str] = &["dataset"];

    /// The listing and the files of the testing cases: what else changes in a dataset changes no
    /// score.
    fn names_read(_role: &str, peek: &Peek) -> Result<BTreeSet<String>> {
        files_of_part("testing", peek)
    }

    fn check(&self) -> Vec<Mistake> {
        self.0.check()
    }
}

/// The listing of a dataset, and the files of the cases of a part of the cache.
pub(super) fn files_of_part(part: &str, peek: &Peek) -> Result<BTreeSet<String>> {
    let list: VolumeList = json(&peek("cache", &format!("{part}/part.json"))?)?;
    let mut listing: Listing = json(&peek("dataset", LISTING)?)?;
    listing.cases.retain(|case| list.cases.iter().any(|wanted| wanted.name == case.name));
    Ok(listing.files().chain([LISTING.to_string()]).collect())
}

fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| Error::failed(error.to_string()))
}
