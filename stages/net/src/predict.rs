//! The stage `predict`: prepares each image by the model card, segments it, and writes the result
//! on the image's original grid. Each image is a separate item in the store: adding an image to the
//! folder does not predict the others again.

use crate::device::choose_device;
use crate::ensemble::Ensemble;
use crate::image_preparation::from_files;
use crate::segmentation::{PreparedImage, Segmentation};
use crate::torch_flags::set_deterministic;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use voxflow_cache::Digest;
use voxflow_stages::context::{ItemKey, write_json};
use voxflow_stages::dataset::{Case, Listing};
use voxflow_stages::image::case::image_digests;
use voxflow_stages::image::{CaseFiles, Volume, nifti};
use voxflow_stages::kinds::predict::{Predict, WINDOWS};
use voxflow_stages::model::ModelCard;
use voxflow_stages::model::ensemble::CARD;
use voxflow_stages::{Context, Input, Metric, Progress, Result};

/// The file of [`PredictionFacts`].
const FACTS: &str = "facts.json";

/// Time between messages about the windows of an image.
const BETWEEN: Duration = Duration::from_millis(500);

/// The item's files without their suffix, and their folders in the artifact.
const FILES: [(&str, &str); 2] = [("labels", "predictions"), ("probabilities", "probabilities")];

/// Metrics and warnings, stored so that a reused prediction repeats them.
#[derive(Debug, Serialize, Deserialize)]
struct PredictionFacts {
    /// The volume of each label or region in ml.
    volumes_ml: BTreeMap<String, f64>,
    warnings: Vec<String>,
}

/// One row of `predictions.json`.
#[derive(Debug, Serialize)]
struct PredictionRow {
    case: String,
    file: String,
    volumes_ml: BTreeMap<String, f64>,
}

/// Makes the predictions artifact.
pub fn run(cx: &Context) -> Result<()> {
    let params: Predict = cx.params()?;
    set_deterministic(params.options.deterministic)?;
    let info = choose_device(cx)?;
    let dataset = cx.input("dataset")?;
    let listing: Listing = dataset.json("dataset.json")?;
    let cases = params.chosen(&listing)?;
    let models = Ensemble::open(cx, &params.options, info)?;
    models.check_channels(cx, &listing.modality)?;
    let model_digests = model_digests(cx, &params)?;
    let predictor = Predictor { model_digests, models: Mutex::new(models), dataset };
    let rows =
        cx.each_case(&cases, |case| &case.name, |case| predictor.predict(cx, &params, case))?;
    for row in &rows {
        for (label, ml) in &row.volumes_ml {
            let metric = Metric::new("volume_ml", *ml).case(&row.case).label(label);
            cx.metric(metric.grid("original"));
        }
    }
    cx.create_json("predictions.json", &rows)
}

/// Digests of every model's card and weights, which decide its predictions.
fn model_digests(cx: &Context, params: &Predict) -> Result<BTreeMap<String, Digest>> {
    let mut files = BTreeMap::new();
    for (index, model) in cx.many("model").iter().enumerate() {
        let card: ModelCard = model.json(CARD)?;
        let (mut names, weights) = (vec![CARD.to_string()], params.options.weights.file());
        match card.members.is_empty() {
            true => names.push(weights.to_string()),
            false => names.extend(card.members.iter().flat_map(|member| {
                [CARD, weights].map(|file| format!("{}/{file}", member.folder))
            })),
        }
        for name in names {
            files.insert(format!("model{index}/{name}"), model.file(&name)?.blob.digest);
        }
    }
    Ok(files)
}

/// The data that all images share.
struct Predictor<'a> {
    models: Mutex<Ensemble>,
    model_digests: BTreeMap<String, Digest>,
    dataset: &'a Input,
}

/// An image's files and the networks.
struct ImageItem<'a> {
    files: CaseFiles,
    models: &'a Mutex<Ensemble>,
    /// Hears the windows done and all.
    told: &'a (dyn Fn(u64, u64) + Sync),
}

impl Predictor<'_> {
    /// Recalls one prediction, adopts its files and repeats its warnings.
    fn predict(&self, cx: &Context, params: &Predict, case: &Case) -> Result<PredictionRow> {
        let mut inputs = image_digests(self.dataset, case)?;
        inputs.extend(self.model_digests.clone());
        let key = ItemKey { name: case.name.clone(), inputs, ..ItemKey::default() };
        let files = CaseFiles { label: None, ..CaseFiles::of(self.dataset, case)? };
        let file = params.file_of(&case.name);
        let last = Mutex::new(None::<Instant>);
        let told = |done, total| {
            let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
            if last.is_none_or(|last| last.elapsed() >= BETWEEN) {
                *last = Some(Instant::now());
                let numbers = vec![("image".to_string(), case.name.clone())];
                cx.progress(Progress { done, total: Some(total), unit: WINDOWS.into(), numbers });
            }
        };
        let item = ImageItem { files, models: &self.models, told: &told };
        let made = cx.recall("image", params, &item, &key, make)?;
        for (name, folder) in FILES {
            if let Some(blob) = made.get(&format!("{name}{}", params.suffix())) {
                cx.adopt(&format!("{folder}/{file}"), blob);
            }
        }
        let facts: PredictionFacts = cx.item_json(&made, FACTS)?;
        facts.warnings.iter().for_each(|words| cx.warn(format!("case {}: {words}", case.name)));
        Ok(PredictionRow {
            case: case.name.clone(),
            file: format!("predictions/{file}"),
            volumes_ml: facts.volumes_ml,
        })
    }
}

/// Makes one image's files.
fn make(params: &Predict, item: &ImageItem, folder: &Path) -> Result<()> {
    let (card, preparations) = {
        let models = item.models.lock().unwrap_or_else(PoisonError::into_inner);
        (models.card.clone(), models.preparations())
    };
    let (mut images, mut warnings): (Vec<PreparedImage>, Vec<String>) = (vec![], vec![]);
    for preparation in preparations {
        let (image, words) = from_files(&preparation, &card.modality, &item.files)?;
        images.push(image);
        warnings.extend(words);
    }
    let (labels, probabilities) = segment(params, item, &images)?;
    let packed = params.suffix().ends_with(".gz");
    let [path_of_labels, path_of_probabilities] =
        FILES.map(|(name, _)| folder.join(format!("{name}{}", params.suffix())));
    let space = images.first().and_then(|first| first.geometry.space.as_ref());
    nifti::write_label_in(&path_of_labels, &labels, space, packed)?;
    if let Some(all) = probabilities {
        nifti::write_volume_f32_in(&path_of_probabilities, &all, space, packed)?;
    }
    let facts = PredictionFacts { volumes_ml: volumes_ml(&labels, &card), warnings };
    write_json(&folder.join(FACTS), &facts)
}

/// The label map, and the probabilities if they are asked for: all scores are kept for them.
fn segment(
    params: &Predict,
    item: &ImageItem,
    images: &[PreparedImage],
) -> Result<(Volume<u8>, Option<Volume<f32>>)> {
    if !params.probabilities {
        let labels = Segmentation::label_map_told(item.models, images, item.told)?;
        return Ok((labels, None));
    }
    let found = Segmentation::predict_told(item.models, images, item.told)?;
    Ok((found.labels()?, Some(found.probabilities()?)))
}

/// The volume of each label, or of each region.
fn volumes_ml(map: &Volume<u8>, card: &ModelCard) -> BTreeMap<String, f64> {
    let mut voxels = [0u64; 256];
    map.data.iter().for_each(|value| voxels[usize::from(*value)] += 1);
    let voxel_ml = map.voxel_ml();
    let ml = |values: &[u8]| {
        values.iter().map(|value| voxels[usize::from(*value)]).sum::<u64>() as f64 * voxel_ml
    };
    match card.regions.is_empty() {
        true => card.labels.iter().map(|one| (one.name.clone(), ml(&[one.value]))).collect(),
        false => card.regions.iter().map(|one| (one.name.clone(), ml(&one.labels))).collect(),
    }
}
