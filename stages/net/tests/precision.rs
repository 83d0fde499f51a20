//! Inference in each precision: scores and logits beside those in fp32, models that carry a
//! precision, and ensembles of models that carry different ones.

mod support;

use serde_json::{Value, json};
use std::path::Path;
use support::bench::{Bench, Heard, finish, read};
use support::{distance, drawn_single};
use tch::{Device, Kind, Tensor};
use voxflow_net::inference_network::InferenceNetwork;
use voxflow_net::network::GraphNetwork;
use voxflow_net::sliding_window::SlidingWindow;
use voxflow_net::weights;
use voxflow_stages::Task;
use voxflow_stages::image::nifti::read_image;
use voxflow_stages::model::{Average, Inference, ModelCard, Network, Precision};

/// Largest difference of logits in 16 bits to those in fp32, relative to the largest, and of a
/// case's Dice. The ball has some 75 voxels: one of them is 0.007 of its Dice.
const LOGITS: f64 = 2e-2;
const DICE: f64 = 2e-2;

/// Parameters of a training that learns the ball.
fn params(more: &Value) -> Value {
    let mut params = json!({
        "epochs": 40, "patch": [8, 8, 8], "volumes_per_step": 2, "patches_per_volume": 2,
        "network": { "channels": [4, 8], "strides": [2] }, "learning_rate": 0.01,
        "validate_every": 5,
    });
    params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    params
}

/// Trains a model, and checks that it learned.
fn trained(bench: &Bench, name: &str, more: &Value) -> Task {
    let task = bench.task(name, "train", &params(more), None);
    finish(&task);
    assert!(card(&task).training.best_dice.unwrap() > 0.8, "{:?}", card(&task).training);
    task
}

fn card(model: &Task) -> ModelCard {
    serde_json::from_slice(&read(model.draft.join("model.json"))).unwrap()
}

/// Scores a model on the validation volumes: the words of the worker, and Dice by case and label.
fn scored(bench: &Bench, name: &str, params: &Value, model: &Task) -> (Heard, Vec<f64>) {
    let task = bench.task(name, "validate", params, Some(("model", model)));
    let heard = finish(&task);
    let rows = heard.metrics.iter().filter(|row| row.metric == "dice" && row.case.is_some());
    let dice = rows.filter_map(|row| row.value).collect();
    (heard, dice)
}

#[test]
fn a_model_scores_in_each_precision_as_in_fp32() {
    let bench = Bench::new();
    let model = trained(&bench, "model", &json!({}));
    let (heard, wanted) = scored(&bench, "default", &json!({}), &model);
    assert_eq!(heard.precision.as_deref(), Some("fp32"));
    assert!(!wanted.is_empty());
    for (precision, most) in [("fp32", 0.0), ("tf32", 0.0), ("bf16", DICE), ("fp16", DICE)] {
        for params in
            [json!({ "precision": precision }), json!({ "inference": { "precision": precision } })]
        {
            let (heard, found) = scored(&bench, &params.to_string(), &params, &model);
            assert_eq!(heard.precision.as_deref(), Some(precision));
            assert_eq!(found.len(), wanted.len(), "{precision}");
            for (found, wanted) in found.iter().zip(&wanted) {
                assert!((found - wanted).abs() <= most, "{precision}: {found}, not {wanted}");
            }
        }
    }
}

#[test]
fn a_model_that_carries_its_trainings_precision_is_scored_as_the_training_scored_it() {
    let bench = Bench::new();
    for precision in ["bf16", "fp16"] {
        let carries = json!({ "precision": precision, "inference": { "precision": "training" } });
        let model = trained(&bench, precision, &carries);
        assert_eq!(card(&model).inference.precision.map(|own| json!(own)), Some(json!(precision)));
        let best = card(&model).training.best_dice.unwrap();
        let (heard, _) = scored(&bench, &format!("{precision} own"), &json!({}), &model);
        assert_eq!(heard.precision.as_deref(), Some(precision));
        let [mean] = heard.values("dice")[..] else { panic!("one mean") };
        assert!((mean - best).abs() < 1e-12, "{precision}: {mean} and {best}");
        let (heard, _) = scored(
            &bench,
            &format!("{precision} in fp32"),
            &json!({ "precision": "fp32" }),
            &model,
        );
        assert_eq!(heard.precision.as_deref(), Some("fp32"));
    }
    let silent = trained(&bench, "silent", &json!({ "precision": "bf16" }));
    let text = String::from_utf8(read(silent.draft.join("model.json"))).unwrap();
    assert!(!text.contains("precision"), "as before: {text}");
    let (heard, _) = scored(&bench, "silent score", &json!({}), &silent);
    assert_eq!(heard.precision.as_deref(), Some("fp32"));
}

#[test]
fn models_of_different_precision_are_averaged() {
    let bench = Bench::new();
    let half = json!({ "inference": { "precision": "bf16" } });
    let [one, two] = [("one", half), ("two", json!({ "seed": 1 }))]
        .map(|(name, more)| trained(&bench, name, &more));
    let of = |model: &Task| {
        let task = bench.task("of", "validate", &json!({}), Some(("model", model)));
        task.inputs["model"][0].clone()
    };
    let mut task = bench.task("both", "validate", &json!({}), Some(("model", &one)));
    task.inputs.insert("model".into(), vec![of(&one), of(&two)]);
    let heard = finish(&task);
    assert_eq!(heard.precision.as_deref(), Some("bf16, fp32"));
    let [mean] = heard.values("dice")[..] else { panic!("one mean") };
    assert!(mean > 0.8, "{mean}");
}

/// The network of a model with its best weights.
fn network(model: &Task) -> GraphNetwork {
    let network = GraphNetwork::new(&card(model).graph(), 0, Kind::Float, Device::Cpu);
    let tensors = weights::read(&model.draft.join("best.safetensors")).unwrap();
    weights::fill(&network, &tensors).unwrap();
    network
}

/// Scores of an image by networks, each in its precision.
fn scores(networks: &[(&GraphNetwork, Precision)], average: Average, image: &Tensor) -> Tensor {
    let networks = networks.iter();
    let networks =
        networks.map(|(network, precision)| InferenceNetwork { network, precision: *precision });
    let window = SlidingWindow {
        networks: networks.collect(),
        inference: Inference { average, ..Inference::default() },
        roi: [8, 8, 8],
        device: Device::Cpu,
        room: None,
        by_sigmoid: false,
    };
    window.scores(image)
}

/// An image (1, 1, X, Y, Z) of the bench's validation cases.
fn image(file: &Path) -> Tensor {
    let volume = read_image(file, "image").unwrap();
    let [x, y, z] = volume.shape.map(|side| side as i64);
    // x is fastest in the file.
    let values = Tensor::from_slice(&volume.data);
    values.reshape([1, 1, z, y, x]).permute([0, 1, 4, 3, 2]).contiguous()
}

#[test]
fn logits_of_a_trained_model_lie_close_to_those_in_fp32() {
    let bench = Bench::new();
    let model = trained(&bench, "model", &json!({}));
    let network = network(&model);
    let image = image(bench.cache().path("validation/case_5/image.nii").unwrap());
    let of = |precision| scores(&[(&network, precision)], Average::Logits, &image);
    let wanted = of(Precision::Fp32);
    assert_eq!(of(Precision::Tf32), wanted, "the processor has no TF32");
    for precision in [Precision::Bf16, Precision::Fp16] {
        let off = distance(&of(precision), &wanted);
        assert!(off > 0.0 && off <= LOGITS, "{precision:?}: {off:e}");
    }
}

#[test]
fn scores_of_an_ensemble_are_the_mean_of_each_networks_in_its_own_precision() {
    let network = json!({ "channels": [4, 8], "strides": [2] });
    let graph = serde_json::from_value::<Network>(network).unwrap().graph(1, 2);
    let models = [0, 1].map(|seed| GraphNetwork::new(&graph, seed, Kind::Float, Device::Cpu));
    let image = drawn_single(3, &[1, 1, 24, 16, 16]);
    let pairs = [(&models[0], Precision::Bf16), (&models[1], Precision::Fp32)];
    for average in [Average::Probabilities, Average::Logits] {
        let both = scores(&pairs, average, &image);
        let [one, two] = pairs.map(|pair| scores(&[pair], average, &image));
        let off = distance(&both, &((one + two) / 2.0));
        assert!(off <= 1e-6, "{average:?}: {off:e}");
        let exact = models.each_ref().map(|network| (network, Precision::Fp32));
        let off = distance(&both, &scores(&exact, average, &image));
        assert!(off > 0.0 && off <= LOGITS, "{average:?}: {off:e}");
    }
}
