//! A worker and something to train on: a small cache artifact, tasks over it, and what the worker
//! says.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use voxflow_cache::{Blob, Digest, Recipe};
use voxflow_stages::dataset::Label;
use voxflow_stages::image::candidates::{CandidateSelection, Candidates};
use voxflow_stages::image::nifti::{read_label, write_label, write_volume_f32};
use voxflow_stages::image::prepared::OUTSIDE;
use voxflow_stages::image::{Volume, VolumeCase, VolumeList};
use voxflow_stages::protocol::{WorkerLine, WorkerOrder};
use voxflow_stages::{Input, InputFile, Message, Metric, Reply, Task};

const SHAPE: [usize; 3] = [12, 10, 8];

/// A folder with a small cache artifact: a bright ball in noise, at another place in each case.
pub struct Bench {
    folder: tempfile::TempDir,
    cache: Input,
    labels: Vec<Label>,
}

impl Bench {
    /// One modality, in which the whole ball is bright, and one label.
    pub fn new() -> Bench {
        Bench::of(&["CT"], &[(1, "ball")])
    }

    /// A second modality in which only the ball's upper half is bright, and a label of that half.
    pub fn of_two() -> Bench {
        Bench::of(&["T1", "T2"], &[(2, "lower half"), (5, "upper half")])
    }

    /// The two with all voxels outside of a box marked as outside.
    pub fn marked() -> Bench {
        let mut bench = Bench::of_two();
        for case in 0..5 {
            let label = bench.cache.path(&format!("training/case_{case}/label.nii")).unwrap();
            let mut label = read_label(label, "label", &[2, 5]).unwrap();
            let places = (0..SHAPE[2]).flat_map(|z| {
                (0..SHAPE[1]).flat_map(move |y| (0..SHAPE[0]).map(move |x| [x, y, z]))
            });
            for (value, place) in label.data.iter_mut().zip(places) {
                if *value == 0
                    && (0..3).any(|axis| place[axis] < 2 || place[axis] + 2 > SHAPE[axis])
                {
                    *value = OUTSIDE;
                }
            }
            bench.add(&format!("training/case_{case}/marked.nii"), |path| {
                write_label(path, &label, false).unwrap();
            });
        }
        bench
    }

    /// The two with the value 9 for voxels that nobody annotated: all slices but every other.
    pub fn sparse() -> Bench {
        let mut bench = Bench::of_two();
        let cases = (0..7).map(|case| {
            let part = if case < 5 { "training" } else { "validation" };
            (part, format!("{part}/case_{case}"))
        });
        for (part, case) in cases {
            let label = bench.cache.path(&format!("{case}/label.nii")).unwrap();
            let mut label = read_label(label, "label", &[2, 5]).unwrap();
            let slice = SHAPE[0] * SHAPE[1];
            for (at, value) in label.data.iter_mut().enumerate() {
                if (at / slice).is_multiple_of(2) {
                    *value = 9;
                }
            }
            let selection = CandidateSelection { labels: &[2, 5], background: None };
            let found = Candidates::of_annotated(SHAPE, &label.data, selection, Some(9)).unwrap();
            bench.add(&format!("{case}/label.nii"), |path| {
                write_label(path, &label, false).unwrap();
            });
            bench.add(&format!("{case}/candidates.bin"), |path| found.write(path).unwrap());
            let list = format!("{part}/part.json");
            let mut described: VolumeList = bench.cache.json(&list).unwrap();
            described.ignore = Some(9);
            bench.add(&list, |path| {
                std::fs::write(path, serde_json::to_vec(&described).unwrap()).unwrap();
            });
        }
        bench
    }

    fn of(modality: &[&str], labels: &[(u8, &str)]) -> Bench {
        let labels: Vec<Label> = labels
            .iter()
            .map(|(value, name)| Label { value: *value, name: (*name).into() })
            .collect();
        let cache = Input { stage: "cache".into(), files: BTreeMap::new() };
        let mut bench = Bench { folder: tempfile::tempdir().unwrap(), cache, labels };
        for (part, cases) in [("training", 0..5), ("validation", 5..7)] {
            let names: Vec<String> = cases.clone().map(|case| format!("case_{case}")).collect();
            for (name, seed) in names.iter().zip(cases) {
                bench.add_case(&format!("{part}/{name}"), modality.len(), seed);
            }
            let case = |name: &String| VolumeCase {
                name: name.clone(),
                labelled: true,
                shape: SHAPE,
                image_digests: vec![],
            };
            let list = json!({
                "dataset": "Balls",
                "preparation": { "intensity": { "window": [0, 1] } },
                "modality": modality,
                "labels": bench.labels,
                "cases": names.iter().map(case).collect::<Vec<_>>(),
            });
            let list: VolumeList = serde_json::from_value(list).unwrap();
            bench.add(&format!("{part}/part.json"), |path| {
                std::fs::write(path, serde_json::to_vec(&list).unwrap()).unwrap();
            });
        }
        bench
    }

    /// The cache artifact.
    pub fn cache(&self) -> &Input {
        &self.cache
    }

    /// A task of a kind over the cache, with a model in a role.
    pub fn task(
        &self,
        name: &str,
        kind: &str,
        params: &Value,
        model: Option<(&str, &Task)>,
    ) -> Task {
        let at = |what: &str| self.folder.path().join(name).join(what);
        std::fs::create_dir_all(at("draft")).unwrap();
        let mut inputs = BTreeMap::from([("cache".to_string(), vec![self.cache.clone()])]);
        if let Some((role, model)) = model {
            let mut input = Input { stage: role.into(), files: BTreeMap::new() };
            for file in std::fs::read_dir(&model.draft).unwrap().map(Result::unwrap) {
                let name = file.file_name().into_string().unwrap();
                input.files.insert(name, input_file(&file.path()));
            }
            inputs.insert(role.into(), vec![input]);
        }
        let kind = voxflow_stages::Kind::named(kind).unwrap();
        let params = kind.understand(params).unwrap();
        let recipe = Recipe {
            kind: kind.name.into(),
            version: kind.version,
            params: params.clone(),
            inputs: BTreeMap::new(),
        };
        Task {
            stage: name.into(),
            recipe,
            params,
            inputs,
            draft: at("draft"),
            unfinished: at("unfinished"),
            device: "cpu".into(),
            threads: 1,
            ranks: 1,
        }
    }

    fn add_case(&mut self, case: &str, channels: usize, seed: usize) {
        let values: Vec<u8> = self.labels.iter().map(|label| label.value).collect();
        let (image, label) = ball(channels, &values, seed);
        let candidates = Candidates::compute(
            SHAPE,
            &label.data,
            CandidateSelection { labels: &values, background: None },
        )
        .unwrap();
        let affine = label.affine;
        let geometry = json!({
            "original_shape": SHAPE, "original_affine": affine, "axes": [0, 1, 2], "flips": [false, false, false],
            "oriented_shape": SHAPE, "oriented_affine": affine, "resampled_shape": SHAPE, "resampled_affine": affine,
            "crop_start": [0, 0, 0], "crop_end": SHAPE,
        });
        self.add(&format!("{case}/image.nii"), |path| {
            write_volume_f32(path, &image, false).unwrap()
        });
        self.add(&format!("{case}/label.nii"), |path| write_label(path, &label, false).unwrap());
        self.add(&format!("{case}/candidates.bin"), |path| candidates.write(path).unwrap());
        self.add(&format!("{case}/geometry.json"), |path| {
            std::fs::write(path, geometry.to_string()).unwrap()
        });
    }

    fn add(&mut self, name: &str, write: impl FnOnce(&Path)) {
        let path = self.folder.path().join("cache").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        write(&path);
        self.cache.files.insert(name.into(), input_file(&path));
    }
}

/// A ball in noise, and its label: the first value, or the second in the upper half where there are
/// two.
fn ball(channels: usize, values: &[u8], seed: usize) -> (Volume<f32>, Volume<u8>) {
    let centre = [3.0 + (seed % 3) as f64 * 2.0, 4.0 + (seed % 2) as f64 * 2.0, 4.0];
    let mut draw = voxflow_stages::random::Draw::new(seed as u64, 0, 0, "ball");
    let (mut image, mut label) = (vec![vec![]; channels], vec![]);
    for z in 0..SHAPE[2] {
        for y in 0..SHAPE[1] {
            for x in 0..SHAPE[0] {
                let square = |a: usize, b: f64| (a as f64 - b) * (a as f64 - b);
                let inside =
                    square(x, centre[0]) + square(y, centre[1]) + square(z, centre[2]) < 7.0;
                let upper = z as f64 >= centre[2];
                label.push(if !inside {
                    0
                } else {
                    values[usize::from(upper && values.len() > 1)]
                });
                for (channel, voxels) in image.iter_mut().enumerate() {
                    let bright = inside && (channel == 0 || upper);
                    voxels.push((if bright { 0.8 } else { 0.2 } + 0.1 * draw.normal()) as f32);
                }
            }
        }
    }
    let affine =
        [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]];
    let image = Volume { channels, shape: SHAPE, data: image.concat(), affine };
    (image, Volume { channels: 1, shape: SHAPE, data: label, affine })
}

fn input_file(path: &Path) -> InputFile {
    let bytes = std::fs::read(path).unwrap();
    InputFile {
        path: path.into(),
        blob: Blob { digest: Digest::of(&bytes), bytes: bytes.len() as u64, reference: None },
    }
}

/// What a worker said.
#[derive(Default)]
pub struct Heard {
    pub metrics: Vec<Metric>,
    pub resumed: Option<(u32, u64)>,
    pub device: Option<String>,
    pub precision: Option<String>,
    pub warnings: Vec<String>,
    pub reply: Option<Reply>,
}

impl Heard {
    /// The values of a metric over all cases and labels, in the order of their epochs; a loss is
    /// that of the training.
    pub fn values(&self, metric: &str) -> Vec<f64> {
        let of_validation = |row: &Metric| row.split.as_deref() == Some("validation");
        self.values_of(metric, |row| metric != "loss" || !of_validation(row))
    }

    /// The values of the validation loss, in the order of their epochs.
    pub fn validation_losses(&self) -> Vec<f64> {
        self.values_of("loss", |row| row.split.as_deref() == Some("validation"))
    }

    fn values_of(&self, metric: &str, fits: impl Fn(&Metric) -> bool) -> Vec<f64> {
        let whole =
            |row: &&Metric| row.metric == metric && row.case.is_none() && row.label.is_none();
        let rows = self.metrics.iter().filter(whole).filter(|row| fits(row));
        rows.filter_map(|row| row.value).collect()
    }
}

pub fn start(task: &Task) -> Child {
    start_with(task, &[])
}

/// The same with variables in its environment.
pub fn start_with(task: &Task, variables: &[(&str, &str)]) -> Child {
    let path = task.draft.parent().unwrap().join("task.json");
    std::fs::write(&path, serde_json::to_vec(&WorkerOrder::new(task)).unwrap()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_voxflow-worker"));
    command.arg(path).envs(variables.iter().copied()).stdout(Stdio::piped()).spawn().unwrap()
}

/// Reads a worker's lines to the end; after `stop_at` lines of metrics it is told to stop.
pub fn hear(child: Child, stop_at: Option<usize>) -> Heard {
    hear_and(child, stop_at, |pid| signal("TERM", pid))
}

/// Sends a signal to a process.
pub fn signal(name: &str, pid: u32) {
    Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status().unwrap();
}

/// Reads a worker's lines to the end; after `at` lines of metrics something is done to it.
pub fn hear_and(mut child: Child, at: Option<usize>, act: impl Fn(u32)) -> Heard {
    let mut heard = Heard::default();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for line in lines.map(Result::unwrap) {
        match WorkerLine::read(line.as_bytes()).unwrap() {
            WorkerLine::End(reply) => {
                heard.reply = Some(reply);
                continue;
            }
            WorkerLine::Message(Message::Metric(row)) => heard.metrics.push(row),
            WorkerLine::Message(Message::Resumed { epoch, step }) => {
                heard.resumed = Some((epoch, step));
            }
            WorkerLine::Message(Message::Device { name, .. }) => heard.device = Some(name),
            WorkerLine::Message(Message::Precision { name }) => heard.precision = Some(name),
            WorkerLine::Message(Message::Warning { words }) => heard.warnings.push(words),
            _ => continue,
        }
        if at == Some(heard.metrics.len()) {
            act(child.id());
        }
    }
    child.wait().unwrap();
    heard
}

/// Runs a task, which must succeed.
pub fn finish(task: &Task) -> Heard {
    let heard = hear(start(task), None);
    assert_eq!(heard.reply, done());
    heard
}

pub fn done() -> Option<Reply> {
    Some(Reply::Done { adopted: BTreeMap::new() })
}

pub fn read(path: PathBuf) -> Vec<u8> {
    std::fs::read(path).unwrap()
}
