//! The network, its losses, optimizers, training steps and sliding window agree with MONAI's, on the
//! fixtures that `tests/parity/make_network.py` makes.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::path::PathBuf;
use tch::{Device, Kind, Tensor};
use voxflow_net::infer::slide;
use voxflow_net::loss::loss;
use voxflow_net::optimizer::Optimizer;
use voxflow_net::unet::{Parameter, Pass, Role, Unet};
use voxflow_net::weights;
use voxflow_stages::model::{Inference, Loss, Network, Optimizer as Settings};

/// A fixture: its tensors, and what it says about them.
struct Fixture<A> {
    tensors: BTreeMap<String, Tensor>,
    about: A,
}

impl<A: DeserializeOwned> Fixture<A> {
    fn open(name: &str) -> Fixture<A> {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/parity/fixtures/network");
        let bytes = std::fs::read(folder.join(format!("{name}.safetensors"))).unwrap();
        let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
        let about = serde_json::from_str(&header.metadata().as_ref().unwrap()["about"]).unwrap();
        Fixture { tensors: weights::unpack(&bytes).unwrap(), about }
    }

    fn get(&self, name: &str) -> &Tensor {
        &self.tensors[name]
    }

    fn under(&self, folder: &str) -> BTreeMap<String, Tensor> {
        let named = self.tensors.iter().filter_map(|(name, tensor)| Some((name.strip_prefix(folder)?, tensor)));
        named.map(|(name, tensor)| (name.to_string(), tensor.shallow_clone())).collect()
    }
}

/// The largest difference, relative to the largest wanted value.
fn distance(found: &Tensor, wanted: &Tensor) -> f64 {
    assert_eq!(found.size(), wanted.size());
    let largest = |tensor: &Tensor| tensor.abs().max().double_value(&[]);
    largest(&(found - wanted)) / largest(wanted).max(1e-30)
}

#[derive(Deserialize)]
struct AboutForward {
    network: Network,
    inputs: usize,
    outputs: usize,
}

#[test]
fn forward_passes_agree_in_training_and_afterwards() {
    for name in ["forward_batch", "forward_instance", "forward_anisotropic", "forward_plain"] {
        let fixture = Fixture::<AboutForward>::open(name);
        let about = &fixture.about;
        let unet = Unet::new(&about.network, about.inputs, about.outputs, 5, Kind::Float, Device::Cpu);
        weights::fill(&unet, &fixture.under("weights/")).unwrap();
        for (training, wanted) in [(true, "training"), (false, "evaluated")] {
            let logits = unet.forward(fixture.get("image"), Pass { training, compute: Kind::Float });
            let off = distance(&logits, fixture.get(wanted));
            assert!(off <= 1e-5, "{name}, {wanted}: {off:e}");
        }
    }
}

#[test]
fn losses_and_their_gradients_agree_to_twelve_digits() {
    let fixture = Fixture::<Vec<Loss>>::open("losses");
    for (index, settings) in fixture.about.iter().enumerate() {
        let logits = fixture.get("logits").copy().set_requires_grad(true);
        let found = loss(settings, &logits, fixture.get("labels"));
        found.backward();
        let off = (found.double_value(&[]) - fixture.get(&format!("{index}/loss")).double_value(&[0])).abs();
        assert!(off <= 1e-12, "{settings:?}: {off:e}");
        let off = distance(&logits.grad(), fixture.get(&format!("{index}/gradient")));
        assert!(off <= 1e-12, "gradient of {settings:?}: {off:e}");
    }
}

#[derive(Deserialize)]
struct AboutOptimizers {
    rate: f64,
    steps: i64,
    cases: Vec<Settings>,
}

#[test]
fn optimizers_agree_after_twenty_steps_and_over_a_restart() {
    let fixture = Fixture::<AboutOptimizers>::open("optimizers");
    for (index, settings) in fixture.about.cases.iter().enumerate() {
        let parameters: Vec<Parameter> = fixture
            .under("start/")
            .into_iter()
            .map(|(name, tensor)| Parameter { name, tensor: tensor.copy(), role: Role::Weight })
            .collect();
        let mut optimizer = Optimizer::new(settings, &parameters, false, |_| false);
        for step in 0..fixture.about.steps {
            if step == 7 {
                let state: BTreeMap<String, Tensor> =
                    optimizer.state().into_iter().map(|(name, tensor)| (name, tensor.copy())).collect();
                optimizer = Optimizer::new(settings, &parameters, false, |_| false);
                assert!(optimizer.restore(|name| state.get(name).map(Tensor::shallow_clone)));
            }
            optimizer.zero_grad();
            let pulls = parameters.iter().map(|parameter| {
                (&parameter.tensor * fixture.get(&format!("gradients/{}", parameter.name)).get(step)).sum(Kind::Float)
            });
            Tensor::stack(&pulls.collect::<Vec<_>>(), 0).sum(Kind::Float).backward();
            optimizer.step(fixture.about.rate);
        }
        for parameter in &parameters {
            let off = distance(&parameter.tensor.detach(), fixture.get(&format!("{index}/{}", parameter.name)));
            assert!(off <= 1e-6, "{settings:?}, {}: {off:e}", parameter.name);
        }
    }
}

#[derive(Deserialize)]
struct AboutTraining {
    network: Network,
    noisy: bool,
}

#[test]
fn twenty_training_steps_in_double_precision_have_the_same_losses() {
    for name in ["training_quiet", "training_noisy"] {
        let fixture = Fixture::<AboutTraining>::open(name);
        let unet = Unet::new(&fixture.about.network, 1, 3, 5, Kind::Double, Device::Cpu);
        weights::fill(&unet, &fixture.under("weights/")).unwrap();
        let mut optimizer = Optimizer::new(&Settings::default(), unet.parameters(), fixture.about.noisy, |_| false);
        for step in 0..20 {
            optimizer.zero_grad();
            let (image, labels) = (fixture.get("images").get(step % 2), fixture.get("labels").get(step % 2));
            let logits = unet.forward(&image, Pass { training: true, compute: Kind::Double });
            let found = loss(&Loss::default(), &logits, &labels);
            let wanted = fixture.get("losses").double_value(&[step]);
            let off = (found.double_value(&[]) - wanted).abs() / wanted;
            assert!(off <= 1e-9, "{name}, step {step}: {off:e}");
            found.backward();
            optimizer.step(2e-3);
        }
    }
}

#[derive(Deserialize)]
struct AboutWindow {
    roi: [usize; 3],
    #[serde(flatten)]
    inference: BTreeMap<String, serde_json::Value>,
}

#[test]
fn sliding_windows_agree_for_each_blend_overlap_and_size() {
    let fixture = Fixture::<Vec<AboutWindow>>::open("windows");
    for (index, AboutWindow { roi, inference }) in fixture.about.iter().enumerate() {
        let settings: Inference = serde_json::from_value(serde_json::to_value(inference).unwrap()).unwrap();
        let count = roi.iter().product::<usize>() as i64;
        let sides = roi.map(|side| side as i64);
        let ramp = Tensor::arange(count, (Kind::Float, Device::Cpu)).reshape(sides) / 100.0;
        let predict = |windows: &Tensor| Tensor::cat(&[windows * &ramp, windows.narrow(1, 0, 1) + &ramp * &ramp], 1);
        let found = slide(fixture.get(&format!("{index}/image")), *roi, &settings, predict);
        let off = distance(&found, fixture.get(&format!("{index}/found")));
        assert!(off <= 1e-5, "{inference:?}: {off:e}");
    }
}
