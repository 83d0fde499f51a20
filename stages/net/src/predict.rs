//! `predict`: prepares each image as the model's card says, segments it, and writes the result in
//! the image's own space. Each image is an item, so that another image in the folder redoes no
//! other.

use crate::cases::tensor;
use crate::model::Models;
use crate::segment::Segmentation;
use crate::train::begin;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use voxflow_cache::{Artifact, Digest};
use voxflow_stages::context::{ItemKey, write_json};
use voxflow_stages::dataset::{Case, Label, Listing};
use voxflow_stages::image::case::image_digests;
use voxflow_stages::image::prepare::{Files, prepare_on};
use voxflow_stages::image::{CaseFiles, Volume, nifti};
use voxflow_stages::kinds::predict::Predict;
use voxflow_stages::{Context, Error, Input, Metric, Result, Trouble};

/// What is told of a prediction.
const FACTS: &str = "facts.json";

/// The item's files without their suffix, and their folders in the artifact.
const FILES: [(&str, &str); 2] = [("labels", "predictions"), ("probabilities", "probabilities")];

/// What is told of one prediction, so that reusing it tells the same.
#[derive(Debug, Serialize, Deserialize)]
struct Facts {
    /// The volume of each label in ml.
    volumes_ml: BTreeMap<String, f64>,
    warnings: Vec<String>,
}

/// One row of `predictions.json`.
#[derive(Debug, Serialize)]
struct Predicted {
    case: String,
    file: String,
    volumes_ml: BTreeMap<String, f64>,
}

/// Makes the predictions artifact.
pub fn run(cx: &Context) -> Result<()> {
    let params: Predict = cx.params()?;
    let place = begin(cx)?;
    let dataset = cx.input("dataset")?;
    let listing: Listing = dataset.json("dataset.json")?;
    let cases = params.chosen(&listing)?;
    let models = Models::open(cx, params.weights, params.inference.as_ref(), params.flips, place)?;
    models.check_channels(cx, &listing.modality)?;
    let desk = Desk { model: identity(cx, &params)?, models: Mutex::new(models), dataset };
    let rows = cx.each_case(&cases, |case| &case.name, |case| desk.predict(cx, &params, case))?;
    for row in &rows {
        let metric = |(label, ml): (&String, &f64)| {
            Metric::new("volume_ml", *ml).case(&row.case).label(label)
        };
        row.volumes_ml.iter().map(metric).for_each(|row| cx.metric(row.grid("original")));
    }
    cx.create_json("predictions.json", &rows)
}

/// What decides the networks' answer: the model's card and the weights in use, of every model.
fn identity(cx: &Context, params: &Predict) -> Result<BTreeMap<String, Digest>> {
    let mut files = BTreeMap::new();
    for (index, model) in cx.many("model").iter().enumerate() {
        for name in ["model.json", params.weights.file()] {
            files.insert(format!("model{index}/{name}"), model.file(name)?.blob.digest);
        }
    }
    Ok(files)
}

/// What all images share.
struct Desk<'a> {
    models: Mutex<Models>,
    model: BTreeMap<String, Digest>,
    dataset: &'a Input,
}

/// One image's files, and what segments them.
struct Item<'a> {
    files: CaseFiles,
    models: &'a Mutex<Models>,
}

impl Desk<'_> {
    /// Recalls one prediction, adopts its files and repeats its warnings.
    fn predict(&self, cx: &Context, params: &Predict, case: &Case) -> Result<Predicted> {
        let mut inputs = image_digests(self.dataset, case)?;
        inputs.extend(self.model.clone());
        let key = ItemKey { name: case.name.clone(), inputs, ..ItemKey::default() };
        let files = CaseFiles { label: None, ..CaseFiles::of(self.dataset, case)? };
        let file = params.file_of(&case.name);
        let made = cx.recall("image", params, &Item { files, models: &self.models }, &key, make)?;
        for (name, folder) in FILES {
            if let Some(blob) = made.get(&format!("{name}{}", params.suffix())) {
                cx.adopt(&format!("{folder}/{file}"), blob);
            }
        }
        let facts = facts(cx, &made)?;
        facts.warnings.iter().for_each(|words| cx.warn(format!("case {}: {words}", case.name)));
        Ok(Predicted {
            case: case.name.clone(),
            file: format!("predictions/{file}"),
            volumes_ml: facts.volumes_ml,
        })
    }
}

fn facts(cx: &Context, made: &Artifact) -> Result<Facts> {
    let blob = made.get(FACTS).ok_or_else(|| {
        Error::failed(format!("a prediction without '{FACTS}'; run with --force"))
    })?;
    let path = cx.blob_path(blob);
    let text = std::fs::read(&path).map_err(Error::io("read", &path))?;
    serde_json::from_slice(&text).trouble_at(&path)
}

/// Makes one image's files.
fn make(params: &Predict, item: &Item, folder: &Path) -> Result<()> {
    let card = item.models.lock().unwrap_or_else(PoisonError::into_inner).card.clone();
    let modality = &card.modality;
    let files = Files { case: &item.files, modality, named_by: "the model", allowed: &[] };
    let prepared = prepare_on(&mut nifti::Desk::default(), &card.preparation, files)?;
    let image = tensor(&prepared.image.data, prepared.image.channels, prepared.image.shape);
    let found = Segmentation::of(item.models, &image, &prepared.geometry)?;
    let (labels, packed) = (found.labels()?, params.suffix().ends_with(".gz"));
    let [path_of_labels, path_of_probabilities] =
        FILES.map(|(name, _)| folder.join(format!("{name}{}", params.suffix())));
    let space = prepared.geometry.space.as_ref();
    nifti::write_label_in(&path_of_labels, &labels, space, packed)?;
    if params.probabilities {
        let all = found.probabilities()?;
        nifti::write_volume_f32_in(&path_of_probabilities, &all, space, packed)?;
    }
    let facts =
        Facts { volumes_ml: volumes_ml(&labels, &card.labels), warnings: prepared.warnings };
    write_json(&folder.join(FACTS), &facts)
}

fn volumes_ml(map: &Volume<u8>, labels: &[Label]) -> BTreeMap<String, f64> {
    let mut voxels = [0u64; 256];
    map.data.iter().for_each(|value| voxels[usize::from(*value)] += 1);
    let ml = |label: &Label| {
        (label.name.clone(), voxels[usize::from(label.value)] as f64 * map.voxel_ml())
    };
    labels.iter().map(ml).collect()
}
