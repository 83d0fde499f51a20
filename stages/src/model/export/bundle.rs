//! A MONAI bundle: the weights, and configurations for the same preparation, inference and inverse
//! resampling in MONAI.

use super::state_dict;
use crate::error::{Error, Result};
use crate::image::intensity::{Intensity, Zscore};
use crate::image::preparation::AxisOrder;
use crate::model::weights::StateDict;
use crate::model::{Average, Blend, InferencePrecision, ModelCard, NetworkName, Norm, Placement};
use serde_json::{Map, Value, json};

/// The files of a bundle by name.
pub fn files(card: &ModelCard, tensors: &StateDict) -> Result<Vec<(&'static str, Vec<u8>)>> {
    if card.network.name != NetworkName::Unet {
        return Err(Error::failed(
            "a bundle holds a network of MONAI's by its class; export this one as 'torchscript'",
        ));
    }
    Ok(vec![
        ("configs/metadata.json", text(&metadata(card))),
        ("configs/inference.json", text(&inference(card)?)),
        ("docs/README.md", readme(card).into_bytes()),
        ("models/model.pt", state_dict::archive(tensors)?),
    ])
}

/// Differences between the bundle's inference and the model's.
pub fn warnings(card: &ModelCard) -> Option<String> {
    (!card.inference.flips.axes().is_empty()).then(|| {
        "the bundle does without the flips of 'inference.flips', which MONAI has not".into()
    })
}

fn text(value: &Value) -> Vec<u8> {
    format!("{value:#}\n").into_bytes()
}

fn inference(card: &ModelCard) -> Result<Value> {
    let mut evaluator = json!({
        "_target_": "SupervisedEvaluator",
        "device": "@device",
        "val_data_loader": "@dataloader",
        "network": "@network",
        "inferer": "@inferer",
        "postprocessing": "@postprocessing",
        "val_handlers": "@handlers",
    });
    mix_precision(card, &mut evaluator);
    Ok(json!({
        "imports": ["$import glob", "$import numpy"],
        "bundle_root": ".",
        "dataset_dir": "data",
        "datalist": "$sorted(glob.glob(@dataset_dir + '/*.nii*'))",
        "output_dir": "$@bundle_root + '/eval'",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "network_def": network(card),
        "network": "$@network_def.to(@device)",
        "preprocessing": { "_target_": "Compose", "transforms": preprocessing(card)? },
        "dataset": {
            "_target_": "Dataset",
            "data": "$[{'image': image} for image in @datalist]",
            "transform": "@preprocessing",
        },
        "dataloader": {
            "_target_": "DataLoader", "dataset": "@dataset",
            "batch_size": 1, "shuffle": false, "num_workers": 0,
        },
        "inferer": inferer(card)?,
        "postprocessing": { "_target_": "Compose", "transforms": postprocessing(card) },
        "handlers": [{
            "_target_": "CheckpointLoader",
            "load_path": "$@bundle_root + '/models/model.pt'",
            "load_dict": { "model": "@network" },
        }],
        "evaluator": evaluator,
        "run": ["$@evaluator.run()"],
    }))
}

/// Lets an evaluator compute in the model's precision, where that is of 16 bits.
fn mix_precision(card: &ModelCard, evaluator: &mut Value) {
    let kind = match card.inference.precision {
        Some(InferencePrecision::Fp16) => Some("float16"),
        Some(InferencePrecision::Bf16) => Some("bfloat16"),
        _ => None,
    };
    evaluator["amp"] = json!(kind.is_some());
    if let Some(kind) = kind {
        evaluator["amp_kwargs"] = json!({ "dtype": format!("$torch.{kind}") });
    }
}

fn network(card: &ModelCard) -> Value {
    let network = &card.network;
    let norm = match network.norm {
        Norm::Batch => "batch",
        Norm::Instance => "instance",
    };
    json!({
        "_target_": "UNet",
        "spatial_dims": 3,
        "in_channels": card.modality.len(),
        "out_channels": card.outputs(),
        "channels": network.channels,
        "strides": network.strides,
        "kernel_size": network.kernel,
        "up_kernel_size": network.up_kernel,
        "num_res_units": network.residual_units,
        "norm": norm,
        "dropout": network.dropout,
    })
}

/// Load → RAS → spacing → intensity → crop. The crop's mask comes from the unscaled image; after a
/// window these are the values above 0.
fn preprocessing(card: &ModelCard) -> Result<Vec<Value>> {
    let preparation = &card.preparation;
    if preparation.crop_nonzero || preparation.resampling.is_some() {
        return Err(inexpressible("'crop_nonzero' and nnU-Net's 'resampling'"));
    }
    let scaling = scaling(card)?;
    let mut transforms =
        vec![json!({ "_target_": "LoadImaged", "keys": "image", "ensure_channel_first": true })];
    if preparation.orientation == AxisOrder::Ras {
        transforms.push(json!({ "_target_": "Orientationd", "keys": "image", "axcodes": "RAS" }));
    }
    if let Some(spacing) = preparation.spacing {
        transforms.push(json!({
            "_target_": "Spacingd", "keys": "image", "pixdim": spacing, "mode": "bilinear",
        }));
    }
    let scaled = scaled(&scaling)?;
    if !preparation.crop_foreground {
        transforms.push(scaled);
        return Ok(transforms);
    }
    let is_window = matches!(scaling, Intensity::Window(_));
    let crop = json!({
        "_target_": "CropForegroundd", "keys": "image",
        "source_key": if is_window { "image" } else { "foreground" },
        "margin": preparation.crop_margin, "allow_smaller": true,
    });
    if is_window {
        transforms.extend([scaled, crop]);
    } else {
        let copy = json!({ "_target_": "CopyItemsd", "keys": "image", "names": "foreground" });
        let forget = json!({ "_target_": "DeleteItemsd", "keys": "foreground" });
        transforms.extend([copy, scaled, crop, forget]);
    }
    Ok(transforms)
}

/// The common scaling of all channels.
fn scaling(card: &ModelCard) -> Result<Intensity> {
    let each = card.preparation.intensity.for_channels(card.modality.len())?;
    match each.split_first() {
        Some((first, rest)) if rest.iter().all(|other| other == first) => Ok(*first),
        _ => Err(Error::failed(
            "a bundle scales all channels alike, but 'intensity' lists different scalings; export \
             safetensors or torchscript instead",
        )),
    }
}

/// An error for steps that MONAI's transforms lack.
fn inexpressible(what: &str) -> Error {
    Error::failed(format!(
        "a bundle consists of MONAI's transforms, and these lack {what}; export safetensors or \
         torchscript instead"
    ))
}

fn scaled(scaling: &Intensity) -> Result<Value> {
    Ok(match scaling {
        Intensity::Window([low, high]) => json!({
            "_target_": "ScaleIntensityRanged", "keys": "image",
            "a_min": low, "a_max": high, "b_min": 0.0, "b_max": 1.0, "clip": true,
        }),
        Intensity::Percentile([low, high]) => json!({
            "_target_": "ScaleIntensityRangePercentilesd", "keys": "image",
            "lower": low, "upper": high, "b_min": 0.0, "b_max": 1.0, "clip": true,
            "channel_wise": true,
        }),
        Intensity::Zscore(over) => json!({
            "_target_": "NormalizeIntensityd", "keys": "image",
            "nonzero": *over == Zscore::Nonzero, "channel_wise": true,
        }),
        Intensity::Ct(_) => return Err(inexpressible("a CT's scaling by the foreground")),
        Intensity::None => json!({ "_target_": "Identityd", "keys": "image" }),
    })
}

fn inferer(card: &ModelCard) -> Result<Value> {
    let inference = &card.inference;
    let roi =
        inference.roi.ok_or_else(|| Error::failed("the model does not say 'inference.roi'"))?;
    let mode = match (inference.blend, inference.placement, inference.average) {
        (Blend::Constant, Placement::Regular, Average::Probabilities) => "constant",
        (Blend::Gaussian, Placement::Regular, Average::Probabilities) => "gaussian",
        _ => {
            return Err(Error::failed(
                "a bundle slides its window as MONAI does; this model's 'inference' asks for \
                 nnU-Net's ways: export it as 'torchscript'",
            ));
        }
    };
    Ok(json!({
        "_target_": "SlidingWindowInferer",
        "roi_size": roi, "sw_batch_size": inference.batch,
        "overlap": inference.overlap, "mode": mode,
    }))
}

fn postprocessing(card: &ModelCard) -> Vec<Value> {
    let has_regions = !card.regions.is_empty();
    let activation = if has_regions { "sigmoid" } else { "softmax" };
    let mut transforms = vec![
        json!({ "_target_": "Activationsd", "keys": "pred", activation: true }),
        json!({
            "_target_": "Invertd", "keys": "pred",
            "transform": "@preprocessing", "orig_keys": "image",
            "nearest_interp": false, "to_tensor": true,
        }),
        match has_regions {
            true => json!({ "_target_": "Lambdad", "keys": "pred", "func": LAST_REGION }),
            false => json!({ "_target_": "AsDiscreted", "keys": "pred", "argmax": true }),
        },
    ];
    let values: Vec<u8> = match has_regions {
        true => card.regions.iter().map(|region| region.value).collect(),
        false => card.labels.iter().map(|label| label.value).collect(),
    };
    if !(1..).zip(&values).all(|(class, value)| class == *value) {
        let classes: Vec<usize> = (1..=values.len()).collect();
        transforms.push(json!({
            "_target_": "MapLabelValued", "keys": "pred",
            "orig_labels": classes, "target_labels": values,
        }));
    }
    transforms.push(json!({
        "_target_": "SaveImaged", "keys": "pred",
        "output_dir": "@output_dir", "output_postfix": "seg",
        "output_dtype": "$numpy.uint8", "resample": false, "separate_folder": false,
    }));
    transforms
}

/// The number of the last region (from 1) that a voxel is in; 0 for none.
const LAST_REGION: &str = "$lambda pred: ((pred > 0.5).to(pred.dtype) * torch.arange(1, len(pred) \
                           + 1, device=pred.device).reshape(-1, 1, 1, 1)).amax(0, keepdim=True)";

const SCHEMA: &str = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/\
                      download/0.8.1/meta_schema_20240725.json";

/// Channel names by index.
fn channel_def<'a>(names: impl Iterator<Item = &'a str>) -> Map<String, Value> {
    names.enumerate().map(|(index, name)| (index.to_string(), json!(name))).collect()
}

fn metadata(card: &ModelCard) -> Value {
    let background = card.regions.is_empty().then_some("background");
    let classes = background.into_iter().chain(card.names());
    let sides = card.network.multiple().map(|multiple| format!("{multiple}*n"));
    let image = json!({
        "type": "image", "format": "magnitude", "modality": card.modality.join(", "),
        "num_channels": card.modality.len(), "spatial_shape": sides, "dtype": "float32",
        "value_range": [], "is_patch_data": true,
        "channel_def": channel_def(card.modality.iter().map(String::as_str)),
    });
    let pred = json!({
        "type": "image", "format": "segmentation", "num_channels": card.outputs(),
        "spatial_shape": sides, "dtype": "float32", "value_range": [], "is_patch_data": true,
        "channel_def": channel_def(classes),
    });
    json!({
        "schema": SCHEMA,
        "version": "0.1.0",
        "changelog": { "0.1.0": "exported by voxflow" },
        "monai_version": "1.6.1",
        "pytorch_version": "2.11.0",
        "numpy_version": "2.4.6",
        "required_packages_version": {
            "fire": "0.7.1", "nibabel": "5.4.2", "pytorch-ignite": "0.5.3",
        },
        "name": format!("{} segmentation", card.dataset),
        "task": format!("segmentation of {} by a 3D U-Net", names(card)),
        "description": format!("A 3D U-Net trained on the dataset {}", card.dataset),
        "authors": "",
        "copyright": "",
        "intended_use": "research; not a medical device",
        "network_data_format": { "inputs": { "image": image }, "outputs": { "pred": pred } },
    })
}

fn names(card: &ModelCard) -> String {
    card.names().join(", ")
}

fn readme(card: &ModelCard) -> String {
    let training = &card.training;
    let score = match (training.best_dice, training.best_epoch) {
        (Some(dice), Some(epoch)) => format!("mean validation Dice {dice:.4}, after epoch {epoch}"),
        _ => "not known".to_string(),
    };
    format!(
        "# {dataset}: {labels}\n\n\
         A 3D U-Net, exported by voxflow as a MONAI bundle. Input: {modality}. Output: background, \
         {labels}.\n\n\
         ```sh\n\
         python -m monai.bundle run --config_file configs/inference.json --bundle_root . \
         --dataset_dir IMAGES\n\
         ```\n\n\
         segments every NIfTI file of the folder IMAGES and writes `eval/<image>_seg.nii.gz` in \
         the \
         image's own geometry. It needs MONAI 1.6 with fire, nibabel and pytorch-ignite. Test-time \
         flips are not part of a bundle.\n\n\
         | training | |\n|---|---|\n| cases | {cases} |\n| epochs, steps | {epochs}, {steps} |\n\
         | score | {score} |\n\n\
         Licence of the training data: not known to the model; see the dataset. Not a medical \
         device.\n",
        dataset = card.dataset,
        labels = names(card),
        modality = card.modality.join(", "),
        cases = training.training_cases,
        epochs = training.epochs,
        steps = training.steps,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(preparation: Value, labels: Value) -> ModelCard {
        let modality =
            if preparation["intensity"].is_array() { json!(["CT", "PET"]) } else { json!(["CT"]) };
        let card = json!({
            "format": 1, "dataset": "Spleen", "modality": modality, "labels": labels,
            "preparation": preparation,
            "network": {}, "inference": { "roi": [96, 96, 96] },
            "training": {
                "epochs": 3, "steps": 9, "training_cases": 2, "validation_cases": 1,
                "best_epoch": 3, "best_dice": 0.5,
            },
        });
        serde_json::from_value(card).unwrap()
    }

    fn targets(transforms: &Value) -> Vec<&str> {
        transforms
            .as_array()
            .unwrap()
            .iter()
            .map(|transform| transform["_target_"].as_str().unwrap())
            .collect()
    }

    #[test]
    fn the_steps_stand_in_the_order_of_preparation_and_the_mask_is_of_unscaled_values() {
        let spleen = json!([{ "value": 1, "name": "spleen" }]);
        let ct = json!({
            "spacing": [1.5, 1.5, 2.0], "intensity": { "window": [-57, 164] },
            "crop_foreground": true,
        });
        let config = inference(&card(ct.clone(), spleen.clone())).unwrap();
        assert_eq!(config["evaluator"]["amp"], json!(false));
        let mut half = card(ct, spleen.clone());
        half.inference.precision = Some(InferencePrecision::Bf16);
        let mixed = inference(&half).unwrap();
        assert_eq!(mixed["evaluator"]["amp"], json!(true));
        assert_eq!(mixed["evaluator"]["amp_kwargs"]["dtype"], json!("$torch.bfloat16"));
        let steps =
            ["LoadImaged", "Orientationd", "Spacingd", "ScaleIntensityRanged", "CropForegroundd"];
        assert_eq!(targets(&config["preprocessing"]["transforms"]), steps);
        let mri = json!({
            "intensity": { "zscore": "nonzero" }, "crop_foreground": true, "crop_margin": 2,
        });
        let config = inference(&card(mri, spleen)).unwrap();
        let steps = [
            "LoadImaged",
            "Orientationd",
            "CopyItemsd",
            "NormalizeIntensityd",
            "CropForegroundd",
            "DeleteItemsd",
        ];
        assert_eq!(targets(&config["preprocessing"]["transforms"]), steps);
    }

    #[test]
    fn labels_with_gaps_are_mapped_to_their_values() {
        let labels = json!([{ "value": 2, "name": "a" }, { "value": 7, "name": "b" }]);
        let config =
            inference(&card(json!({ "intensity": { "window": [0, 1] } }), labels)).unwrap();
        let last = &config["postprocessing"]["transforms"][3];
        assert_eq!(
            (&last["orig_labels"], &last["target_labels"]),
            (&json!([1, 2]), &json!([2, 7]))
        );
    }

    #[test]
    fn regions_are_decided_one_by_one_and_written_in_their_order() {
        let labels = json!([{ "value": 1, "name": "a" }, { "value": 2, "name": "b" }]);
        let mut card = card(json!({ "intensity": { "window": [0, 1] } }), labels);
        let region = |name: &str, labels: &[u8], value| crate::dataset::Region {
            name: name.into(),
            labels: labels.into(),
            value,
        };
        card.regions = vec![region("whole", &[1, 2], 1), region("core", &[2], 2)];
        let config = inference(&card).unwrap();
        assert_eq!(config["network_def"]["out_channels"], 2);
        let steps = config["postprocessing"]["transforms"].as_array().unwrap();
        assert_eq!(steps[0]["sigmoid"], true);
        assert!(steps[2]["func"].as_str().unwrap().contains("> 0.5"));
        assert_eq!(steps[3]["_target_"], "SaveImaged", "values count from 1");
        let names = &metadata(&card)["network_data_format"]["outputs"]["pred"]["channel_def"];
        assert_eq!(names, &json!({ "0": "whole", "1": "core" }));
    }

    #[test]
    fn channels_that_are_scaled_differently_are_refused_with_the_way_out() {
        let mixed = json!({ "intensity": [{ "window": [0, 1] }, { "zscore": "all" }] });
        let words =
            inference(&card(mixed, json!([{ "value": 1, "name": "a" }]))).unwrap_err().to_string();
        assert!(words.starts_with("a bundle scales all channels alike"), "{words}");
    }
}
