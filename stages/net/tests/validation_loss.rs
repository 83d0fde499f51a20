//! The loss of a training's validations: what it is, and that nothing else hangs on it.

mod support;

use serde_json::{Value, json};
use support::bench::{Bench, finish, read};
use tch::{Device, Kind, no_grad};
use voxflow_net::classes::Classes;
use voxflow_net::inference_network::InferenceNetwork;
use voxflow_net::loss::loss;
use voxflow_net::network::GraphNetwork;
use voxflow_net::sliding_window::SlidingWindow;
use voxflow_net::subset::Subset;
use voxflow_net::weights;
use voxflow_stages::Task;
use voxflow_stages::kinds::train::Train;

const DEEP: &str = r#"{
    "name": "plain_conv_unet", "features": [4, 8, 8], "kernel_sizes": [3, 3, 3],
    "strides": [1, 2, [2, 2, 1]], "convolutions": [1, 1, 1], "decoder_convolutions": [1, 1],
    "deep_supervision": true
}"#;

fn params(more: Value) -> Value {
    let mut params = json!({
        "epochs": 3, "patch": [8, 8, 8], "volumes_per_step": 2, "patches_per_volume": 1,
        "network": { "channels": [4, 8], "strides": [2], "norm": "instance" },
        "learning_rate": 0.01, "validate_every": 1,
    });
    params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    params
}

/// The loss of the last weights over whole validation volumes, each as a batch; the mean over them.
fn of_last_weights(bench: &Bench, task: &Task) -> f64 {
    let params: Train = serde_json::from_value(task.params.clone()).unwrap();
    let subset = Subset::open(bench.cache(), "validation").unwrap();
    let list = &subset.list;
    let classes = Classes::of(&list.labels, &params.regions, list.ignore).unwrap();
    let graph = params.network.graph(subset.channels(), classes.outputs());
    let network = GraphNetwork::new(&graph, 0, Kind::Float, Device::Cpu);
    let last = weights::read(&task.draft.join("last.safetensors")).unwrap();
    weights::fill(&network, &last).unwrap();
    let window = SlidingWindow {
        networks: vec![InferenceNetwork {
            network: &network,
            precision: params.validation_precision(),
        }],
        inference: params.inference.clone(),
        roi: params.patch,
        device: Device::Cpu,
        room: None,
        by_sigmoid: classes.has_regions(),
    };
    let of_case = |case: &voxflow_net::subset::PreparedCase| {
        no_grad(|| {
            let scores = window.scores(&case.tensor().unwrap());
            let logits = match classes.has_regions() {
                true => scores.logit(None),
                false => scores.log(),
            };
            let labels =
                classes.tensor(case.label_values().unwrap(), case.image.shape(), Device::Cpu);
            let labels = labels.to_kind(Kind::Int64).unsqueeze(0).unsqueeze(0);
            loss(&params.loss, &classes.loss_targets(), &logits, &labels).double_value(&[])
        })
    };
    let all: Vec<f64> = subset.cases.iter().map(of_case).collect();
    all.iter().sum::<f64>() / all.len() as f64
}

#[test]
fn the_validation_loss_is_that_of_the_whole_volumes_and_changes_nothing() {
    let deep: Value = serde_json::from_str(DEEP).unwrap();
    let regions = json!([
        { "name": "ball", "labels": [2, 5], "value": 2 },
        { "name": "upper", "labels": [5], "value": 5 },
    ]);
    for (name, bench, more) in [
        ("plain", Bench::of_two(), json!({})),
        ("deep", Bench::of_two(), json!({ "network": deep })),
        ("flips", Bench::of_two(), json!({ "inference": { "flips": true } })),
        (
            "regions",
            Bench::sparse(),
            json!({ "regions": regions, "loss": { "name": "dice_focal" } }),
        ),
    ] {
        let often = bench.task(name, "train", &params(more.clone()), None);
        let seldom = format!("{name} seldom");
        let mut once = params(more);
        once["validate_every"] = json!(3);
        let seldom = bench.task(&seldom, "train", &once, None);
        let [all, last] = [&often, &seldom].map(finish);
        let (losses, only) = (all.validation_losses(), last.validation_losses());
        assert_eq!((losses.len(), only.len()), (3, 1), "{name}");
        assert_eq!(losses[2], only[0], "{name}");
        assert_eq!(all.values("dice").len(), 3, "{name}");
        assert_eq!(all.values("loss"), last.values("loss"), "{name}");
        let wanted = of_last_weights(&bench, &often);
        assert!((losses[2] - wanted).abs() < 1e-5, "{name}: {}, not {wanted}", losses[2]);
        let [one, other] = [&often, &seldom].map(|task| read(task.draft.join("last.safetensors")));
        assert!(one == other, "{name}: validation changed the weights");
    }
}

#[test]
fn memory_is_told_at_the_end_of_each_epoch_and_its_peak_at_the_end() {
    let bench = Bench::new();
    let heard = finish(&bench.task("train", "train", &params(json!({})), None));
    let of_epochs = |metric: &str| -> Vec<f64> {
        let rows = heard.metrics.iter().filter(|row| row.metric == metric && row.epoch.is_some());
        rows.filter(|row| row.measured).filter_map(|row| row.value).collect()
    };
    let (now, peak) = (of_epochs("memory_bytes"), of_epochs("peak_memory_bytes"));
    assert_eq!((now.len(), peak.len()), (3, 3));
    assert!(now.iter().zip(&peak).all(|(now, peak)| *now > 1e6 && now <= peak), "{now:?} {peak:?}");
    assert!(peak.is_sorted(), "{peak:?}");
    let whole = heard.metrics.iter().filter(|row| row.epoch.is_none());
    let whole: Vec<f64> =
        whole.filter(|row| row.metric == "peak_memory_bytes").filter_map(|row| row.value).collect();
    assert!(whole.len() == 1 && whole[0] >= peak[2], "{whole:?}");
}
