//! What the parameters of a training promise, on a training small enough to watch.

mod support;

use serde_json::{Value, json};
use std::collections::BTreeMap;
use support::bench::{Bench, finish, read};
use support::{distance, largest};
use tch::{Kind, Tensor};
use voxflow_net::{gradients, weights};
use voxflow_stages::Task;

/// Five volumes, of which four make the whole batch of each epoch; no norm that looks at a batch.
fn params(more: Value) -> Value {
    let mut params = json!({
        "epochs": 3, "patch": [8, 8, 8], "volumes_per_step": 4, "patches_per_volume": 1, "keep_last_batch": false,
        "network": { "channels": [4, 8], "strides": [2], "norm": "instance" },
        "loss": { "name": "dice_ce", "batch": false },
        "optimizer": { "name": "sgd", "momentum": 0.9 }, "learning_rate": 0.1,
    });
    params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    params
}

/// The last weights of a finished training.
fn last(task: &Task) -> BTreeMap<String, Tensor> {
    weights::read(&task.draft.join("last.safetensors")).unwrap()
}

#[test]
fn two_labels_are_told_apart_by_two_modalities() {
    let bench = Bench::of_two();
    let params = params(json!({ "epochs": 60, "volumes_per_step": 2, "learning_rate": 0.2 }));
    let train = bench.task("train", "train", &params, None);
    finish(&train);
    let scored = finish(&bench.task("score", "validate", &json!({}), Some(("model", &train))));
    for label in ["lower half", "upper half"] {
        let rows = scored
            .metrics
            .iter()
            .filter(|row| row.metric == "dice" && row.label.as_deref() == Some(label));
        let dice: Vec<f64> = rows.filter_map(|row| row.value).collect();
        assert!(dice.len() >= 2 && dice.iter().all(|dice| *dice > 0.7), "{label}: {dice:?}");
    }
}

#[test]
fn regions_are_learnt_by_sigmoids_and_scored_as_unions_from_sparse_annotation_too() {
    let regions = json!([
        { "name": "ball", "labels": [2, 5], "value": 2 },
        { "name": "upper", "labels": [5], "value": 5 },
    ]);
    for (name, bench) in [("whole", Bench::of_two()), ("sparse", Bench::sparse())] {
        let params = params(json!({
            "epochs": 60, "volumes_per_step": 2, "learning_rate": 0.2, "regions": regions,
            "sampling": { "forced_foreground": 0.5 }, "augmentation": { "flip": { "probability": 0.5 } },
        }));
        let train = bench.task(name, "train", &params, None);
        let trained = finish(&train);
        let card: Value = serde_json::from_slice(&read(train.draft.join("model.json"))).unwrap();
        assert_eq!(card["regions"], regions);
        let score =
            bench.task(&format!("{name} score"), "validate", &json!({}), Some(("model", &train)));
        for heard in [trained, finish(&score)] {
            for label in ["ball", "upper"] {
                let rows = heard
                    .metrics
                    .iter()
                    .filter(|row| row.metric == "dice" && row.label.as_deref() == Some(label));
                let last = rows.filter_map(|row| row.value).next_back().unwrap();
                assert!(last > 0.7, "{name}, {label}: {last}");
            }
            let named = heard.metrics.iter().filter_map(|row| row.label.as_deref());
            assert!(named.clone().all(|label| ["ball", "upper"].contains(&label)), "{name}");
        }
    }
}

#[test]
fn two_accumulated_halves_make_the_steps_of_the_whole_batch() {
    let bench = Bench::new();
    let whole = bench.task("whole", "train", &params(json!({})), None);
    let halves = bench.task(
        "halves",
        "train",
        &params(json!({ "volumes_per_step": 2, "accumulate": 2 })),
        None,
    );
    let (one, other) = (finish(&whole).values("loss"), finish(&halves).values("loss"));
    assert_eq!((one.len(), other.len()), (3, 3));
    one.iter()
        .zip(&other)
        .for_each(|(one, other)| assert!((one - other).abs() <= 1e-6, "{one} and {other}"));
    let (whole, halves) = (last(&whole), last(&halves));
    for (name, tensor) in &whole {
        let off = distance(&halves[name], tensor);
        assert!(off <= 1e-5, "{name}: {off:e}");
    }
}

#[test]
fn a_step_of_clipped_gradients_is_as_long_as_the_limit_and_points_where_the_whole_one_does() {
    let bench = Bench::new();
    let plain = json!({ "epochs": 1, "optimizer": { "name": "sgd", "momentum": 0.0 }, "learning_rate": 1.0 });
    let start = bench.task("start", "train", &params(plain.clone()), None);
    finish(&start);
    let moved = |name: &str, limit: Option<f64>| {
        let mut more = plain.clone();
        more["clip_gradients"] = json!(limit);
        let task = bench.task(name, "train", &params(more), Some(("start", &start)));
        finish(&task);
        let (before, after) = (last(&start), last(&task));
        before
            .iter()
            .map(|(name, tensor)| (&after[name] - tensor).flatten(0, -1))
            .collect::<Vec<Tensor>>()
    };
    let (free, bound) = (moved("free", None), moved("bound", Some(0.01)));
    let [length, limited] = [&free, &bound].map(|moves| gradients::norm(moves).double_value(&[]));
    assert!(length > 0.02 && (limited - 0.01).abs() <= 1e-5, "{length}");
    let wanted = Tensor::cat(&free, 0) * (0.01 / length);
    assert!(largest(&(Tensor::cat(&bound, 0) - wanted)) <= 1e-6);
}

#[test]
fn a_training_in_half_precision_learns_and_keeps_weights_in_single() {
    let bench = Bench::new();
    for precision in ["bf16", "fp16"] {
        let params = params(
            json!({ "epochs": 15, "precision": precision, "network": { "channels": [4, 8], "strides": [2] } }),
        );
        let task = bench.task(precision, "train", &params, None);
        let losses = finish(&task).values("loss");
        assert!(losses[14] < 0.8 * losses[0], "{precision}: {losses:?}");
        assert!(
            last(&task).values().all(|tensor| [Kind::Float, Kind::Int64].contains(&tensor.kind())),
            "{precision}"
        );
    }
}

#[test]
fn nnu_nets_networks_learn_under_deep_supervision_and_score_by_their_first_output() {
    let bench = Bench::new();
    let common = json!({
        "features": [4, 8, 8], "kernel_sizes": [3, 3, 3], "strides": [1, 2, [2, 2, 1]],
        "decoder_convolutions": [1, 1], "deep_supervision": true,
    });
    for (name, key) in [("plain_conv_unet", "convolutions"), ("residual_encoder_unet", "blocks")] {
        let mut network = common.clone();
        network["name"] = json!(name);
        network[key] = json!([1, 1, 1]);
        let params = params(json!({
            "epochs": 20, "volumes_per_step": 2, "network": network, "learning_rate": 0.01,
            "loss": { "include_background": false, "squared_pred": false, "negative_dice": true,
                      "clamp_dr": 1e-8, "weights": [1.0, 1.0], "output_weights": "nnunet" },
            "optimizer": { "name": "sgd", "momentum": 0.99, "nesterov": true, "weight_decay": 3e-5 },
            "clip_gradients": 12.0, "schedule": { "name": "polynomial" },
        }));
        let train = bench.task(name, "train", &params, None);
        let losses = finish(&train).values("loss");
        assert!(losses[19] < losses[0] - 0.5, "{name}: {losses:?}");
        // The lowest output counts nothing: its layer stays as it was drawn.
        let zero = last(&train)["decoder.seg_layers.0.bias"].abs().max().double_value(&[]);
        let moved = last(&train)["decoder.seg_layers.1.bias"].abs().max().double_value(&[]);
        assert!(zero == 0.0 && moved > 0.0, "{zero} and {moved}");
        let score =
            bench.task(&format!("{name} score"), "validate", &json!({}), Some(("model", &train)));
        let scored = finish(&score);
        let dice = scored.metrics.iter().filter(|row| row.metric == "dice" && row.label.is_some());
        let dice: Vec<f64> = dice.filter_map(|row| row.value).collect();
        assert!(!dice.is_empty() && dice.iter().all(|dice| *dice > 0.8), "{name}: {dice:?}");
    }
}
