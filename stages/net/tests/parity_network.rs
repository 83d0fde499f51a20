//! The network, its initial values, its sliding window and averages agree with MONAI's, on the
//! fixtures that `tests/parity/make_network.py` makes.

mod support;

use serde::Deserialize;
use std::collections::BTreeMap;
use support::{Fixture, distance, drawn_single, fill, largest};
use tch::{Device, Kind, Tensor};
use voxflow_net::inference_network::InferenceNetwork;
use voxflow_net::network::{GraphNetwork, Pass, channels_last};
use voxflow_net::sliding_window::{SlidingWindow, slide};
use voxflow_stages::model::{Flips, Inference, Network, Precision};

#[derive(Deserialize)]
struct AboutForward {
    network: Network,
    inputs: usize,
    outputs: usize,
    sides: [i64; 3],
    names: Vec<String>,
}

/// A network with the values that Python gave its own.
fn filled(network: &Network, inputs: usize, outputs: usize, seed: u64) -> GraphNetwork {
    let network = GraphNetwork::new(&network.graph(inputs, outputs), 5, Kind::Float, Device::Cpu);
    fill(&network, seed);
    network
}

fn in_fp32(network: &GraphNetwork) -> InferenceNetwork<'_> {
    InferenceNetwork { network, precision: Precision::Fp32 }
}

#[test]
fn every_variant_agrees_in_training_and_afterwards_whatever_the_layout_of_the_image() {
    let fixture = Fixture::<Vec<AboutForward>>::open("network/forwards");
    for (index, about) in (0u64..).zip(&fixture.about) {
        let [x, y, z] = about.sides;
        let image = drawn_single(500 + index, &[2, about.inputs as i64, x, y, z]);
        for (layout, image) in
            [("channels first", image.contiguous()), ("channels last", channels_last(&image))]
        {
            let network = filled(&about.network, about.inputs, about.outputs, index);
            let names: Vec<&String> =
                network.parameters().iter().map(|parameter| &parameter.name).collect();
            assert_eq!(names, about.names.iter().collect::<Vec<_>>());
            for (training, wanted) in [(true, "training"), (false, "evaluated")] {
                let logits =
                    network.logits(&image, Pass { training, compute: Kind::Float, part: None });
                let off = distance(&logits, fixture.get(&format!("{index}/{wanted}")));
                assert!(off <= 1e-5, "{:?}, {layout}, {wanted}: {off:e}", about.network);
            }
        }
    }
}

#[derive(Deserialize)]
struct AboutInitial {
    network: Network,
    inputs: usize,
    outputs: usize,
    seeds: u64,
    kinds: BTreeMap<String, String>,
}

#[test]
fn initial_values_have_the_bounds_and_moments_of_pytorch() {
    let fixture = Fixture::<AboutInitial>::open("network/initial");
    let (about, fixed, bounds) = (&fixture.about, fixture.under("fixed/"), fixture.under("bound/"));
    let mut pools: BTreeMap<&String, Vec<Tensor>> = BTreeMap::new();
    for seed in 0..about.seeds {
        let network = GraphNetwork::new(
            &about.network.graph(about.inputs, about.outputs),
            seed,
            Kind::Float,
            Device::Cpu,
        );
        assert_eq!(network.parameters().len(), fixed.len() + bounds.len());
        for parameter in network.parameters() {
            let (name, values) = (&parameter.name, &parameter.tensor);
            if let Some(wanted) = fixed.get(name) {
                assert_eq!(values, wanted, "{name}");
                continue;
            }
            let bound = bounds[name].double_value(&[0]);
            assert!(largest(values) <= bound * (1.0 + 1e-7), "{name}");
            pools
                .entry(&about.kinds[name])
                .or_default()
                .push((values.to_kind(Kind::Double) / bound).flatten(0, -1));
        }
    }
    assert_eq!(pools.len(), 4, "weights and biases of convolutions and transposed ones");
    for (kind, pool) in &pools {
        same_moments(kind, &Tensor::cat(pool, 0), fixture.get(&format!("moments/{kind}")));
    }
}

/// Values and what PyTorch drew as many of, both over their bounds, are draws of one uniform
/// distribution: mean and variance within four standard errors, and both come close to the bound.
fn same_moments(kind: &str, values: &Tensor, wanted: &Tensor) {
    let count = values.numel() as f64;
    let moments =
        [values.mean(Kind::Double), values.var(true)].map(|moment| moment.double_value(&[]));
    // The variance of u is 1/3, that of u² 4/45; two samples are compared.
    let errors = [1.0 / 3.0, 4.0 / 45.0].map(|variance: f64| (2.0 * variance / count).sqrt());
    for (index, (moment, error)) in (0..).zip(moments.into_iter().zip(errors)) {
        let off = (moment - wanted.double_value(&[index])).abs();
        assert!(
            off <= 4.0 * error,
            "{kind}, moment {index}: {off:e} is {:.1} standard errors",
            off / error
        );
    }
    let least = 1.0 - 20.0 / count;
    assert!(
        largest(values) >= least && wanted.double_value(&[2]) >= least,
        "{kind}: nothing lies near the bound"
    );
}

#[derive(Deserialize)]
struct AboutWindow {
    roi: [usize; 3],
    #[serde(flatten)]
    inference: BTreeMap<String, serde_json::Value>,
}

#[test]
fn sliding_windows_agree_for_each_blend_overlap_and_size() {
    let fixture = Fixture::<Vec<AboutWindow>>::open("network/windows");
    for (index, AboutWindow { roi, inference }) in fixture.about.iter().enumerate() {
        let settings: Inference =
            serde_json::from_value(serde_json::to_value(inference).unwrap()).unwrap();
        let count = roi.iter().product::<usize>() as i64;
        let sides = roi.map(|side| side as i64);
        let ramp = Tensor::arange(count, (Kind::Float, Device::Cpu)).reshape(sides) / 100.0;
        let predict = |windows: &Tensor| {
            Tensor::cat(&[windows * &ramp, windows.narrow(1, 0, 1) + &ramp * &ramp], 1)
        };
        let found = slide(fixture.get(&format!("{index}/image")), *roi, &settings, predict);
        let off = distance(&found, fixture.get(&format!("{index}/found")));
        assert!(off <= 1e-5, "{inference:?}: {off:e}");
    }
}

#[derive(Deserialize)]
struct AboutAverages {
    network: Network,
    outputs: usize,
    sides: [i64; 3],
    roi: [usize; 3],
    overlap: f64,
}

#[test]
fn probabilities_of_several_models_and_all_flips_average_as_monai_averages_them() {
    let fixture = Fixture::<AboutAverages>::open("network/averages");
    let about = &fixture.about;
    let networks = [900, 901].map(|seed| filled(&about.network, 1, about.outputs, seed));
    let [x, y, z] = about.sides;
    let image = drawn_single(950, &[1, 1, x, y, z]);
    for (flips, wanted) in [(false, "models"), (true, "models and flips")] {
        let sliding_window = SlidingWindow {
            networks: networks.iter().map(in_fp32).collect(),
            inference: Inference {
                overlap: about.overlap,
                flips: Flips::All(flips),
                ..Inference::default()
            },
            roi: about.roi,
            device: Device::Cpu,
            room: None,
            by_sigmoid: false,
        };
        let (found, wanted) = (sliding_window.scores(&image), fixture.get(wanted));
        let off = distance(&found, wanted);
        assert!(off <= 1e-5, "flips {flips}: {off:e}");
        assert_eq!(
            sliding_window.classes(&image),
            wanted.argmax(1, false).squeeze_dim(0).to_kind(Kind::Uint8)
        );
    }
}

#[test]
fn half_precision_gives_the_logits_of_single_precision_to_two_percent() {
    let network = Network {
        channels: vec![8, 16, 24],
        strides: Network::default().strides[..2].to_vec(),
        ..Network::default()
    };
    let image = drawn_single(3, &[2, 1, 16, 16, 16]);
    for training in [true, false] {
        let network = filled(&network, 1, 3, 7);
        let wanted = network.logits(&image, Pass { training, compute: Kind::Float, part: None });
        for compute in [Kind::BFloat16, Kind::Half] {
            let found =
                network.logits(&image, Pass { training, compute, part: None }).to_kind(Kind::Float);
            let off = distance(&found, &wanted);
            assert!(off > 0.0 && off <= 2e-2, "{compute:?}, training {training}: {off:e}");
        }
    }
}
