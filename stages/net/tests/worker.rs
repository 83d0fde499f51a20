//! The program `voxflow-worker` through its task file, its pipe and its signals.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use voxflow_cache::{Blob, Digest, Recipe};
use voxflow_stages::dataset::Label;
use voxflow_stages::image::candidates::{Candidates, Selection};
use voxflow_stages::image::nifti::{write_label, write_volume_f32};
use voxflow_stages::image::{Volume, VolumeCase, VolumeList};
use voxflow_stages::{Input, InputFile, Message, Metric, Reply, Task};

const SHAPE: [usize; 3] = [12, 10, 8];

/// A folder with a small cache artifact: a bright ball in noise, at another place in each case.
struct Bench {
    folder: tempfile::TempDir,
    cache: Input,
}

impl Bench {
    fn new() -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let mut cache = Input { stage: "cache".into(), files: BTreeMap::new() };
        for (part, cases) in [("training", 0..5), ("validation", 5..7)] {
            let names: Vec<String> = cases.clone().map(|case| format!("case_{case}")).collect();
            for (name, seed) in names.iter().zip(cases) {
                add_case(folder.path(), &mut cache, part, name, seed);
            }
            let list = json!({
                "dataset": "Balls",
                "preparation": { "intensity": { "window": [0, 1] } },
                "modality": ["CT"],
                "labels": labels(),
                "cases": names.iter().map(|name| VolumeCase { name: name.clone(), labelled: true, shape: SHAPE }).collect::<Vec<_>>(),
            });
            let list: VolumeList = serde_json::from_value(list).unwrap();
            add(folder.path(), &mut cache, &format!("{part}/part.json"), |path| {
                std::fs::write(path, serde_json::to_vec(&list).unwrap()).unwrap();
            });
        }
        Bench { folder, cache }
    }

    fn task(&self, name: &str, kind: &str, params: &Value, model: Option<&Path>) -> Task {
        let at = |what: &str| self.folder.path().join(name).join(what);
        std::fs::create_dir_all(at("draft")).unwrap();
        let mut inputs = BTreeMap::from([("cache".to_string(), vec![self.cache.clone()])]);
        if let Some(model) = model {
            let mut input = Input { stage: "model".into(), files: BTreeMap::new() };
            for file in ["model.json", "best.safetensors", "last.safetensors"] {
                input.files.insert(file.into(), input_file(&model.join(file)));
            }
            inputs.insert("model".into(), vec![input]);
        }
        let kind = voxflow_stages::Kind::named(kind).unwrap();
        let params = kind.understand(params).unwrap();
        let recipe = Recipe { kind: kind.name.into(), version: 1, params: params.clone(), inputs: BTreeMap::new() };
        Task {
            stage: name.into(),
            recipe,
            params,
            inputs,
            draft: at("draft"),
            unfinished: at("unfinished"),
            device: "cpu".into(),
            threads: 1,
        }
    }
}

fn labels() -> Vec<Label> {
    vec![Label { value: 1, name: "ball".into() }]
}

fn add_case(root: &Path, cache: &mut Input, part: &str, name: &str, seed: usize) {
    let centre = [3.0 + (seed % 3) as f64 * 2.0, 4.0 + (seed % 2) as f64 * 2.0, 4.0];
    let mut draw = voxflow_stages::random::Draw::new(seed as u64, 0, 0, "ball");
    let (mut image, mut label) = (vec![], vec![]);
    for z in 0..SHAPE[2] {
        for y in 0..SHAPE[1] {
            for x in 0..SHAPE[0] {
                let square = |a: usize, b: f64| (a as f64 - b) * (a as f64 - b);
                let inside = square(x, centre[0]) + square(y, centre[1]) + square(z, centre[2]) < 7.0;
                label.push(u8::from(inside));
                image.push((if inside { 0.8 } else { 0.2 } + 0.1 * draw.normal()) as f32);
            }
        }
    }
    let affine = [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]];
    let selection = Selection { labels: &[1], background: None };
    let candidates = Candidates::compute(SHAPE, &label, selection).unwrap();
    let image = Volume { channels: 1, shape: SHAPE, data: image, affine };
    let label = Volume { channels: 1, shape: SHAPE, data: label, affine };
    let geometry = json!({
        "original_shape": SHAPE, "original_affine": affine, "axes": [0, 1, 2], "flips": [false, false, false],
        "oriented_shape": SHAPE, "oriented_affine": affine, "resampled_shape": SHAPE, "resampled_affine": affine,
        "crop_start": [0, 0, 0], "crop_end": SHAPE,
    });
    add(root, cache, &format!("{part}/{name}/image.nii"), |path| write_volume_f32(path, &image, false).unwrap());
    add(root, cache, &format!("{part}/{name}/label.nii"), |path| write_label(path, &label, false).unwrap());
    add(root, cache, &format!("{part}/{name}/candidates.bin"), |path| candidates.write(path).unwrap());
    add(root, cache, &format!("{part}/{name}/geometry.json"), |path| {
        std::fs::write(path, geometry.to_string()).unwrap();
    });
}

fn add(root: &Path, cache: &mut Input, name: &str, write: impl FnOnce(&Path)) {
    let path = root.join("cache").join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    write(&path);
    cache.files.insert(name.into(), input_file(&path));
}

fn input_file(path: &Path) -> InputFile {
    let bytes = std::fs::read(path).unwrap();
    InputFile {
        path: path.into(),
        blob: Blob { digest: Digest::of(&bytes), bytes: bytes.len() as u64, reference: None },
    }
}

fn params(epochs: u32) -> Value {
    json!({
        "epochs": epochs, "patch": [8, 8, 8], "volumes_per_step": 2, "patches_per_volume": 2,
        "network": { "channels": [4, 8], "strides": [2], "dropout": 0.1 },
        "augmentation": { "intensity_shift": { "offset": 0.1, "probability": 0.5 } },
        "ema": 0.9, "validate_every": 2, "checkpoint_every": 1,
    })
}

/// What a worker said.
#[derive(Default)]
struct Heard {
    metrics: Vec<Metric>,
    resumed: Option<(u32, u64)>,
    reply: Option<Reply>,
}

fn start(task: &Task) -> Child {
    let path = task.draft.parent().unwrap().join("task.json");
    std::fs::write(&path, serde_json::to_vec(task).unwrap()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_voxflow-worker"));
    command.arg(path).stdout(Stdio::piped()).spawn().unwrap()
}

/// Reads a worker's lines to the end; after `stop_at` lines of metrics it is told to stop.
fn hear(mut child: Child, stop_at: Option<usize>) -> Heard {
    let mut heard = Heard::default();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for line in lines.map(Result::unwrap) {
        if let Ok(reply) = serde_json::from_str::<Reply>(&line) {
            heard.reply = Some(reply);
            continue;
        }
        match serde_json::from_str::<Message>(&line).unwrap() {
            Message::Metric(row) => heard.metrics.push(row),
            Message::Resumed { epoch, step } => heard.resumed = Some((epoch, step)),
            _ => {}
        }
        if stop_at == Some(heard.metrics.len()) {
            Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
        }
    }
    child.wait().unwrap();
    heard
}

/// Rows that equal recipes repeat.
fn repeated(rows: &[Metric]) -> Vec<Metric> {
    rows.iter().filter(|row| !row.measured).cloned().collect()
}

fn done() -> Option<Reply> {
    Some(Reply::Done { adopted: BTreeMap::new() })
}

fn read(path: PathBuf) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

#[test]
fn a_training_that_was_stopped_goes_on_and_ends_as_if_it_had_not_been() {
    let bench = Bench::new();
    let whole = bench.task("whole", "train", &params(6), None);
    let undisturbed = hear(start(&whole), None);
    assert_eq!(undisturbed.reply, done());
    assert_eq!(undisturbed.resumed, None);

    let broken = bench.task("broken", "train", &params(6), None);
    let first = hear(start(&broken), Some(7));
    assert!(matches!(first.reply, Some(Reply::Failed { stopped: true, .. })), "{:?}", first.reply);
    assert!(!broken.draft.join("model.json").exists());
    let second = hear(start(&broken), None);
    assert_eq!(second.reply, done());
    assert!(second.resumed.unwrap().0 >= 1);

    assert_eq!(repeated(&second.metrics), repeated(&undisturbed.metrics));
    let epochs = undisturbed.metrics.iter().filter(|row| row.metric == "loss").count();
    assert_eq!(epochs, 6);
    for file in ["best.safetensors", "last.safetensors", "model.json"] {
        assert_eq!(read(whole.draft.join(file)), read(broken.draft.join(file)), "{file}");
    }
}

#[test]
fn a_ball_is_learned_and_validate_agrees_with_the_training_about_it() {
    let bench = Bench::new();
    let mut settings = params(40);
    settings["ema"] = Value::Null;
    settings["network"]["dropout"] = json!(0.0);
    settings["learning_rate"] = json!(0.01);
    let train = bench.task("train", "train", &settings, None);
    let trained = hear(start(&train), None);
    assert_eq!(trained.reply, done());
    let card: Value = serde_json::from_slice(&read(train.draft.join("model.json"))).unwrap();
    let best = card["training"]["best_dice"].as_f64().unwrap();
    assert!(best > 0.8, "validation Dice {best}");

    let validate = bench.task("score", "validate", &json!({}), Some(&train.draft));
    let scored = hear(start(&validate), None);
    assert_eq!(scored.reply, done());
    let mean = scored.metrics.iter().find(|row| row.metric == "dice" && row.case.is_none() && row.label.is_none());
    assert!((mean.unwrap().value.unwrap() - best).abs() < 1e-12);
}

#[test]
fn a_learning_rate_that_breaks_the_training_ends_it_with_a_word_about_where() {
    let bench = Bench::new();
    let mut settings = params(20);
    settings["optimizer"] = json!({ "name": "sgd" });
    settings["network"]["norm"] = json!("instance");
    settings["learning_rate"] = json!(1e30);
    let Some(Reply::Failed { error, stopped: false, storage: false, .. }) =
        hear(start(&bench.task("bad", "train", &settings, None)), None).reply
    else {
        panic!("the training should have failed")
    };
    assert!(error.starts_with("training: the "), "{error}");
    assert!(error.contains("in epoch 1, step ") && error.contains("lower 'learning_rate'"), "{error}");
    assert!(!error.contains('\n'), "{error}");
}

#[test]
fn a_device_that_is_not_there_is_refused_with_the_way_out() {
    let bench = Bench::new();
    let mut task = bench.task("cuda", "train", &params(1), None);
    task.device = "cuda:99".into();
    let Some(Reply::Failed { error, .. }) = hear(start(&task), None).reply else { panic!("it should have failed") };
    assert!(error.starts_with("device 'cuda:99': ") && error.contains("--device cpu"), "{error}");
}

#[test]
fn the_version_is_one_line_of_json_that_names_libtorch() {
    let output = Command::new(env!("CARGO_BIN_EXE_voxflow-worker")).arg("--version").output().unwrap();
    let versions: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(versions["libtorch"], json!("2.11.0"));
}
