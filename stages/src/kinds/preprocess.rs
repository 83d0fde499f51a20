//! `preprocess`: makes one volume per case: oriented, resampled, scaled and cropped.
//!
//! Each case is an item, so that a changed image or label remakes its volume alone.

use crate::case_errors;
use crate::context::{Context, ItemKey, write_json};
use crate::dataset::{Case, Listing};
use crate::disk_space::Upstream;
use crate::error::{Error, Result};
use crate::image::case::{image_digests, label_digests};
use crate::image::nifti::{LabelValues, Scratch};
use crate::image::prepare::{Files, prepare_with};
use crate::image::prepared::OUTSIDE;
use crate::image::stored::MARKED;
use crate::image::{CaseFiles, Geometry, Loss, Preparation, VolumeCase, VolumeList, nifti};
use crate::kind::Run;
use crate::stage::{ArtifactType, Count, Demand, Items, Pool, Read, Stage};
use crate::task::Input;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Makes one volume of each case: oriented, resampled, scaled and cropped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Preprocess(pub Preparation);

impl Stage for Preprocess {
    const NAME: &'static str = "preprocess";
    const VERSION: u32 = 2;
    const READS: &'static [Read] = &[Read {
        role: "dataset",
        artifact: ArtifactType::Dataset,
        parts: &[""],
        count: Count::One,
        doc: "images and labels",
    }];
    const MAKES: ArtifactType = ArtifactType::Volumes;
    const ITEMS: &'static [Items] =
        &[Items { what: "volume", reads: "dataset", holds: &["image.nii", "geometry.json"] }];
    const POOL: Pool = Pool::Cpu;
    const QUICK: bool = true;
    const DEMAND: Demand = Demand::VOLUMES;

    fn check(&self) -> Vec<(String, String)> {
        self.0.check()
    }

    /// The resampled volumes as the images' headers tell, before any crop.
    fn expected_bytes(&self, inputs: &BTreeMap<String, Upstream>) -> Option<u64> {
        match inputs.get("dataset")? {
            Upstream::Made(dataset) => {
                let listing: Listing = dataset.json("dataset.json").ok()?;
                listing.cases.iter().map(|case| self.volume_bytes(dataset, case)).sum()
            }
            Upstream::Foreseen(bytes) => Some(bytes * GROWTH),
        }
    }
}

/// Size of plain float32 volumes relative to a dataset's packed images, if only their bytes are
/// known: twice for gzip, twice for the width of numbers, and half as much again for labels and
/// spacing.
const GROWTH: u64 = 6;

impl Run for Preprocess {
    fn run(&self, cx: &Context) -> Result<()> {
        let dataset = cx.input("dataset")?;
        let listing: Listing = dataset.json("dataset.json")?;
        self.0.intensity.for_channels(listing.modality.len())?;
        if self.0.mark_outside && listing.declared().contains(&OUTSIDE) {
            return Err(Error::failed(format!(
                "mark_outside: {OUTSIDE} is the value of a label; give the label another one by \
                 'map_labels' of the dataset's stage"
            )));
        }
        let scratches = Mutex::default();
        let cases = cx.each_case(
            &listing.cases,
            |case| &case.name,
            |case| self.volume(cx, dataset, &listing, &scratches, case),
        )?;
        cx.create_json(
            "volumes.json",
            &VolumeList {
                dataset: listing.name,
                preparation: self.0.clone(),
                modality: listing.modality,
                labels: listing.labels,
                ignore: listing.ignore,
                cases,
            },
        )
    }
}

/// Scratch memory of finished cases, for the next.
type ScratchPool = Mutex<Vec<Scratch>>;

/// A case's files and their description in the dataset.
struct VolumeItem<'a> {
    scratches: &'a ScratchPool,
    files: CaseFiles,
    listing: &'a Listing,
    declared: Vec<u8>,
}

impl Preprocess {
    /// The bytes of one case's volume: float32 images, and a byte a voxel for the label.
    fn volume_bytes(&self, dataset: &Input, case: &Case) -> Option<u64> {
        let mut bytes = 0;
        let files = CaseFiles::of(dataset, case).ok()?;
        for (index, file) in files.images.iter().enumerate() {
            let header = nifti::read_header(file, "image").ok()?;
            let oriented = self.0.orientation.frame(header.grid()).ok()?.oriented();
            let grid = self.0.resampled(&oriented).ok()?;
            let maps = 1 + usize::from(self.0.mark_outside);
            let labels = if index == 0 && case.label.is_some() { maps } else { 0 };
            bytes += (grid.voxels() * (4 * header.channels + labels)) as u64;
        }
        Some(bytes)
    }

    /// Recalls one case's volume and adopts its files.
    fn volume(
        &self,
        cx: &Context,
        dataset: &Input,
        listing: &Listing,
        scratches: &ScratchPool,
        case: &Case,
    ) -> Result<VolumeCase> {
        let (item, key) = item(dataset, listing, scratches, case)?;
        let made = cx.recall("volume", self, &item, &key, make);
        let made = made.map_err(|error| with_way_out(error, dataset, case))?;
        for name in ["image.nii", "label.nii", MARKED, "geometry.json"] {
            if let Some(blob) = made.get(name) {
                cx.adopt(&format!("{}/{name}", case.name), blob);
            }
        }
        if made.get("warnings.json").is_some() {
            let warnings: Vec<String> = cx.item_json(&made, "warnings.json")?;
            warnings.iter().for_each(|words| cx.warn(format!("case {}: {words}", case.name)));
        }
        if made.get(LOSSES).is_some() {
            let losses: Vec<Loss> = cx.item_json(&made, LOSSES)?;
            for loss in losses {
                let words = loss.words(listing.label_name(loss.label));
                cx.warn(format!("case {}: {words}", case.name));
            }
        }
        let geometry: Geometry = cx.item_json(&made, "geometry.json")?;
        Ok(VolumeCase {
            name: case.name.clone(),
            labelled: case.label.is_some(),
            shape: geometry.prepared_shape(),
            image_digests: geometry.image_digests,
        })
    }
}

/// The case's files by path, and by content for its recipe.
fn item<'a>(
    dataset: &Input,
    listing: &'a Listing,
    scratches: &'a ScratchPool,
    case: &Case,
) -> Result<(VolumeItem<'a>, ItemKey)> {
    let declared = listing.declared();
    let mut facts = json!({ "modality": listing.modality, "labels": declared });
    if !listing.map_labels.is_empty() {
        facts["map_labels"] = json!(listing.map_labels);
    }
    let mut inputs = image_digests(dataset, case)?;
    inputs.extend(label_digests(dataset, case)?);
    let key = ItemKey { name: case.name.clone(), facts, inputs };
    let files = CaseFiles::of(dataset, case)?;
    Ok((VolumeItem { scratches, files, listing, declared }, key))
}

/// File of the losses, beside the volume.
const LOSSES: &str = "losses.json";

/// The trouble with a case's files, and how to go on without it.
fn with_way_out(error: Error, dataset: &Input, case: &Case) -> Error {
    match error {
        Error::Failed(words) => {
            Error::failed(case_errors::with_way_out(&words, &case.name, &dataset.stage))
        }
        other => other,
    }
}

/// Makes a case's files. Warnings are kept beside the volume, so that reusing it repeats them.
fn make(params: &Preprocess, item: &VolumeItem, folder: &Path) -> Result<()> {
    let VolumeItem { files, listing, declared, .. } = item;
    let values = LabelValues { declared, mapping: &listing.map_labels };
    let mut scratch =
        item.scratches.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
    let files = Files { case: files, modality: &listing.modality, named_by: "the dataset", values };
    let prepared = prepare_with(&mut scratch, &params.0, files)?;
    item.scratches.lock().unwrap_or_else(PoisonError::into_inner).push(scratch);
    nifti::write_volume_f32(&folder.join("image.nii"), &prepared.image, false)?;
    if let Some(label) = &prepared.label {
        nifti::write_label(&folder.join("label.nii"), label, false)?;
    }
    if let Some(marked) = &prepared.marked {
        nifti::write_label(&folder.join(MARKED), marked, false)?;
    }
    if !prepared.warnings.is_empty() {
        write_json(&folder.join("warnings.json"), &prepared.warnings)?;
    }
    if !prepared.losses.is_empty() {
        write_json(&folder.join(LOSSES), &prepared.losses)?;
    }
    write_json(&folder.join("geometry.json"), &prepared.geometry)
}
