//! Times parts of a training on one prepared volume, as JSON lines: a part, and its seconds in each
//! repetition. `tests/bench/peers.py` runs it and sets MONAI's beside it.
//!
//!     cargo bench --bench parts -- FOLDER REPEATS [WORDS]
//!
//! FOLDER holds image.nii and label.nii, as `preprocess` writes them. With WORDS only the parts are
//! timed whose names hold them. OMP_NUM_THREADS says how many threads a step has, two if it is not
//! set.
#![allow(clippy::print_stdout)]

#[path = "../../benches/support/mod.rs"]
mod support;

use serde_json::json;
use std::hint::black_box;
use std::path::Path;
use std::sync::OnceLock;
use support::measure;
use tch::{Device, Kind, Tensor};
use voxflow_net::checkpoint::CheckpointWriter;
use voxflow_net::distributed::process_group::ProcessGroup;
use voxflow_net::distributed::shared_region::{SLOT, SharedRegion};
use voxflow_net::distributed::{GradientReducer, Ranks};
use voxflow_net::loss::{LossTargets, of_outputs};
use voxflow_net::network::{GraphNetwork, Pass, channels_last};
use voxflow_net::optimizer::Optimizer;
use voxflow_net::weights::snapshot;
use voxflow_stages::image::augment::Augmentation;
use voxflow_stages::image::candidates::{CandidateSelection, Candidates};
use voxflow_stages::image::nifti::Mapped;
use voxflow_stages::image::patch_sampler::{PatchKey, PatchSource, Sampling, sample};
use voxflow_stages::model::{LossParams, Network, OptimizerParams};

const PATCH: [usize; 3] = [96, 96, 96];
/// What the name of a part that is timed holds.
static ONLY: OnceLock<String> = OnceLock::new();

fn main() {
    let words: Vec<String> =
        std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let [folder, repeats, only @ ..] = &words[..] else {
        panic!("cargo bench --bench parts -- FOLDER REPEATS [WORDS]")
    };
    let (folder, repeats) = (Path::new(folder), repeats.parse().expect("a number of repetitions"));
    ONLY.set(only.join(" ")).expect("set once");
    let threads = std::env::var("OMP_NUM_THREADS").ok().and_then(|number| number.parse().ok());
    voxflow_net::worker::keep_memory();
    sums(repeats);
    tch::set_num_threads(threads.unwrap_or(2));
    loading(folder, repeats);
    sampling(folder, repeats);
    steps(repeats);
}

/// The sum of the spleen network's gradients over two processes, each with a thread. The second is
/// forked, so this comes before libtorch has threads.
fn sums(repeats: usize) {
    const PART: &str = "sum of gradients over 2 processes, the spleen's network";
    if !is_wanted(PART) {
        return;
    }
    let (region, file) = SharedRegion::create(2, SLOT).expect("shared memory");
    // SAFETY: no other thread runs yet; the child ends without returning.
    let child = unsafe { libc::fork() };
    let region =
        if child == 0 { SharedRegion::open(&file, 2).expect("the memory") } else { region };
    let group = Box::leak(Box::new(ProcessGroup::new(region, usize::from(child == 0))));
    tch::set_num_threads(1);
    let network = GraphNetwork::new(&Network::default().graph(1, 2), 0, Kind::Float, Device::Cpu);
    let optimizer =
        Optimizer::new(&OptimizerParams::default(), network.parameters(), false, |_| false);
    let learned = network.parameters().iter().filter(|known| known.tensor.requires_grad());
    let sums: Vec<Tensor> = learned.map(|known| known.tensor.sum(Kind::Float)).collect();
    Tensor::stack(&sums, 0).sum(Kind::Float).backward();
    let tensors = optimizer.tensors_with_gradient();
    let ranks = Ranks::connect(Some(group), Device::Cpu).expect("two ranks");
    let mut reducer = GradientReducer::new(ranks);
    let mut add = || drop(reducer.sum(&tensors, vec![Tensor::from(1f32)]).expect("both ranks"));
    if child == 0 {
        (0..=repeats).for_each(|_| add());
        // SAFETY: ends the process.
        unsafe { libc::_exit(0) }
    }
    tell(PART, repeats, add);
}

/// True if the part is to be timed.
fn is_wanted(part: &str) -> bool {
    part.contains(ONLY.get().map_or("", String::as_str))
}

/// Measures the parts whose names hold the words of the command line.
fn tell(part: &str, repeats: usize, work: impl FnMut()) {
    if !is_wanted(part) {
        return;
    }
    measure(part, repeats, work);
}

fn open(folder: &Path, name: &str) -> Mapped {
    Mapped::open(&folder.join(name), name).expect("a prepared volume")
}

fn loading(folder: &Path, repeats: usize) {
    tell("open a cached volume", repeats, || {
        let (image, label) = (open(folder, "image.nii"), open(folder, "label.nii"));
        black_box((image.f32s().expect("an image")[0], label.u8s().expect("a label")[0]));
    });
    tell("open a cached volume and read every voxel", repeats, || {
        let (image, label) = (open(folder, "image.nii"), open(folder, "label.nii"));
        let sum: f32 = image.f32s().expect("an image").iter().sum();
        black_box((
            sum,
            label.u8s().expect("a label").iter().map(|value| u64::from(*value)).sum::<u64>(),
        ));
    });
}

/// Four patches of one volume, shifted in intensity and flipped, as the spleen recipes and a little
/// more.
fn sampling(folder: &Path, repeats: usize) {
    let (image, label) = (open(folder, "image.nii"), open(folder, "label.nii"));
    let (voxels, values) = (image.f32s().expect("an image"), label.u8s().expect("a label"));
    let background = Some((voxels, 0.0));
    let candidates =
        Candidates::compute(image.shape(), values, CandidateSelection { labels: &[1], background });
    let candidates = candidates.expect("a volume with a label");
    let case = PatchSource {
        image: voxels,
        channels: 1,
        shape: image.shape(),
        label: values,
        beyond: 0,
        candidates: &candidates,
    };
    let augmentation: Augmentation = serde_json::from_value(json!({
        "intensity_shift": { "offset": 0.1, "probability": 0.5 }, "flip": { "probability": 0.5 },
    }))
    .expect("an augmentation");
    let voxels = PATCH.iter().product();
    let mut batch = vec![(vec![0.0; voxels], vec![0; voxels]); 4];
    let mut epoch = 0;
    tell("sample and augment 4 patches of 96³", repeats, || {
        epoch += 1;
        for ((image, label), item) in batch.iter_mut().zip(0..) {
            sample(
                &case,
                &Sampling::default(),
                &augmentation,
                PATCH,
                PatchKey { seed: 0, epoch, item, batch: (0, 4) },
                (image, label),
            );
        }
        black_box(&batch);
    });
}

/// Whole steps: forward, loss, backward, Novograd; of the spleen's network and of the hippocampus'
/// one.
fn steps(repeats: usize) {
    let spleen = Work {
        network: Network::default(),
        classes: 2,
        patches: [2, 96, 96, 96],
        named: "2 × 96³",
    };
    let small = json!({ "channels": [16, 32, 64, 128], "strides": [2, 2, 2], "residual_units": 2 });
    let hippocampus = Work {
        network: serde_json::from_value(small).expect("a network"),
        classes: 3,
        patches: [4, 32, 48, 32],
        named: "4 × 32×48×32",
    };
    spleen.checkpoint(repeats);
    hippocampus.checkpoint(repeats);
    spleen.step(repeats, "fp32", Kind::Float);
    spleen.step(repeats, "bf16", Kind::BFloat16);
    hippocampus.step(repeats, "fp32", Kind::Float);
}

/// What a step works on.
struct Work {
    network: Network,
    classes: i64,
    patches: [i64; 4],
    named: &'static str,
}

impl Work {
    fn step(&self, repeats: usize, precision: &str, compute: Kind) {
        let network = GraphNetwork::new(
            &self.network.graph(1, self.classes as usize),
            0,
            Kind::Float,
            Device::Cpu,
        );
        let mut optimizer =
            Optimizer::new(&OptimizerParams::default(), network.parameters(), false, |_| false);
        let [count, x, y, z] = self.patches;
        let image = channels_last(&Tensor::rand([count, 1, x, y, z], (Kind::Float, Device::Cpu)));
        let labels = Tensor::randint(self.classes, [count, 1, x, y, z], (Kind::Int64, Device::Cpu));
        tell(&format!("training step, {}, {precision}", self.named), repeats, || {
            optimizer.zero_grad();
            let outputs = network.forward(&image, Pass::training(compute));
            let found =
                of_outputs(&LossParams::default(), &LossTargets::default(), &outputs, &labels);
            found.backward();
            optimizer.step(2e-3);
            black_box(found.double_value(&[]));
        });
    }

    /// What a checkpoint costs: copying stops the training, keeping does not.
    fn checkpoint(&self, repeats: usize) {
        let network = GraphNetwork::new(
            &self.network.graph(1, self.classes as usize),
            0,
            Kind::Float,
            Device::Cpu,
        );
        let optimizer =
            Optimizer::new(&OptimizerParams::default(), network.parameters(), false, |_| false);
        let copies = || {
            let state = optimizer
                .state()
                .into_iter()
                .map(|(name, tensor)| (format!("optimizer/{name}"), tensor.copy()));
            let best = snapshot(&network)
                .into_iter()
                .map(|(name, tensor)| (format!("best/{name}"), tensor));
            snapshot(&network).into_iter().chain(best).chain(state).collect::<Vec<_>>()
        };
        tell(&format!("copying for a checkpoint, {}", self.named), repeats, || {
            drop(black_box(copies()))
        });
        let folder = std::env::temp_dir().join(format!("voxflow-parts-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let (mut writer, mut step) = (CheckpointWriter::new(&folder), 0);
        tell(&format!("copying and keeping a checkpoint, {}", self.named), repeats, || {
            step += 1;
            writer.begin(step, &step, copies()).and_then(|()| writer.wait()).expect("a checkpoint");
        });
        std::fs::remove_dir_all(&folder).expect("a folder");
    }
}
