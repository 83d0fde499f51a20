//! Settings that follow from a plan of nnU-Net: the parameters of `preprocess` and `train`, each
//! with its reason.

use super::recipe::recipe_line;
use super::statistics::LookedAt;
use crate::error::{Error, Result};
use serde_json::{Value, json};
use voxflow_stages::image::Resampling;
use voxflow_stages::planner::{
    Architecture, Configuration, NormalizationScheme, PatchRotation, Plan,
};

/// Significant digits of intensities.
const DIGITS: i32 = 6;

/// A parameter with its reason.
pub(super) struct PlannedSetting {
    pub key: &'static str,
    pub value: Value,
    pub reason: String,
}

/// Settings of both stages.
pub(super) struct PlannedSettings {
    pub preprocess: Vec<PlannedSetting>,
    pub train: Vec<PlannedSetting>,
    /// Facts of the plan for the head of the file.
    pub remarks: Vec<String>,
    /// The comment by which `--update` knows the recipe.
    pub recipe_line: String,
}

fn setting(key: &'static str, value: Value, reason: impl Into<String>) -> PlannedSetting {
    PlannedSetting { key, value, reason: reason.into() }
}

impl PlannedSettings {
    /// Those of a plan for the cases looked at.
    pub fn of(plan: &Plan, looked: &LookedAt) -> Result<PlannedSettings> {
        Ok(PlannedSettings {
            preprocess: preprocess(plan, looked)?,
            train: train(plan, looked),
            remarks: remarks(plan, looked),
            recipe_line: recipe_line(plan.preset, plan.gpu_memory_gb),
        })
    }
}

fn preprocess(plan: &Plan, looked: &LookedAt) -> Result<Vec<PlannedSetting>> {
    let cases = looked.fingerprint.spacings.len();
    let spacing = plan.along_ras(plan.fullres.spacing);
    let median = plan.along_ras(plan.original_median_spacing_after_transp);
    let why = match spacing == median {
        true => format!("mm along x, y, z: the median of {cases} cases"),
        false => {
            format!("mm along x, y, z: the median of {cases} cases, finer along the coarsest axis")
        }
    };
    let kept = looked.fingerprint.median_relative_size_after_cropping * 100.0;
    let mut settings = vec![
        setting("spacing", json!(spacing), why),
        setting(
            "crop_nonzero",
            json!(true),
            format!("the box of voxels that are not 0: {kept:.0} % of the median case"),
        ),
        setting("intensity", intensity(plan, looked)?, intensity_reason(plan)),
        setting(
            "resampling",
            json!(Resampling::default()),
            "splines for images, masks for labels; far coarser slices are copied",
        ),
    ];
    if plan.use_mask_for_norm.contains(&true) {
        let why = "for 'zero_outside' of the training";
        settings.push(setting("mark_outside", json!(true), why));
    }
    Ok(settings)
}

/// One scaling for all channels, or one for each.
fn intensity(plan: &Plan, looked: &LookedAt) -> Result<Value> {
    let channels = plan.normalization_schemes.iter().zip(&plan.use_mask_for_norm).enumerate();
    let each = channels.map(|(channel, (scheme, is_masked))| match scheme {
        NormalizationScheme::CTNormalization => ct(looked, channel),
        NormalizationScheme::NoNormalization => Ok(json!("none")),
        NormalizationScheme::RescaleTo01Normalization => Ok(json!({ "percentile": [0, 100] })),
        NormalizationScheme::RGBTo01Normalization => Ok(json!({ "window": [0, 255] })),
        NormalizationScheme::ZScoreNormalization => {
            Ok(json!({ "zscore": if *is_masked { "nonzero_mask" } else { "all" } }))
        }
    });
    let mut each = each.collect::<Result<Vec<Value>>>()?;
    let is_one = each.iter().all(|one| *one == each[0]);
    Ok(if is_one && !each.is_empty() { each.swap_remove(0) } else { Value::Array(each) })
}

/// A CT's scaling by its labelled voxels.
fn ct(looked: &LookedAt, channel: usize) -> Result<Value> {
    let properties = &looked.fingerprint.foreground_intensity_properties_per_channel;
    let of = properties.get(&channel).ok_or_else(|| {
        Error::usage(
            "no training case has a labelled voxel, so a CT cannot be scaled by them; \
             '--recipe quick' needs none",
        )
    })?;
    let [low, high, mean, std] =
        [of.percentile_00_5, of.percentile_99_5, of.mean, of.std].map(rounded);
    Ok(json!({ "ct": { "clip": [low, high], "mean": mean, "std": std } }))
}

/// To six significant digits.
fn rounded(number: f64) -> f64 {
    let text = format!("{number:.*e}", DIGITS as usize - 1);
    text.parse().unwrap_or(number)
}

fn intensity_reason(plan: &Plan) -> String {
    let schemes = &plan.normalization_schemes;
    if schemes.contains(&NormalizationScheme::CTNormalization) {
        return "percentiles 0.5 and 99.5, mean and deviation of labelled voxels".into();
    }
    match plan.use_mask_for_norm.contains(&true) {
        true => "within the non-zero region, since the crop leaves less than 75 %".into(),
        false => "scales differ between scanners; the crop leaves 75 % or more".into(),
    }
}

fn train(plan: &Plan, looked: &LookedAt) -> Vec<PlannedSetting> {
    let mut settings = trainer(plan);
    let regions = &looked.listing.regions;
    if !regions.is_empty() {
        let at = settings.iter().position(|setting| setting.key == "loss");
        let why = "of dataset.json: an output each; written in this order";
        settings.insert(at.unwrap_or(0), setting("regions", json!(regions), why));
    }
    settings
}

fn trainer(plan: &Plan) -> Vec<PlannedSetting> {
    let full = &plan.fullres;
    let patch = plan.along_ras(full.patch_size);
    let rotation = PatchRotation::of(full.patch_size);
    let cut = plan.along_ras(rotation.initial_patch_size);
    vec![
        setting(
            "epochs",
            json!(1000),
            "nnU-Net's; its Hippocampus, Heart and BrainTumour gained nothing after a tenth",
        ),
        setting("steps_per_epoch", json!(250), "nnU-Net's, of cases drawn at random"),
        setting("patch", json!(patch), patch_reason(plan)),
        setting("volumes_per_step", json!(full.batch_size), batch_reason(plan)),
        setting("patches_per_volume", json!(1), "each sample of a batch is of a case of its own"),
        setting(
            "sampling",
            json!({ "forced_foreground": 0.33, "initial_patch": cut }),
            "a third around labels; cut large enough to be turned",
        ),
        setting("augmentation", augmentation(plan, &rotation), "nnU-Net's, in its order"),
        setting("network", network(plan, &full.architecture), network_reason(full)),
        setting("loss", loss(full), loss_reason(full)),
        setting("learning_rate", json!(0.01), "nnU-Net's, as all of the following"),
        setting(
            "optimizer",
            json!({ "name": "sgd", "momentum": 0.99, "nesterov": true, "weight_decay": 3e-5 }),
            "",
        ),
        setting("schedule", json!({ "name": "polynomial", "power": 0.9 }), "to 0 at the end"),
        setting("clip_gradients", json!(12.0), ""),
        setting("best_by", json!("last"), "nnU-Net predicts with its final weights"),
        setting("validate_every", json!(20), "whole volumes, so less often than nnU-Net's patches"),
        setting(
            "inference",
            json!({
                "roi": patch, "overlap": 0.5, "blend": "gaussian_nnunet", "placement": "even",
                "flips": true, "average": "logits", "precision": "training",
            }),
            "",
        ),
    ]
}

/// The random transforms in their order. Flat patches are turned slice by slice.
fn augmentation(plan: &Plan, rotation: &PatchRotation) -> Value {
    let flat = rotation.is_flat.then(|| plan.first_axis());
    let mut spatial = json!({
        "name": "spatial", "rotation_probability": 0.2, "rotation_degrees": rotation.degrees,
        "scale_probability": 0.2, "scale": [0.7, 1.4],
    });
    let mut low_resolution = json!({
        "name": "low_resolution", "probability": 0.25, "channel_probability": 0.5,
        "scale": [0.5, 1.0],
    });
    if let Some(axis) = flat {
        spatial["flat_axis"] = json!(axis);
        low_resolution["flat_axis"] = json!(axis);
    }
    let mut transforms = vec![
        spatial,
        json!({ "name": "noise", "probability": 0.1, "std": 0.1 }),
        json!({
            "name": "blur", "probability": 0.2, "channel_probability": 0.5,
            "sigma_voxels": [0.5, 1.0],
        }),
        json!({ "name": "brightness", "probability": 0.15, "range": [0.75, 1.25] }),
        json!({ "name": "contrast", "probability": 0.15, "range": [0.75, 1.25] }),
        low_resolution,
        json!({
            "name": "gamma_retain_stats", "probability": 0.1, "range": [0.7, 1.5],
            "inverted": true,
        }),
        json!({ "name": "gamma_retain_stats", "probability": 0.3, "range": [0.7, 1.5] }),
        json!({ "name": "flip", "probability": 0.5 }),
    ];
    transforms.extend(zero_outside(plan));
    Value::Array(transforms)
}

/// The last transform, where some channel is scaled within the non-zero region.
fn zero_outside(plan: &Plan) -> Option<Value> {
    let masked = plan.use_mask_for_norm.iter().enumerate().filter(|(_, is_masked)| **is_masked);
    let channels: Vec<usize> = masked.map(|(channel, _)| channel).collect();
    match channels.len() {
        0 => None,
        all if all == plan.use_mask_for_norm.len() => Some(json!({ "name": "zero_outside" })),
        _ => Some(json!({ "name": "zero_outside", "channels": channels })),
    }
}

fn patch_reason(plan: &Plan) -> String {
    let [x, y, z] = plan.along_ras(plan.fullres.median_image_size_in_voxels);
    format!("voxels; the median volume has {x} x {y} x {z} of this spacing")
}

fn batch_reason(plan: &Plan) -> String {
    let (full, gb) = (&plan.fullres, plan.gpu_memory_gb);
    let covered = plan.preset.max_dataset_covered();
    let estimate = full.feature_map_size / 1e6;
    match covered < 1.0 {
        true => format!(
            "{estimate:.0} million feature values a patch: {gb} GB; at most {:.0} % of all voxels",
            covered * 100.0
        ),
        false => format!("{estimate:.0} million feature values a patch: {gb} GB"),
    }
}

fn network(plan: &Plan, architecture: &Architecture) -> Value {
    let each = |lists: &[[usize; 3]]| -> Vec<Value> {
        let turned = lists.iter().map(|list| plan.along_ras(*list));
        turned.map(|[x, y, z]| if x == y && y == z { json!(x) } else { json!([x, y, z]) }).collect()
    };
    let (name, encoder) = match architecture.is_residual {
        true => ("residual_encoder_unet", "blocks"),
        false => ("plain_conv_unet", "convolutions"),
    };
    json!({
        "name": name,
        "features": architecture.features_per_stage,
        "kernel_sizes": each(&architecture.kernel_sizes),
        "strides": each(&architecture.strides),
        encoder: architecture.encoder,
        "decoder_convolutions": architecture.decoder,
        "deep_supervision": true,
    })
}

fn network_reason(full: &Configuration) -> String {
    let stages = full.architecture.strides.len();
    format!(
        "{stages} stages: axes are halved down to 4 voxels, coarse ones later, with flat kernels"
    )
}

fn loss(full: &Configuration) -> Value {
    json!({
        "name": "dice_ce",
        "include_background": false,
        "squared_pred": false,
        "batch": full.batch_dice,
        "weights": [1.0, 1.0],
        "clamp_dr": 1e-8,
        "negative_dice": true,
        "output_weights": "nnunet",
    })
}

fn loss_reason(full: &Configuration) -> &'static str {
    match full.batch_dice {
        true => "Dice of the whole batch, since a patch sees less than a quarter of a volume",
        false => "Dice of each patch, since a patch sees a quarter of a volume or more",
    }
}

fn remarks(plan: &Plan, looked: &LookedAt) -> Vec<String> {
    let cases = looked.fingerprint.spacings.len();
    let mut remarks = vec![format!(
        "The plan is that of nnU-Net 2.8.1 ({}, {} GB) for the {cases} training and validation \
         cases",
        plan.preset.planner(),
        plan.gpu_memory_gb
    )];
    if let Some(lowres) = &plan.lowres {
        let [x, y, z] = plan.along_ras(lowres.spacing);
        remarks.push(format!(
            "nnU-Net would also plan a cascade from {x:.2} x {y:.2} x {z:.2} mm; it is not offered \
             here"
        ));
    }
    remarks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intensities_have_six_digits() {
        assert_eq!(
            [93.192_812_3, -42.0, 0.000_123_456_789].map(rounded),
            [93.1928, -42.0, 0.000_123_457]
        );
    }
}
