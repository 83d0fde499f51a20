//! What the end-to-end stories share: a folder of one's own, the real programs in it, a small
//! dataset written by hand, and the tables of the newest run.
#![allow(dead_code)] // each story uses its part

use flate2::write::GzEncoder;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use voxflow::run::{RunFolder, RunRecord};
use voxflow::tables::{self, MetricRow, StageRow};

/// The repository's root.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace")
}

/// The folder of real data, if this machine has it; says so if not.
pub fn data_root() -> Option<PathBuf> {
    let found = std::env::var_os("DATA_ROOT")
        .map(PathBuf::from)
        .unwrap_or_else(|| repository().join("../shared/data"))
        .canonicalize()
        .ok()
        .filter(|folder| folder.join("Task04_Hippocampus.tar").exists());
    if found.is_none() {
        eprintln!("skipped: no real data here; set DATA_ROOT to the folder that holds Task04_Hippocampus.tar");
    }
    found
}

/// A temporary folder in which the programs run, with a home of its own.
pub struct Lab {
    folder: tempfile::TempDir,
}

/// The tables and the record of one run.
pub struct RunView {
    pub folder: PathBuf,
    pub record: RunRecord,
    pub stages: BTreeMap<String, StageRow>,
    pub metrics: Vec<MetricRow>,
}

impl Lab {
    pub fn new() -> Lab {
        Lab { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).expect("writing a file of the test");
        path
    }

    /// The program, ready to run in this folder.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_voxflow"));
        command.current_dir(self.folder.path()).args(arguments).env("NO_COLOR", "1").env_remove("DATA_ROOT");
        command
    }

    pub fn voxflow(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("voxflow starts")
    }

    pub fn start(&self, arguments: &[&str]) -> Child {
        let mut command = self.command(arguments);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("voxflow starts")
    }

    /// Runs the workflow to its end and reads what the run left.
    pub fn run(&self, workflow: &str, more: &[&str]) -> RunView {
        let output = self.voxflow(&[&["run", workflow], more].concat());
        assert!(output.status.success(), "voxflow run {workflow} {more:?}:\n{}", said(&output));
        self.newest()
    }

    /// All runs, oldest first.
    pub fn runs(&self) -> Vec<RunView> {
        let mut runs: Vec<RunView> = std::fs::read_dir(self.path(".voxflow/runs"))
            .expect("runs")
            .map(|entry| RunView::read(&entry.expect("a run").path()))
            .collect();
        runs.sort_by_key(|run| (run.record.started_at_ms, run.record.run.clone()));
        runs
    }

    pub fn newest(&self) -> RunView {
        self.runs().pop().expect("there is a run")
    }
}

impl RunView {
    fn read(folder: &Path) -> RunView {
        let tables = tables::read(folder).expect("the tables of the run");
        RunView {
            folder: folder.to_path_buf(),
            record: RunFolder::at(folder.to_path_buf()).record().expect("run.json"),
            stages: tables.stages.into_iter().map(|row| (row.stage.clone(), row)).collect(),
            metrics: tables.metrics,
        }
    }

    /// The outcome of each stage, in the order of their ids.
    pub fn outcomes(&self) -> BTreeMap<&str, &str> {
        self.stages.iter().map(|(stage, row)| (stage.as_str(), row.outcome.as_str())).collect()
    }

    pub fn made(&self) -> Vec<&str> {
        self.outcomes().into_iter().filter(|(_, outcome)| *outcome == "made").map(|(stage, _)| stage).collect()
    }

    pub fn items(&self, stage: &str) -> (i64, i64) {
        let row = &self.stages[stage];
        (row.items_made as i64, row.items_reused as i64)
    }

    /// The rows that equal recipes repeat, without the run's own id and time, in a fixed order.
    pub fn lasting_metrics(&self) -> Vec<String> {
        let mut rows: Vec<String> = self
            .metrics
            .iter()
            .filter(|row| !row.measured)
            .map(|row| {
                format!(
                    "{:?}",
                    (&row.stage, &row.split, &row.case, &row.label, &row.grid, row.epoch, row.step, &row.metric, row.value)
                )
            })
            .collect();
        rows.sort();
        rows
    }
}

/// Everything that a program said, for messages.
pub fn said(output: &Output) -> String {
    format!(
        "exit {:?}\n--- stdout\n{}--- stderr\n{}",
        output.status.code(),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A small dataset in Decathlon layout: MRI-like cubes with one label, each case its own.
pub struct Dataset {
    pub folder: PathBuf,
    pub labelled: usize,
    pub unlabelled: usize,
}

pub const SHAPE: [usize; 3] = [20, 18, 16];

impl Dataset {
    pub fn write(folder: &Path, labelled: usize, unlabelled: usize) -> Dataset {
        for name in ["imagesTr", "labelsTr", "imagesTs"] {
            std::fs::create_dir_all(folder.join(name)).expect("a folder");
        }
        let dataset = Dataset { folder: folder.to_path_buf(), labelled, unlabelled };
        for case in 0..labelled {
            dataset.write_case(case, 0);
        }
        for case in labelled..labelled + unlabelled {
            write_nifti(&folder.join(format!("imagesTs/case_{case:02}.nii.gz")), &image(case, 0), 16);
        }
        dataset.write_listing();
        dataset
    }

    /// Writes one labelled case; another `variant` has another image and another label.
    pub fn write_case(&self, case: usize, variant: usize) {
        write_nifti(&self.image(case), &image(case, variant), 16);
        write_nifti(&self.label(case), &label(case, variant), 2);
    }

    pub fn image(&self, case: usize) -> PathBuf {
        self.folder.join(format!("imagesTr/case_{case:02}.nii.gz"))
    }

    pub fn label(&self, case: usize) -> PathBuf {
        self.folder.join(format!("labelsTr/case_{case:02}.nii.gz"))
    }

    fn write_listing(&self) {
        let pair = |case: usize| {
            serde_json::json!({"image": format!("./imagesTr/case_{case:02}.nii.gz"), "label": format!("./labelsTr/case_{case:02}.nii.gz")})
        };
        let listing = serde_json::json!({
            "name": "Cubes", "licence": "none", "tensorImageSize": "3D",
            "modality": {"0": "MRI"}, "labels": {"0": "background", "1": "cube"},
            "numTraining": self.labelled, "numTest": self.unlabelled,
            "training": (0..self.labelled).map(pair).collect::<Vec<_>>(),
            "test": (self.labelled..self.labelled + self.unlabelled).map(|case| format!("./imagesTs/case_{case:02}.nii.gz")).collect::<Vec<_>>(),
        });
        std::fs::write(self.folder.join("dataset.json"), listing.to_string()).expect("dataset.json");
    }
}

fn inside(case: usize, variant: usize, at: [usize; 3]) -> bool {
    let start = [3 + case % 4, 4 + case % 3, 2 + variant % 3];
    (0..3).all(|axis| (start[axis]..start[axis] + 7).contains(&at[axis]))
}

fn voxels(value: impl Fn([usize; 3]) -> f32) -> Vec<f32> {
    let mut data = Vec::with_capacity(SHAPE.iter().product());
    for z in 0..SHAPE[2] {
        for y in 0..SHAPE[1] {
            for x in 0..SHAPE[0] {
                data.push(value([x, y, z]));
            }
        }
    }
    data
}

fn image(case: usize, variant: usize) -> Vec<f32> {
    voxels(|at| {
        let texture = ((at[0] * 7 + at[1] * 13 + at[2] * 29 + case * 31) % 17) as f32;
        100.0 + texture + if inside(case, variant, at) { 80.0 } else { 0.0 }
    })
}

fn label(case: usize, variant: usize) -> Vec<f32> {
    voxels(|at| f32::from(u8::from(inside(case, variant, at))))
}

/// Writes a NIfTI-1 file by hand (gzip): `datatype` 2 is uint8, 16 is float32. Independent of the
/// program's own writer, so that a mistake there cannot hide.
pub fn write_nifti(path: &Path, data: &[f32], datatype: i16) {
    let mut header = vec![0u8; 352];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &348i32.to_le_bytes());
    let dims = [3i16, SHAPE[0] as i16, SHAPE[1] as i16, SHAPE[2] as i16, 1, 1, 1, 1];
    dims.iter().enumerate().for_each(|(i, dim)| put(40 + 2 * i, &dim.to_le_bytes()));
    put(70, &datatype.to_le_bytes());
    put(72, &(if datatype == 2 { 8i16 } else { 32 }).to_le_bytes());
    [1f32; 4].iter().enumerate().for_each(|(i, size)| put(76 + 4 * i, &size.to_le_bytes()));
    put(108, &352f32.to_le_bytes());
    put(112, &1f32.to_le_bytes());
    put(254, &1i16.to_le_bytes());
    for row in 0..3 {
        put(280 + 16 * row + 4 * row, &1f32.to_le_bytes());
    }
    put(344, b"n+1\0");
    let body: Vec<u8> = match datatype {
        2 => data.iter().map(|value| *value as u8).collect(),
        _ => data.iter().flat_map(|value| value.to_le_bytes()).collect(),
    };
    let file = std::fs::File::create(path).expect("a NIfTI file");
    let mut gzip = GzEncoder::new(file, flate2::Compression::fast());
    gzip.write_all(&header).and_then(|()| gzip.write_all(&body)).expect("writing NIfTI");
    gzip.finish().expect("writing NIfTI");
}

/// A workflow over the small dataset in `folder`, from the folder to the test.
pub const CUBES: &str = r#"
name: cubes
stages:
  dataset: { uses: folder, with: { path: data } }
  split: { uses: split, needs: [dataset], with: { training: 4, validation: 1, testing: 2, order: listed } }
  volumes: { uses: preprocess, needs: [dataset], with: { spacing: [1.0, 1.0, 1.0], intensity: { zscore: all } } }
  cache: { uses: cache, needs: [dataset, volumes, split] }
  model:
    uses: train
    needs: [cache]
    with:
      epochs: 2
      patch: [16, 16, 16]
      volumes_per_step: 2
      patches_per_volume: 1
      network: { channels: [4, 8, 8], strides: [2, 2], residual_units: 1 }
      learning_rate: 0.002
      validate_every: 1
      inference: { roi: [16, 16, 16], overlap: 0.25 }
  score: { uses: validate, needs: [cache, model] }
  final: { uses: test, needs: [dataset, cache, model] }
"#;
