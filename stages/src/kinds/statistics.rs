//! `statistics`: shapes, voxel sizes and intensities of the cases to learn and to choose from.
//!
//! For people, and for `voxflow new`, which plans from them; no stage reads them. Each case is an
//! item, so that a new case costs one look.

use crate::context::{Context, ItemKey, write_json};
use crate::dataset::{Case, Listing, Split};
use crate::error::{Error, Result};
use crate::image::CaseFiles;
use crate::image::case::{image_digests, label_digests};
use crate::image::case_statistics::CaseStatistics;
use crate::image::intensity_distribution::{IntensityDistribution, Summary};
use crate::image::nifti::{LabelValues, Scratch};
use crate::image::prepare::Files;
use crate::kind::Run;
use crate::planner::DatasetFingerprint;
use crate::planner::percentile::percentile;
use crate::planner::pooled_intensities::pooled;
use crate::stage::{ArtifactType, Count, Demand, Items, Peek, Pool, Read, Stage};
use crate::task::Input;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use voxflow_cache::disk;

/// Collects shapes, voxel sizes and intensities of the training and the validation cases: nnU-Net's
/// fingerprint of a dataset. Cases that the split sets aside for testing are not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Statistics {}

/// The file of the artifact.
pub const FINGERPRINT: &str = "dataset_fingerprint.json";
const LISTING: &str = "dataset.json";
const SPLIT: &str = "split.json";
const FACTS: &str = "case.json";
const BINS: &str = "intensities.bin";

impl Stage for Statistics {
    const NAME: &'static str = "statistics";
    const VERSION: u32 = 1;
    const READS: &'static [Read] = &[
        Read {
            role: "dataset",
            artifact: ArtifactType::Dataset,
            parts: &[""],
            count: Count::One,
            doc: "images and labels",
        },
        Read {
            role: "split",
            artifact: ArtifactType::Split,
            parts: &[SPLIT],
            count: Count::One,
            doc: "which case is for what",
        },
    ];
    const MAKES: ArtifactType = ArtifactType::Statistics;
    const NARROWED: &'static [&'static str] = &["dataset"];
    const ITEMS: &'static [Items] =
        &[Items { what: "case", reads: "dataset", holds: &[FACTS, BINS] }];
    const POOL: Pool = Pool::Cpu;
    const QUICK: bool = true;
    const DEMAND: Demand = Demand::VOLUMES;

    /// The listing and the files of the cases to learn and to choose from.
    fn names_read(_role: &str, peek: &Peek) -> Result<BTreeSet<String>> {
        let split: Split = parsed(&peek("split", SPLIT)?)?;
        let listing: Listing = parsed(&peek("dataset", LISTING)?)?;
        Ok(looked_at(listing, &split).files().chain([LISTING.to_string()]).collect())
    }
}

fn parsed<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| Error::failed(error.to_string()))
}

/// The listing of the training and the validation cases alone.
fn looked_at(mut listing: Listing, split: &Split) -> Listing {
    let names: BTreeSet<&String> = split.training.iter().chain(&split.validation).collect();
    listing.cases.retain(|case| names.contains(&case.name));
    listing
}

impl Run for Statistics {
    fn run(&self, cx: &Context) -> Result<()> {
        let dataset = cx.input("dataset")?;
        let split: Split = cx.input("split")?.json(SPLIT)?;
        let listing = looked_at(dataset.json(LISTING)?, &split);
        let cases = cx.each_case(
            &listing.cases,
            |case| &case.name,
            |case| self.case(cx, dataset, &listing, case),
        )?;
        cx.create_json(FINGERPRINT, &fingerprint(&listing, &cases))
    }
}

/// `case.json`: all but the bins of a case.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredFacts {
    shape_after_crop: [usize; 3],
    spacing: [f64; 3],
    relative_size_after_cropping: f64,
    foreground: Vec<Summary>,
}

/// A case's files, and the dataset's facts about them.
struct StatisticsItem<'a> {
    files: CaseFiles,
    listing: &'a Listing,
    declared: Vec<u8>,
}

impl Statistics {
    fn case(
        &self,
        cx: &Context,
        dataset: &Input,
        listing: &Listing,
        case: &Case,
    ) -> Result<CaseStatistics> {
        let declared = listing.declared();
        let mut facts = json!({ "modality": listing.modality, "labels": declared });
        if !listing.map_labels.is_empty() {
            facts["map_labels"] = json!(listing.map_labels);
        }
        let mut inputs = image_digests(dataset, case)?;
        inputs.extend(label_digests(dataset, case)?);
        let key = ItemKey { name: case.name.clone(), facts, inputs };
        let item = StatisticsItem { files: CaseFiles::of(dataset, case)?, listing, declared };
        let made = cx.recall("case", self, &item, &key, make)?;
        let facts: StoredFacts = cx.item_json(&made, FACTS)?;
        let blob = made
            .get(BINS)
            .ok_or_else(|| Error::failed(format!("an item without '{BINS}'; run with --force")))?;
        let path = cx.blob_path(blob);
        let bytes = std::fs::read(&path).map_err(Error::io("read", &path))?;
        Ok(CaseStatistics {
            shape_after_crop: facts.shape_after_crop,
            spacing: facts.spacing,
            relative_size_after_cropping: facts.relative_size_after_cropping,
            foreground: IntensityDistribution::all_of(&facts.foreground, &bytes)?,
        })
    }
}

/// Looks at one case.
fn make(_: &Statistics, item: &StatisticsItem, folder: &Path) -> Result<()> {
    let StatisticsItem { files, listing, declared } = item;
    let values = LabelValues { declared, mapping: &listing.map_labels };
    let files = Files { case: files, modality: &listing.modality, named_by: "the dataset", values };
    let found = CaseStatistics::read(&mut Scratch::default(), files)?;
    let bytes: Vec<u8> = found.foreground.iter().flat_map(IntensityDistribution::bytes).collect();
    disk::write(&folder.join(BINS), &bytes)?;
    let facts = StoredFacts {
        shape_after_crop: found.shape_after_crop,
        spacing: found.spacing,
        relative_size_after_cropping: found.relative_size_after_cropping,
        foreground: found.foreground.iter().map(|one| one.summary).collect(),
    };
    write_json(&folder.join(FACTS), &facts)
}

/// All cases together, axes in nnU-Net's order z, y, x.
fn fingerprint(listing: &Listing, cases: &[CaseStatistics]) -> DatasetFingerprint {
    let properties = (0..listing.modality.len()).filter_map(|channel| {
        let each: Vec<_> = cases.iter().filter_map(|case| case.foreground.get(channel)).collect();
        Some((channel, pooled(&each)?))
    });
    let sizes: Vec<f64> = cases.iter().map(|case| case.relative_size_after_cropping).collect();
    DatasetFingerprint {
        foreground_intensity_properties_per_channel: properties.collect::<BTreeMap<_, _>>(),
        median_relative_size_after_cropping: percentile(&sizes, 50.0),
        shapes_after_crop: cases.iter().map(|case| reversed(case.shape_after_crop)).collect(),
        spacings: cases.iter().map(|case| reversed(case.spacing)).collect(),
    }
}

fn reversed<T: Copy>([x, y, z]: [T; 3]) -> [T; 3] {
    [z, y, x]
}
