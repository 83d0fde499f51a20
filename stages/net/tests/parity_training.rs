//! Losses, clipping, optimizers, schedules and training steps agree with MONAI's and PyTorch's, on
//! the fixtures that `tests/parity/make_training.py` makes.

mod support;

use serde::Deserialize;
use std::collections::BTreeMap;
use support::{Fixture, distance, drawn_labels, drawn_single, largest};
use tch::{Device, Kind, Tensor};
use voxflow_net::loss::{LossTargets, loss};
use voxflow_net::network::{GraphNetwork, NetworkTensor, Pass};
use voxflow_net::optimizer::Optimizer;
use voxflow_net::{gradients, weights};
use voxflow_stages::model::tensor_spec::TensorRole;
use voxflow_stages::model::{LearningRateSchedule, LossParams, Network, OptimizerParams};

#[test]
fn losses_and_their_gradients_agree_to_twelve_digits() {
    let fixture = Fixture::<Vec<LossParams>>::open("training/losses");
    for (index, settings) in fixture.about.iter().enumerate() {
        let logits = fixture.get("logits").copy().set_requires_grad(true);
        let found = loss(settings, &LossTargets::default(), &logits, fixture.get("labels"));
        found.backward();
        let off = (found.double_value(&[])
            - fixture.get(&format!("{index}/loss")).double_value(&[0]))
        .abs();
        assert!(off <= 1e-12, "{settings:?}: {off:e}");
        let off = distance(&logits.grad(), fixture.get(&format!("{index}/gradient")));
        assert!(off <= 1e-12, "gradient of {settings:?}: {off:e}");
    }
}

#[derive(Deserialize)]
struct AboutLoss {
    shape: [i64; 5],
    every: i64,
    loss: LossParams,
}

#[test]
fn losses_in_single_precision_agree_on_small_and_large_patches() {
    let fixture = Fixture::<Vec<AboutLoss>>::open("training/losses_single");
    for (index, AboutLoss { shape, every, loss: settings }) in fixture.about.iter().enumerate() {
        let [n, classes, x, y, z] = *shape;
        let logits = (drawn_single(1, shape) * 3.0).set_requires_grad(true);
        let found = loss(
            settings,
            &LossTargets::default(),
            &logits,
            &drawn_labels(2, classes, &[n, 1, x, y, z]),
        );
        found.backward();
        let wanted = |name: &str| fixture.get(&format!("{index}/{name}"));
        let off = (found.double_value(&[]) - wanted("loss").double_value(&[0])).abs();
        assert!(off <= 2e-6, "{settings:?} of {shape:?}: {off:e}");
        let gradient = logits.grad().flatten(0, -1);
        let off = largest(&(gradient.slice(0, None, None, *every) - wanted("gradient")));
        let relative = off / wanted("largest").double_value(&[0]);
        assert!(relative <= 1e-5, "gradient of {settings:?} of {shape:?}: {relative:e}");
    }
}

#[derive(Deserialize)]
struct AboutClipping {
    shapes: Vec<Vec<i64>>,
    limits: Vec<f64>,
}

#[test]
fn gradients_are_clipped_as_by_pytorch_and_never_above_the_limit() {
    let fixture = Fixture::<AboutClipping>::open("training/clipping");
    for limit in &fixture.about.limits {
        let shapes = (20..).zip(&fixture.about.shapes);
        let found: Vec<Tensor> = shapes.map(|(seed, shape)| drawn_single(seed, shape)).collect();
        let measured = gradients::norm(&found);
        let norm = measured.double_value(&[]);
        assert!(
            (norm - fixture.get(&format!("{limit:.1}/norm")).double_value(&[0])).abs()
                <= 1e-6 * norm
        );
        gradients::clip(&found, &measured, *limit);
        for (index, gradient) in found.iter().enumerate() {
            let off = distance(gradient, fixture.get(&format!("{limit:.1}/{index}")));
            assert!(off <= 1e-6, "limit {limit}: {off:e}");
        }
        assert!(gradients::norm(&found).double_value(&[]) <= limit.min(norm) * (1.0 + 1e-6));
    }
}

/// Learned tensors by name.
fn parameters(values: BTreeMap<String, Tensor>) -> Vec<NetworkTensor> {
    let learned = |(name, tensor): (String, Tensor)| NetworkTensor {
        name,
        tensor: tensor.copy(),
        role: TensorRole::Weight,
    };
    values.into_iter().map(learned).collect()
}

/// One step with given gradients.
fn step(
    optimizer: &mut Optimizer,
    parameters: &[NetworkTensor],
    gradient: impl Fn(&str) -> Tensor,
    rate: f64,
) {
    optimizer.zero_grad();
    let pull = |parameter: &NetworkTensor| {
        (&parameter.tensor * gradient(&parameter.name)).sum(Kind::Float)
    };
    Tensor::stack(&parameters.iter().map(pull).collect::<Vec<_>>(), 0).sum(Kind::Float).backward();
    optimizer.step(rate);
}

#[derive(Deserialize)]
struct AboutOptimizers {
    rate: f64,
    steps: i64,
    cases: Vec<OptimizerParams>,
}

#[test]
fn optimizers_agree_after_twenty_steps_and_over_a_restart() {
    let fixture = Fixture::<AboutOptimizers>::open("training/optimizers");
    for (index, settings) in fixture.about.cases.iter().enumerate() {
        let parameters = parameters(fixture.under("start/"));
        let mut optimizer = Optimizer::new(settings, &parameters, false, |_| false);
        for number in 0..fixture.about.steps {
            if number == 7 {
                let state: BTreeMap<String, Tensor> = optimizer
                    .state()
                    .into_iter()
                    .map(|(name, tensor)| (name, tensor.copy()))
                    .collect();
                optimizer = Optimizer::new(settings, &parameters, false, |_| false);
                assert!(optimizer.restore(|name| state.get(name).map(Tensor::shallow_clone)));
            }
            let gradient = |name: &str| fixture.get(&format!("gradients/{name}")).get(number);
            step(&mut optimizer, &parameters, gradient, fixture.about.rate);
        }
        for parameter in &parameters {
            let off = distance(
                &parameter.tensor.detach(),
                fixture.get(&format!("{index}/{}", parameter.name)),
            );
            assert!(off <= 1e-6, "{settings:?}, {}: {off:e}", parameter.name);
        }
    }
}

#[derive(Deserialize)]
struct AboutSchedules {
    rate: f64,
    steps_per_epoch: u64,
    epochs: u32,
    cases: Vec<Course>,
}

#[derive(Deserialize)]
struct Course {
    schedule: LearningRateSchedule,
    optimizer: OptimizerParams,
}

#[test]
fn schedules_agree_at_every_step_and_so_do_the_weights_that_optimizers_reach_by_them() {
    const SHAPES: [(&str, &[i64]); 2] = [("a", &[4, 3, 3]), ("b", &[5])];
    let fixture = Fixture::<AboutSchedules>::open("training/schedules");
    let AboutSchedules { rate, steps_per_epoch, epochs, cases } = &fixture.about;
    for (index, Course { schedule, optimizer: settings }) in cases.iter().enumerate() {
        let start = (30..)
            .zip(SHAPES)
            .map(|(seed, (name, shape))| (name.to_string(), drawn_single(seed, shape)));
        let parameters = parameters(start.collect());
        let mut optimizer = Optimizer::new(settings, &parameters, false, |_| false);
        for number in 0..steps_per_epoch * u64::from(*epochs) {
            let now = rate * schedule.factor(number, *steps_per_epoch, *epochs);
            let wanted = fixture.get(&format!("{index}/rates")).double_value(&[number as i64]);
            assert!(
                (now - wanted).abs() <= 1e-12,
                "{schedule:?}, step {number}: {now} and {wanted}"
            );
            let gradient = |name: &str| {
                let place = SHAPES.iter().position(|(known, _)| *known == name).unwrap();
                drawn_single(1000 + 10 * number + place as u64, SHAPES[place].1)
            };
            step(&mut optimizer, &parameters, gradient, now);
        }
        for parameter in &parameters {
            let off = distance(
                &parameter.tensor.detach(),
                fixture.get(&format!("{index}/{}", parameter.name)),
            );
            assert!(off <= 1e-6, "{schedule:?}, {settings:?}, {}: {off:e}", parameter.name);
        }
    }
}

#[derive(Deserialize)]
struct AboutTraining {
    network: Network,
    noisy: bool,
}

#[test]
fn twenty_training_steps_in_double_precision_and_three_in_single_have_the_same_losses() {
    for name in ["training/training_quiet", "training/training_noisy"] {
        let fixture = Fixture::<AboutTraining>::open(name);
        for (kind, wanted, allowed) in
            [(Kind::Double, "losses", 1e-9), (Kind::Float, "losses_single", 1e-5)]
        {
            let wanted = fixture.get(wanted);
            for (number, found) in training(&fixture, kind, wanted.numel()).into_iter().enumerate()
            {
                let wanted = wanted.double_value(&[number as i64]);
                let off = (found - wanted).abs() / wanted;
                assert!(off <= allowed, "{name}, {kind:?}, step {number}: {off:e}");
            }
        }
    }
}

/// The losses of a training on two batches in turn.
fn training(fixture: &Fixture<AboutTraining>, kind: Kind, steps: usize) -> Vec<f64> {
    let network = GraphNetwork::new(&fixture.about.network.graph(1, 3), 5, kind, Device::Cpu);
    weights::fill(&network, &fixture.under("weights/")).unwrap();
    let mut optimizer = Optimizer::new(
        &OptimizerParams::default(),
        network.parameters(),
        fixture.about.noisy,
        |_| false,
    );
    let step = |number: usize| {
        optimizer.zero_grad();
        let [image, labels] =
            ["images", "labels"].map(|name| fixture.get(name).get(number as i64 % 2));
        let found = loss(
            &LossParams::default(),
            &LossTargets::default(),
            &network.logits(&image, Pass::training(kind)),
            &labels,
        );
        found.backward();
        optimizer.step(2e-3);
        found.double_value(&[])
    };
    (0..steps).map(step).collect()
}
