//! `preprocess`: makes one volume of each case: oriented, resampled, scaled and cropped.
//!
//! Each case is an item of its own, so that a changed image or label remakes that volume alone.

use super::{ArtifactType, Count, Items, Pool, Read, Run, Stage};
use crate::context::{Context, ItemKey, write_json};
use crate::dataset::{Case, Listing};
use crate::error::{Error, Result, Trouble};
use crate::image::nifti::Desk;
use crate::image::orientation::Orientation;
use crate::image::prepare::{Files, prepare_on};
use crate::image::spacing::Grid;
use crate::image::{Geometry, Preparation, VolumeCase, VolumeList, nifti};
use crate::space::Upstream;
use crate::task::Input;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use voxflow_cache::Artifact;

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

/// How much larger plain float32 volumes are than the packed images of a dataset, where only their
/// bytes are known: twice by gzip, twice by the width of numbers, and half as much again for labels
/// and spacing.
const GROWTH: u64 = 6;

impl Run for Preprocess {
    fn run(&self, cx: &Context) -> Result<()> {
        let dataset = cx.input("dataset")?;
        let listing: Listing = dataset.json("dataset.json")?;
        self.0.intensity.for_channels(listing.modality.len())?;
        let desks = Mutex::default();
        let cases = cx.each_case(
            &listing.cases,
            |case| &case.name,
            |case| self.volume(cx, dataset, &listing, &desks, case),
        )?;
        cx.create_json(
            "volumes.json",
            &VolumeList {
                dataset: listing.name,
                preparation: self.0.clone(),
                modality: listing.modality,
                labels: listing.labels,
                cases,
            },
        )
    }
}

/// The desks of cases that are done, for the next.
type Desks = Mutex<Vec<Desk>>;

/// Where a case's files are, and what the dataset says of them.
struct Item<'a> {
    desks: &'a Desks,
    images: Vec<PathBuf>,
    label: Option<PathBuf>,
    modality: Vec<String>,
    allowed: Vec<u8>,
}

impl Preprocess {
    /// The bytes of one case's volume: float32 images, and a byte a voxel for the label.
    fn volume_bytes(&self, dataset: &Input, case: &Case) -> Option<u64> {
        let mut bytes = 0;
        for (index, name) in case.images.iter().enumerate() {
            let header = nifti::read_header(dataset.path(name).ok()?, name).ok()?;
            let turn = Orientation::of(&header.affine).ok()?;
            let (shape, affine) =
                (turn.shape(header.shape), turn.affine(&header.affine, header.shape));
            let oriented = Grid { shape, affine };
            let grid = self
                .0
                .spacing
                .map_or(Ok(oriented), |spacing| oriented.with_spacing(spacing))
                .ok()?;
            let label = usize::from(index == 0 && case.label.is_some());
            bytes += (grid.voxels() * (4 * header.channels + label)) as u64;
        }
        Some(bytes)
    }

    /// Recalls one case's volume and adopts its files.
    fn volume(
        &self,
        cx: &Context,
        dataset: &Input,
        listing: &Listing,
        desks: &Desks,
        case: &Case,
    ) -> Result<VolumeCase> {
        let (item, key) = item(dataset, listing, desks, case)?;
        let made = cx.recall("volume", self, &item, &key, make)?;
        for name in ["image.nii", "label.nii", "geometry.json"] {
            if let Some(blob) = made.get(name) {
                cx.adopt(&format!("{}/{name}", case.name), blob);
            }
        }
        if made.get("warnings.json").is_some() {
            let warnings: Vec<String> = read_json(cx, &made, "warnings.json")?;
            warnings.iter().for_each(|words| cx.warn(format!("case {}: {words}", case.name)));
        }
        let geometry: Geometry = read_json(cx, &made, "geometry.json")?;
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
    listing: &Listing,
    desks: &'a Desks,
    case: &Case,
) -> Result<(Item<'a>, ItemKey)> {
    let allowed: Vec<u8> = listing.labels.iter().map(|label| label.value).collect();
    let facts = json!({ "modality": listing.modality, "labels": allowed });
    let mut key = ItemKey { name: case.name.clone(), facts, ..ItemKey::default() };
    let mut images = vec![];
    for (index, name) in case.images.iter().enumerate() {
        let file = dataset.file(name)?;
        key.inputs.insert(format!("image{index}"), file.blob.digest);
        images.push(file.path.clone());
    }
    let label = case.label.as_ref().map(|name| dataset.file(name)).transpose()?;
    if let Some(file) = label {
        key.inputs.insert("label".into(), file.blob.digest);
    }
    let label = label.map(|file| file.path.clone());
    Ok((Item { desks, images, label, modality: listing.modality.clone(), allowed }, key))
}

/// Makes one case's files. Warnings are kept beside the volume, so that reusing it repeats them.
fn make(params: &Preprocess, item: &Item, folder: &Path) -> Result<()> {
    let Item { images, label, modality, allowed, .. } = item;
    let mut desk =
        item.desks.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
    let prepared = prepare_on(
        &mut desk,
        &params.0,
        Files { images, label: label.as_deref(), modality, allowed },
    )?;
    item.desks.lock().unwrap_or_else(PoisonError::into_inner).push(desk);
    nifti::write_volume_f32(&folder.join("image.nii"), &prepared.image, false)?;
    if let Some(label) = &prepared.label {
        nifti::write_label(&folder.join("label.nii"), label, false)?;
    }
    if !prepared.warnings.is_empty() {
        write_json(&folder.join("warnings.json"), &prepared.warnings)?;
    }
    write_json(&folder.join("geometry.json"), &prepared.geometry)
}

fn read_json<T: DeserializeOwned>(cx: &Context, made: &Artifact, name: &str) -> Result<T> {
    let blob = made
        .get(name)
        .ok_or_else(|| Error::failed(format!("a volume without '{name}'; run with --force")))?;
    let path = cx.blob_path(blob);
    let text = std::fs::read(&path).map_err(Error::io("read", &path))?;
    serde_json::from_slice(&text).trouble_at(&path)
}
