//! Trainings on the device beside the same on the processor.

use crate::lab::pretend_cuda::{self, weights};
use crate::lab::{Lab, Record};
use crate::{USES, is_whole_matrix, metrics, run, training};
use std::collections::BTreeMap;

/// Largest difference of numbers in fp32, and of those of trainings in 16 bits, as a part of the
/// larger, at least 1.
const CLOSE: f64 = 1e-5;
const CLOSE_IN_16_BITS: f64 = 2e-2;

/// A Dice score may differ by a few voxels that lie between two classes.
const DICE: f64 = 2e-3;
const DICE_IN_16_BITS: f64 = 5e-2;

const AUGMENTATION: &str = r#"{ "flip": { "probability": 0.5 },
    "rotate90": { "probability": 0.5, "axes": [0, 1] },
    "affine": { "probability": 0.9, "rotation_degrees": [20, 10, 30], "scale": [0.2, 0.1, 0.2] },
    "noise": { "std": 0.1, "probability": 0.5 },
    "gamma": { "probability": 0.9, "range": [0.7, 1.5] },
    "intensity_scale": { "probability": 0.5, "factor": 0.1 },
    "intensity_shift": { "probability": 0.5, "offset": 0.1 } }"#;

/// Name and parameters of a training. Those of `make test` come first.
fn table() -> Vec<(String, String)> {
    let all = r#""optimizer": { "name": "adam", "weight_decay": 0.00001 }, "ema": 0.9,
        "clip_gradients": 1.0, "accumulate": 2"#;
    let dropout = r#""network": { "channels": [4, 8], "strides": [2], "residual_units": 1,
        "norm": "instance", "dropout": 0.2 },
        "optimizer": { "name": "sgd", "momentum": 0.9, "nesterov": true }"#;
    let frozen = r#""freeze": ["model.0.*", "*running*"]"#;
    let flips = r#""inference": { "roi": [16, 16, 16], "overlap": 0.5, "blend": "gaussian",
        "flips": true }"#;
    let dice = r#""loss": { "name": "dice", "squared_pred": true, "batch": true,
        "include_background": false }"#;
    let nnunet = r#""network": { "name": "plain_conv_unet", "features": [4, 8],
        "strides": [1, 2], "kernel_sizes": [3, 3], "convolutions": [1, 1],
        "decoder_convolutions": [1] }, "optimizer": { "name": "sgd", "momentum": 0.99, "nesterov": true }"#;
    let sampled = [
        ("plain", String::new()),
        (
            "everything in fp16",
            format!(r#"{all}, "precision": "fp16", "augmentation": {AUGMENTATION}"#),
        ),
        ("dropout in bf16", format!(r#"{dropout}, "precision": "bf16""#)),
        ("deterministic", r#""deterministic": true, "ema": 0.9"#.into()),
    ];
    let mut rest = vec![
        ("flips".to_string(), flips.into()),
        ("frozen layers".into(), frozen.into()),
        ("Dice".into(), dice.into()),
        ("cross entropy".into(), r#""loss": { "name": "ce" }"#.into()),
        ("nnU-Net".into(), nnunet.into()),
        ("validated".into(), r#""validate_every": 1"#.into()),
        ("deterministic fp16".into(), r#""deterministic": true, "precision": "fp16""#.into()),
    ];
    for precision in ["fp32", "bf16", "fp16"] {
        for (name, more) in [
            ("everything", all.to_string()),
            ("dropout", dropout.to_string()),
            ("novograd and average", r#""ema": 0.9"#.into()),
            ("adamw", r#""optimizer": { "name": "adamw" }"#.into()),
            ("augmented", format!(r#""augmentation": {AUGMENTATION}"#)),
        ] {
            rest.push((
                format!("{name} in {precision}"),
                format!(r#"{more}, "precision": "{precision}""#),
            ));
        }
    }
    let sampled = sampled.into_iter().map(|(name, more)| (name.to_string(), more));
    let rest = if is_whole_matrix() { rest } else { vec![] };
    sampled.chain(rest).collect()
}

fn is_off(found: f64, wanted: f64, most: f64) -> bool {
    let difference = (found - wanted).abs();
    difference.is_nan() || difference > most * wanted.abs().max(1.0)
}

/// Errors unless losses, norms, scores and volumes agree.
fn compare_metrics(name: &str, found: &Record, wanted: &Record, short: bool) {
    let (found, wanted) = (metrics(found), metrics(wanted));
    assert_eq!(found.keys().collect::<Vec<_>>(), wanted.keys().collect::<Vec<_>>(), "{name}");
    for (key, wanted) in &wanted {
        let most = match (key.contains("dice"), key.contains("loss"), short) {
            (true, _, false) => DICE,
            (true, _, true) => DICE_IN_16_BITS,
            (_, true, false) => CLOSE,
            (_, true, true) => CLOSE_IN_16_BITS,
            // Distances and volumes hang on single voxels, norms on the last digits.
            _ => 0.1,
        };
        let found = found[key];
        assert!(!is_off(found, *wanted, most), "{name}: {key} is {found}, not {wanted}");
    }
}

fn compare_weights(
    name: &str,
    found: &BTreeMap<String, Vec<f32>>,
    wanted: &BTreeMap<String, Vec<f32>>,
    most: f64,
) {
    assert_eq!(found.keys().collect::<Vec<_>>(), wanted.keys().collect::<Vec<_>>(), "{name}");
    for (tensor, wanted) in wanted {
        for (found, wanted) in found[tensor].iter().zip(wanted) {
            let off = is_off((*found).into(), (*wanted).into(), most);
            assert!(!off, "{name}: '{tensor}' has {found}, not {wanted}");
        }
    }
}

/// A run on a device and one on the processor, whose folders are there as long as this is.
struct Both {
    records: [Record; 2],
    _labs: [Lab; 2],
}

/// The same stages on the processor and on a device of a machine with two.
fn on_both(stages: &str, device: &str) -> Option<Both> {
    let mut gpu = pretend_cuda::lab()?;
    gpu.set("PRETEND_CUDA_DEVICES", "2");
    let mut cpu = Lab::new();
    cpu.set("VOXFLOW_TRAINING_VOLUMES", "device");
    let records = [run(&gpu, stages, device), run(&cpu, stages, "cpu")];
    let counts = pretend_cuda::Counts::take(&gpu);
    let other = if device == "cuda:0" { "cuda:1" } else { "cuda:0" };
    assert!(counts.of("operation") > 0, "nothing ran on {device}");
    let stray = counts.0.get(&("allocation".to_string(), other.to_string()));
    assert_eq!(stray, None, "memory was taken on {other}");
    Some(Both { records, _labs: [gpu, cpu] })
}

#[test]
fn every_recipe_trains_to_the_processors_losses_and_weights() {
    for (name, more) in table() {
        let short = more.contains("fp16") || more.contains("bf16");
        let stages = training(2, &format!("{{{more}}}"));
        let Some(both) = on_both(&stages, "cuda:0") else { return };
        let [gpu, cpu] = &both.records;
        compare_metrics(&name, gpu, cpu, short);
        let most = if short { CLOSE_IN_16_BITS } else { CLOSE };
        for file in ["best.safetensors", "last.safetensors"] {
            compare_weights(&name, &weights(gpu, file), &weights(cpu, file), most);
        }
    }
}

#[test]
fn a_model_is_validated_tested_and_used_on_the_second_device_as_on_the_processor() {
    let stages = format!("{}{USES}", training(2, "{}"));
    let Some(both) = on_both(&stages, "cuda:1") else { return };
    let [gpu, cpu] = &both.records;
    compare_metrics("the chain", gpu, cpu, false);
    let device = gpu.stage("tested")["maker"]["device"].to_string();
    assert!(device.contains("cuda:1"), "{device}");
}
