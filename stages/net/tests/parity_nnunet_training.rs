//! Networks, initial values, losses and training steps agree with nnU-Net's, on the fixtures that
//! `tests/parity/make_nnunet_training.py` makes.
#![allow(clippy::print_stdout)]

mod support;

use serde::Deserialize;
use std::collections::BTreeSet;
use support::{Fixture, distance, drawn, drawn_labels, drawn_single, fill_by_name};
use tch::{CModule, Device, IValue, Kind, Tensor, no_grad};
use voxflow_net::classes::IGNORED;
use voxflow_net::inference_network::InferenceNetwork;
use voxflow_net::loss::LossTargets;
use voxflow_net::network::{GraphNetwork, Pass, channels_last};
use voxflow_net::optimizer::Optimizer;
use voxflow_net::sliding_window::SlidingWindow;
use voxflow_net::{gradients, loss, weights};
use voxflow_stages::model::export::{state_dict, torchscript};
use voxflow_stages::model::foreign::Foreign;
use voxflow_stages::model::tensor_spec::InitialValue;
use voxflow_stages::model::weights::of_foreign;
use voxflow_stages::model::{
    Average, Blend, Flips, Inference, LearningRateSchedule, LossParams, Network, OptimizerParams,
    Placement, Precision,
};

#[derive(Deserialize)]
struct AboutForward {
    network: Network,
    inputs: usize,
    outputs: usize,
    sides: [i64; 3],
    batch: i64,
    given: usize,
    /// The names of its `state_dict`; none for most.
    names: BTreeSet<String>,
}

impl AboutForward {
    fn filled(&self, seed: u64, network: &Network) -> GraphNetwork {
        assert_eq!(network.check("network"), []);
        let graph = network.graph(self.inputs, self.outputs);
        let network = GraphNetwork::new(&graph, 5, Kind::Float, Device::Cpu);
        fill_by_name(&network, seed);
        network
    }

    fn image(&self, seed: u64) -> Tensor {
        let [x, y, z] = self.sides;
        drawn_single(500 + seed, &[self.batch, self.inputs as i64, x, y, z])
    }
}

#[test]
fn both_networks_give_nnu_nets_outputs_on_eight_shapes_each() {
    let fixture = Fixture::<Vec<AboutForward>>::open("nnunet/forwards");
    assert_eq!(fixture.about.len(), 16);
    let mut worst = 0.0f64;
    for (index, about) in (0u64..).zip(&fixture.about) {
        let network = about.filled(index, &about.network);
        let image = about.image(index);
        for image in [image.contiguous(), channels_last(&image)] {
            for pass in [Pass::training(Kind::Float), Pass::inference(Kind::Float)] {
                let outputs = network.forward(&image, pass);
                assert_eq!(outputs.len(), about.given);
                for (place, found) in outputs.iter().enumerate() {
                    let off = distance(found, fixture.get(&format!("{index}/{place}")));
                    assert!(off <= 1e-5, "{:?}, output {place}: {off:e}", about.network);
                    worst = worst.max(off);
                }
            }
        }
    }
    println!("outputs: at most {worst:e} relative");
}

#[test]
fn their_tensors_have_the_names_of_the_state_dict_and_come_back_from_it() {
    let fixture = Fixture::<Vec<AboutForward>>::open("nnunet/forwards");
    for about in fixture.about.iter().filter(|about| !about.names.is_empty()) {
        let graph = about.network.graph(about.inputs, about.outputs);
        let tensors = graph.tensors();
        let names = tensors.iter().flat_map(|spec| std::iter::once(&spec.name).chain(&spec.twins));
        let found: BTreeSet<String> = names.cloned().collect();
        assert_eq!(found, about.names);

        let made = about.filled(3, &about.network);
        let bytes = weights::pack(&weights::snapshot(&made)).unwrap();
        let named = of_foreign(&Foreign::open(&bytes, None).unwrap(), graph.tensors()).unwrap();
        let written = state_dict::archive(&named).unwrap();
        let foreign = Foreign::open(&written, None).unwrap();
        assert_eq!(foreign.views.keys().cloned().collect::<BTreeSet<_>>(), about.names);
        assert!(of_foreign(&foreign, tensors).unwrap() == named);
    }
}

#[test]
fn their_torchscript_gives_all_outputs_under_deep_supervision_and_the_logits_alone_without() {
    let fixture = Fixture::<Vec<AboutForward>>::open("nnunet/forwards");
    for (index, about) in (0u64..).zip(&fixture.about).filter(|(index, _)| index % 8 < 4) {
        for deep_supervision in [true, false] {
            let network = Network { deep_supervision, ..about.network.clone() };
            let graph = network.graph(about.inputs, about.outputs);
            let made = about.filled(index, &network);
            let bytes = weights::pack(&weights::snapshot(&made)).unwrap();
            let named = of_foreign(&Foreign::open(&bytes, None).unwrap(), graph.tensors()).unwrap();
            let script = torchscript::archive(&graph, &named).unwrap();
            let module = CModule::load_data(&mut script.as_slice()).unwrap();
            let found = no_grad(|| module.forward_is(&[IValue::Tensor(about.image(index))]));
            let found = match found.unwrap() {
                IValue::Tensor(only) => vec![only],
                IValue::Tuple(all) => {
                    all.into_iter().map(|one| Tensor::try_from(one).unwrap()).collect()
                }
                other => panic!("{other:?}"),
            };
            assert_eq!(found.len(), if deep_supervision { about.given } else { 1 });
            for (place, found) in found.iter().enumerate() {
                let off = distance(found, fixture.get(&format!("{index}/{place}")));
                assert!(off <= 1e-5, "{network:?}, output {place}: {off:e}");
            }
        }
    }
}

#[derive(Deserialize)]
struct AboutInitial {
    network: Network,
    inputs: usize,
    outputs: usize,
    seeds: usize,
}

#[test]
fn initial_values_are_those_of_nnu_net_or_drawn_from_its_distribution() {
    let fixture = Fixture::<Vec<AboutInitial>>::open("nnunet/initial");
    for (index, about) in fixture.about.iter().enumerate() {
        let tensors = about.network.graph(about.inputs, about.outputs).tensors();
        let [fixed, drawn] =
            ["fixed", "drawn"].map(|kind| fixture.under(&format!("{index}/{kind}/")));
        assert_eq!(tensors.len(), fixed.len() + drawn.len());
        for spec in tensors {
            match spec.initial {
                InitialValue::Constant(value) => {
                    assert_eq!(value, fixed[&spec.name].double_value(&[0]), "{}", spec.name);
                }
                InitialValue::Normal { std } => {
                    let count = (about.seeds * spec.shape.iter().product::<usize>()) as f64;
                    let [mean, variance] = [0, 1].map(|at| drawn[&spec.name].double_value(&[at]));
                    assert!(mean.abs() <= 4.0 * std / count.sqrt(), "{}: {mean}", spec.name);
                    let off = (variance / (std * std) - 1.0).abs();
                    assert!(off <= 4.0 * (2.0 / count).sqrt(), "{}: {off}", spec.name);
                }
                InitialValue::Uniform { .. } => panic!("{} is uniform", spec.name),
            }
        }
    }
}

#[test]
fn drawn_weights_have_the_spread_that_their_description_says() {
    let about = &Fixture::<Vec<AboutInitial>>::open("nnunet/initial").about[0];
    let network = Network { features: vec![16, 32, 32], ..about.network.clone() };
    let graph = network.graph(about.inputs, about.outputs);
    let made = GraphNetwork::new(&graph, 1, Kind::Float, Device::Cpu);
    for (spec, parameter) in graph.tensors().iter().zip(made.parameters()) {
        if let InitialValue::Normal { std } = spec.initial {
            let count = parameter.tensor.numel() as f64;
            let variance = parameter.tensor.square().mean(Kind::Double).double_value(&[]);
            let off = (variance / (std * std) - 1.0).abs();
            assert!(off <= 4.0 * (2.0 / count).sqrt(), "{}: {off}", spec.name);
        }
    }
}

#[test]
fn losses_and_their_gradients_agree_to_twelve_digits() {
    let fixture = Fixture::<Vec<LossParams>>::open("nnunet/losses");
    for (index, settings) in fixture.about.iter().enumerate() {
        assert_eq!(settings.check("loss"), []);
        let logits = fixture.get("logits").copy().set_requires_grad(true);
        let found = loss::loss(settings, &LossTargets::default(), &logits, fixture.get("labels"));
        found.backward();
        let wanted = fixture.get(&format!("{index}/loss")).double_value(&[0]);
        let off = (found.double_value(&[]) - wanted).abs();
        assert!(off <= 1e-12, "{settings:?}: {off:e}");
        let off = distance(&logits.grad(), fixture.get(&format!("{index}/gradient")));
        assert!(off <= 1e-12, "gradient of {settings:?}: {off:e}");
    }
}

#[derive(Deserialize)]
struct AboutTargets {
    loss: LossParams,
    regions: Vec<Vec<i64>>,
    sparse: bool,
}

#[test]
fn losses_of_regions_and_of_sparse_annotation_agree_to_ten_digits() {
    let fixture = Fixture::<Vec<AboutTargets>>::open("nnunet/target_losses");
    assert_eq!(fixture.about.len(), 12);
    let mut worst = 0.0f64;
    for (index, AboutTargets { loss: settings, regions, sparse }) in
        fixture.about.iter().enumerate()
    {
        let outputs = if regions.is_empty() { 4 } else { regions.len() as i64 };
        let logits = fixture.get("logits").narrow(1, 0, outputs).copy().set_requires_grad(true);
        let labels = fixture.get("labels");
        let all = labels.masked_fill(&labels.eq(i64::from(IGNORED)), 0i64);
        let ignored = sparse.then_some(i64::from(IGNORED));
        let targets = LossTargets { regions: regions.clone(), ignored };
        let found = loss::loss(settings, &targets, &logits, if *sparse { labels } else { &all });
        found.backward();
        let wanted = fixture.get(&format!("{index}/loss")).double_value(&[0]);
        let off = (found.double_value(&[]) - wanted).abs();
        let apart = distance(&logits.grad(), fixture.get(&format!("{index}/gradient")));
        assert!(off <= 1e-10, "{settings:?}, {targets:?}: {off:e}");
        assert!(apart <= 1e-10, "gradient of {settings:?}, {targets:?}: {apart:e}");
        worst = worst.max(off).max(apart);
    }
    println!("losses of regions and sparse annotation: at most {worst:e}");
}

#[derive(Deserialize)]
struct AboutTraining {
    network: Network,
    loss: LossParams,
    optimizer: OptimizerParams,
    schedule: LearningRateSchedule,
    rate: f64,
    limit: f64,
    epochs: u32,
    steps_per_epoch: u64,
}

#[test]
fn twenty_training_steps_have_nnu_nets_losses_and_end_at_its_weights() {
    for name in ["plain_conv_unet", "residual_encoder_unet"] {
        let fixture = Fixture::<AboutTraining>::open(&format!("nnunet/training_{name}"));
        let about = &fixture.about;
        let graph = about.network.graph(1, 3);
        let network = GraphNetwork::new(&graph, 5, Kind::Double, Device::Cpu);
        fill_by_name(&network, 70);
        let mut optimizer = Optimizer::new(&about.optimizer, network.parameters(), true, |_| false);
        let mut worst = 0.0f64;
        for step in 0..u64::from(about.epochs) * about.steps_per_epoch {
            optimizer.zero_grad();
            let image = drawn(80 + step, &[2, 1, 4, 16, 16]);
            let labels = drawn_labels(180 + step, 3, &[2, 1, 4, 16, 16]);
            let outputs = network.forward(&image, Pass::training(Kind::Double));
            let found = loss::of_outputs(&about.loss, &LossTargets::default(), &outputs, &labels);
            found.backward();
            let all = optimizer.gradients();
            let norm = gradients::norm(&all);
            gradients::clip(&all, &norm, about.limit);
            let factor = about.schedule.factor(step, about.steps_per_epoch, about.epochs);
            optimizer.step(about.rate * factor);
            for (found, wanted) in [(found, "losses"), (norm, "norms")] {
                let wanted = fixture.get(wanted).double_value(&[step as i64]);
                let off = ((found.double_value(&[]) - wanted) / wanted).abs();
                assert!(off <= 1e-8, "{name}, step {step}: {off:e}");
                worst = worst.max(off);
            }
        }
        let ends = fixture.under("weights/");
        assert_eq!(ends.len(), network.parameters().len());
        for parameter in network.parameters() {
            let off = distance(&parameter.tensor.detach(), &ends[&parameter.name]);
            assert!(off <= 1e-8, "{name}, {}: {off:e}", parameter.name);
            worst = worst.max(off);
        }
        println!("{name}: at most {worst:e} relative");
    }
}

#[derive(Deserialize)]
struct AboutWindows {
    network: Network,
    patch: [usize; 3],
    shape: [i64; 3],
    axes: Vec<usize>,
}

#[test]
fn windows_blended_and_flipped_as_nnu_nets_give_its_logits() {
    let fixture = Fixture::<Vec<AboutWindows>>::open("nnunet/windows");
    let mut worst = 0.0f64;
    for (index, about) in (0u64..).zip(&fixture.about) {
        let graph = about.network.graph(1, 3);
        let network = GraphNetwork::new(&graph, 5, Kind::Float, Device::Cpu);
        fill_by_name(&network, 60);
        let window = SlidingWindow {
            networks: vec![InferenceNetwork { network: &network, precision: Precision::Fp32 }],
            inference: Inference {
                blend: Blend::GaussianNnunet,
                placement: Placement::Even,
                average: Average::Logits,
                flips: Flips::Axes(about.axes.clone()),
                ..Inference::default()
            },
            roi: about.patch,
            device: Device::Cpu,
            room: None,
            by_sigmoid: false,
        };
        let [x, y, z] = about.shape;
        let image = drawn_single(61 + index, &[1, 1, x, y, z]);
        let found = window.scores(&image).squeeze_dim(0);
        let off = distance(&found, fixture.get(&index.to_string()));
        assert!(off <= 1e-5, "{:?}, flips {:?}: {off:e}", about.shape, about.axes);
        worst = worst.max(off);
        let classes = window.classes(&image).to_kind(Kind::Int64);
        assert_eq!(classes, fixture.get(&index.to_string()).argmax(0, false));
    }
    println!("windows: at most {worst:e} relative");
}
