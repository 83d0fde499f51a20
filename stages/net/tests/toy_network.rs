//! Another network in one function: it is built, trained by the training loop, exported and
//! imported without a line elsewhere. Unlike MONAI's `UNet` it has two outputs, affine instance
//! norms, leaky ReLUs, convolutions without bias and transposed convolutions of side 2. Its
//! TorchScript is run by libtorch.

mod support;

use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use support::bench::Bench;
use support::{distance, drawn_labels, drawn_single};
use tch::{CModule, Device, IValue, Kind, Tensor, no_grad};
use voxflow_cache::{Artifact, Blob, Recipe};
use voxflow_net::classes::Classes;
use voxflow_net::device::DeviceInfo;
use voxflow_net::distributed::Ranks;
use voxflow_net::fit::model::Model;
use voxflow_net::fit::{Fit, TrainingData, TrainingResult};
use voxflow_net::loss::LossTargets;
use voxflow_net::network::{GraphNetwork, Pass};
use voxflow_net::optimizer::Optimizer;
use voxflow_net::subset::Subset;
use voxflow_net::{loss, weights};
use voxflow_stages::kinds::train::Train;
use voxflow_stages::model::export::{script, state_dict, torchscript};
use voxflow_stages::model::foreign::Foreign;
use voxflow_stages::model::graph::{Activation, Conv, Graph, NodeId};
use voxflow_stages::model::weights::{StateDict, of_foreign, pack};
use voxflow_stages::model::{LossParams, Network, Norm, OptimizerParams, PerAxis};
use voxflow_stages::{Context, Error, Host, Message, Result, Task};

const TRAINING: Pass = Pass { training: true, compute: Kind::Float, part: None };
const USE: Pass = Pass { training: false, compute: Kind::Float, part: None };

/// Two levels; the lower one has an output of its own.
fn toy(inputs: u32, classes: u32) -> Graph {
    let mut graph = Graph::new(inputs);
    let skip = block(&mut graph, "encoder.0", Graph::INPUT, 8, 1);
    let below = block(&mut graph, "encoder.1", skip, 16, 2);
    let up = Conv {
        kernel: [2; 3],
        stride: [2; 3],
        padding: [0; 3],
        transposed: Some([0; 3]),
        bias: true,
    };
    let up = graph.conv("up", below, 8, up);
    let joined = graph.cat(&[up, skip]);
    let top = block(&mut graph, "decoder.0", joined, 8, 1);
    let head = Conv::same([1; 3], [1; 3]);
    for (path, x) in [("heads.0", top), ("heads.1", below)] {
        let logits = graph.conv(path, x, classes, head.clone());
        graph.output(logits);
    }
    graph
}

fn block(graph: &mut Graph, path: &str, x: NodeId, channels: u32, stride: u32) -> NodeId {
    let conv = Conv { bias: false, ..Conv::same([3; 3], [stride; 3]) };
    let x = graph.conv(&format!("{path}.conv"), x, channels, conv);
    let x = graph.norm(&format!("{path}.norm"), x, Norm::Instance, true);
    graph.activation(&format!("{path}.nonlin"), x, Activation::LeakyRelu(0.01))
}

fn network(graph: &Graph, seed: u64) -> GraphNetwork {
    GraphNetwork::new(graph, seed, Kind::Float, Device::Cpu)
}

/// The network's tensors as plain data.
fn plain(graph: &Graph, network: &GraphNetwork) -> StateDict {
    let bytes = weights::pack(&weights::snapshot(network)).unwrap();
    of_foreign(&Foreign::open(&bytes, None).unwrap(), graph.tensors()).unwrap()
}

/// The outputs of the exported program.
fn of_script(graph: &Graph, network: &GraphNetwork, image: &Tensor) -> Vec<Tensor> {
    let bytes = torchscript::archive(graph, &plain(graph, network)).unwrap();
    let module = CModule::load_data(&mut bytes.as_slice()).unwrap();
    match module.forward_is(&[IValue::Tensor(image.shallow_clone())]).unwrap() {
        IValue::Tensor(only) => vec![only],
        IValue::Tuple(outputs) => {
            outputs.into_iter().map(|output| Tensor::try_from(output).unwrap()).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn its_tensors_stand_in_the_order_of_its_nodes() {
    let tensors = toy(2, 3).tensors();
    let found: Vec<(&str, &[usize])> =
        tensors.iter().map(|spec| (spec.name.as_str(), &spec.shape[..])).collect();
    let wanted: [(&str, &[usize]); 15] = [
        ("encoder.0.conv.weight", &[8, 2, 3, 3, 3]),
        ("encoder.0.norm.weight", &[8]),
        ("encoder.0.norm.bias", &[8]),
        ("encoder.1.conv.weight", &[16, 8, 3, 3, 3]),
        ("encoder.1.norm.weight", &[16]),
        ("encoder.1.norm.bias", &[16]),
        ("up.weight", &[16, 8, 2, 2, 2]),
        ("up.bias", &[8]),
        ("decoder.0.conv.weight", &[8, 16, 3, 3, 3]),
        ("decoder.0.norm.weight", &[8]),
        ("decoder.0.norm.bias", &[8]),
        ("heads.0.weight", &[3, 8, 1, 1, 1]),
        ("heads.0.bias", &[3]),
        ("heads.1.weight", &[3, 16, 1, 1, 1]),
        ("heads.1.bias", &[3]),
    ];
    assert_eq!(found, wanted);
    let numbers: usize = wanted.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
    assert_eq!(toy(2, 3).numel(), numbers as u64);
}

#[test]
fn its_gradients_are_those_of_double_precision_and_training_lowers_its_loss() {
    let graph = toy(1, 2);
    let single = network(&graph, 3);
    let double = GraphNetwork::new(&graph, 3, Kind::Double, Device::Cpu);
    let (image, labels) =
        (drawn_single(1, &[2, 1, 8, 12, 8]), drawn_labels(2, 2, &[2, 1, 8, 12, 8]));
    let gradients = |network: &GraphNetwork, kind: Kind| {
        let optimizer =
            Optimizer::new(&OptimizerParams::default(), network.parameters(), false, |_| false);
        let pass = Pass::training(kind);
        let outputs = network.forward(&image.to_kind(kind), pass);
        let sizes: Vec<Vec<i64>> = outputs.iter().map(Tensor::size).collect();
        assert_eq!(sizes, [[2, 2, 8, 12, 8], [2, 2, 4, 6, 4]]);
        loss::of_outputs(&LossParams::default(), &LossTargets::default(), &outputs, &labels)
            .backward();
        optimizer.gradients()
    };
    let (found, wanted) = (gradients(&single, Kind::Float), gradients(&double, Kind::Double));
    assert_eq!(found.len(), graph.tensors().len());
    for (found, wanted) in found.iter().zip(&wanted) {
        assert!(distance(&found.to_kind(Kind::Double), wanted) < 1e-4);
    }
    let mut optimizer =
        Optimizer::new(&OptimizerParams::default(), single.parameters(), false, |_| false);
    let mut losses = vec![];
    for _ in 0..15 {
        optimizer.zero_grad();
        let loss = loss::of_outputs(
            &LossParams::default(),
            &LossTargets::default(),
            &single.forward(&image, TRAINING),
            &labels,
        );
        loss.backward();
        optimizer.step(0.01);
        losses.push(loss.double_value(&[]));
    }
    assert!(losses[14] < 0.9 * losses[0], "{losses:?}");
}

/// Asks the training to stop after this many messages.
struct StopAfter(AtomicUsize);

impl Host for StopAfter {
    fn tell(&self, _message: Message) {
        let _ =
            self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
    }

    fn stopping(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }

    fn recall(
        &self,
        _name: &str,
        _recipe: &Recipe,
        _make: &dyn Fn(&Path) -> Result<()>,
    ) -> Result<Artifact> {
        unreachable!("a training has no items")
    }

    fn blob_path(&self, _blob: &Blob) -> PathBuf {
        unreachable!("a training has no items")
    }

    fn adopt(&self, _name: &str, _blob: &Blob) {}

    fn refer(&self, _path: &Path) -> Result<Blob> {
        unreachable!("a training refers to nothing")
    }
}

fn train_toy(task: &Task, messages: usize) -> Result<TrainingResult> {
    let host = StopAfter(AtomicUsize::new(messages));
    let cx = Context::new(task, &host);
    let params: Train = cx.params()?;
    let info =
        DeviceInfo { device: Device::Cpu, name: "cpu".into(), capability: None, fallback: None };
    let cache = cx.input("cache")?;
    let training = Subset::open(cache, "training")?;
    let validation = Subset::open(cache, "validation")?;
    let classes = Classes::new(&training.list.labels);
    let graph = toy(training.channels() as u32, classes.count() as u32);
    let model = Model::new(&graph, &params, info.device, None)?;
    let data = TrainingData { training: &training, validation: &validation, classes: &classes };
    Fit::new(&cx, &params, data, (&info, Ranks::alone()), (model, None))?.fit()
}

#[test]
fn the_training_loop_trains_validates_stops_and_resumes_it_like_any_other() {
    let bench = Bench::new();
    let params = json!({
        "epochs": 12, "patch": [8, 8, 8], "volumes_per_step": 2, "patches_per_volume": 2,
        "learning_rate": 0.01, "ema": 0.5, "validate_every": 4, "checkpoint_every": 1,
        "network": { "channels": [4, 8], "strides": [2] },
    });
    let whole = train_toy(&bench.task("whole", "train", &params, None), usize::MAX).unwrap();
    let (epoch, dice) = whole.best_score.unwrap();
    assert!([4, 8, 12].contains(&epoch) && dice > 0.5, "Dice {dice} in epoch {epoch}");
    let names: Vec<String> = whole.last.iter().map(|(name, _)| name.clone()).collect();
    let wanted: Vec<String> = toy(1, 2).tensors().into_iter().map(|spec| spec.name).collect();
    assert_eq!(names, wanted);

    let task = bench.task("broken", "train", &params, None);
    assert!(matches!(train_toy(&task, 30), Err(Error::Stopped)));
    let resumed = train_toy(&task, usize::MAX).unwrap();
    assert_eq!((resumed.steps, resumed.best_score), (whole.steps, whole.best_score));
    for (found, wanted) in [(&resumed.last, &whole.last), (&resumed.best, &whole.best)] {
        for ((name, found), (_, wanted)) in found.iter().zip(wanted) {
            assert!(found.equal(wanted), "{name}");
        }
    }
}

#[test]
fn the_first_output_alone_is_the_first_of_all() {
    let network = network(&toy(1, 2), 4);
    let image = drawn_single(5, &[1, 1, 8, 8, 8]);
    assert_eq!(network.logits(&image, USE), network.forward(&image, USE)[0]);
}

#[test]
fn its_torchscript_gives_its_outputs_and_its_weights_come_back_from_every_form() {
    let graph = toy(1, 2);
    let made = network(&graph, 5);
    let image = drawn_single(6, &[1, 1, 8, 8, 8]);
    let wanted = no_grad(|| made.forward(&image, USE));
    let found = of_script(&graph, &made, &image);
    assert_eq!(found.len(), 2);
    for (found, wanted) in found.iter().zip(&wanted) {
        assert!(distance(found, wanted) < 1e-5);
    }

    let named = plain(&graph, &made);
    for bytes in [
        torchscript::archive(&graph, &named).unwrap(),
        state_dict::archive(&named).unwrap(),
        pack(&named).unwrap(),
    ] {
        let foreign = Foreign::open(&bytes, None).unwrap();
        let read = of_foreign(&foreign, graph.tensors()).unwrap();
        assert!(read == named, "{}", foreign.form);
        let other = network(&graph, 77);
        weights::fill(&other, &weights::unpack(&pack(&read).unwrap()).unwrap()).unwrap();
        assert_eq!(other.logits(&image, USE), wanted[0], "{}", foreign.form);
    }
}

#[test]
fn its_program_is_one_line_for_each_operation() {
    let text = script::forward(&toy(1, 2), "Toy");
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let instance = |x: &str, path: &str| {
        format!(
            "torch.instance_norm({x}, {path}.weight, {path}.bias, None, None, True, 0.1, 1e-05, True)"
        )
    };
    let up = "torch.conv_transpose3d(x5, self.up.weight, self.up.bias, \
              [2, 2, 2], [0, 0, 0], [0, 0, 0], 1, [1, 1, 1])";
    assert_eq!(lines[..2], ["def forward(self: Toy,", "x: Tensor) -> Tuple[Tensor, Tensor]:"]);
    assert_eq!(
        lines[2],
        "x0 = torch.conv3d(x, getattr(self.encoder, \"0\").conv.weight, None, \
         [1, 1, 1], [1, 1, 1], [1, 1, 1], 1)"
    );
    assert_eq!(lines[3], format!("x1 = {}", instance("x0", "getattr(self.encoder, \"0\").norm")));
    assert_eq!(lines[4], "x2 = torch.leaky_relu(x1, 0.01)");
    assert_eq!(lines[8], format!("x6 = {up}"));
    assert_eq!(lines[9], "x7 = torch.cat([x6, x2], 1)");
    assert_eq!(lines.last(), Some(&"return (x11, x12)"));
}

#[test]
fn every_variant_of_monais_unet_exports_a_program_that_gives_its_logits() {
    let variants = [0, 1, 2].into_iter().flat_map(|residual_units| {
        [Norm::Batch, Norm::Instance].map(|norm| Network {
            channels: vec![4, 6, 8],
            strides: vec![PerAxis::Each([2, 2, 1]), PerAxis::All(2)],
            residual_units,
            norm,
            dropout: 0.1,
            ..Network::default()
        })
    });
    for (seed, about) in (0..).zip(variants) {
        let graph = about.graph(1, 3);
        let made = network(&graph, seed);
        support::fill(&made, seed);
        let image = drawn_single(seed, &[1, 1, 8, 12, 6]);
        let found = of_script(&graph, &made, &image);
        let wanted = no_grad(|| made.logits(&image, USE));
        assert!(distance(&found[0], &wanted) < 1e-5, "{about:?}");
    }
}
