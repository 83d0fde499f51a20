//! `voxflow new`: writes a commented workflow for a task of the Decathlon, or for a folder of
//! images and labels that it looks into.
//!
//! `tasks` is what is known of the ten tasks, `look` what a folder shows, `layout` how a folder
//! without a listing is understood, `voxels` what its voxels say, `shown` how it was read, for
//! people, `advice` how settings follow from all this, `draft` the text. For nnU-Net's recipes
//! `statistics` looks at all cases, `planned` makes settings of their plan, and `update` compares
//! them with a workflow's.

mod advice;
mod archive;
mod draft;
mod layout;
mod look;
mod manifest;
mod parsed;
mod planned;
mod recipe;
mod schema_line;
pub(in crate::commands) mod shown;
mod statistics;
mod tasks;
mod update;
mod voxels;
mod yaml;

use super::{answer, answer_data, tell};
use crate::error::{Error, Exit, Result};
use crate::globals::Globals;
use crate::workflow::nearest;
use clap::Args;
use draft::{Data, DataSource, Scaling, StageSettings};
use parsed::workflow;
use planned::PlannedSettings;
use recipe::{TrainingRecipe, gigabytes};
use serde_json::Value;
use statistics::{LookedAt, StageIds};
use std::path::{Path, PathBuf};
use voxflow_cache::disk::FileWriter;
use voxflow_stages::dataset::Listing;
use voxflow_stages::dataset::archive::member;
use voxflow_stages::dataset::foreign::{foreign, tilde};
use voxflow_stages::planner::Preset;

/// The data and the target of the workflow.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  voxflow new spleen                    # a task of the Medical Segmentation Decathlon, downloaded when run
  voxflow new ~/data/Task09_Spleen      # a folder in Decathlon or nnU-Net layout
  voxflow new ~/data/livers -o liver.yaml  # any other folder with images and labels
  voxflow new Task04_Hippocampus.tar    # an archive with a dataset.json
  voxflow new ~/data/cases.csv          # a manifest: columns image, label, patient, fold
  voxflow new ~/data/livers --recipe nnunet-resenc-l --gpu-memory 24G  # nnU-Net's plan for it
  voxflow new --update livers.yaml      # what its plan would be with today's cases

Images and labels are found in two folders, in one folder a case (with several files a case: its
channels), side by side (a.nii.gz and a_seg.nii.gz), and in BIDS, by their names and, in doubt, by
their voxels; or they are listed in a manifest (CSV, TSV), one row a case. How the folder was read
is shown, with what is not used. Headers are read for voxel sizes, images of up to ten cases for
values, labels for the values in them. Grid, patch and window follow as the comments in the file
say. What is written is a beginning, to be changed.

nnU-Net's recipes look at every training and validation case once, as a run of the home; what was
looked at is kept in the store. Cases that the written split sets aside for testing are not read.")]
pub struct New {
    /// A Decathlon task (spleen, Task09_Spleen, 9), a folder, an archive or a manifest; without
    /// one, the tasks are listed
    #[arg(value_name = "TASK|FOLDER|FILE")]
    pub source: Option<String>,
    /// The file to write; by default NAME.yaml here. An existing file is not replaced
    #[arg(long, short, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// The way to choose settings: by default quick, and with --update that of the workflow
    #[arg(long, value_enum)]
    pub recipe: Option<TrainingRecipe>,
    /// Memory of the graphics card that a plan is made for, as 24G; by default that of its recipe,
    /// and with --update that of the workflow
    #[arg(long, value_name = "SIZE", value_parser = gigabytes)]
    pub gpu_memory: Option<f64>,
    /// Write the fingerprint of the dataset (nnU-Net's dataset_fingerprint.json) into a file
    #[arg(long, value_name = "FILE")]
    pub stats: Option<PathBuf>,
    /// Compare a workflow's settings with those of the plan for its cases now, and change nothing
    #[arg(long, value_name = "WORKFLOW", conflicts_with_all = ["source", "out"])]
    pub update: Option<PathBuf>,
}

impl New {
    /// Writes the workflow, and its path on stdout.
    pub fn run(&self, globals: &Globals) -> Result<Exit> {
        self.check()?;
        if let Some(file) = &self.update {
            return self.update(globals, file);
        }
        let Some(source) = &self.source else {
            answer(&tasks::listed())?;
            return Ok(Exit::Done);
        };
        let data = data(source)?;
        let out = self.out.clone().unwrap_or_else(|| PathBuf::from(format!("{}.yaml", data.name)));
        if out.exists() {
            return Err(exists(&out, "--out"));
        }
        let settings = self.settings(globals, &data, &out)?;
        let text = draft::draft(&data, &out, &settings);
        // What is written is held to the same rules as what a person writes.
        workflow(&text, &out)
            .map_err(|mistakes| Error::Failed(format!("the draft is wrong: {mistakes:?}")))?;
        let text = schema_line::with_schema(&text, &out, &globals.home());
        write_new(&out, text.as_bytes(), "--out")?;
        let shown = out.display();
        tell(&data.sentence());
        if let Some(folds) = data.folds() {
            draft::few_words(&data, folds, &out).iter().for_each(|words| tell(words));
        }
        tell(&format!("next: voxflow check {shown}; voxflow plan {shown}; voxflow run {shown}"));
        answer_data(&format!("{shown}\n"))?;
        Ok(Exit::Done)
    }

    /// Flags that need each other.
    fn check(&self) -> Result<()> {
        let is_quick = self.preset().is_none();
        match () {
            () if is_quick && self.gpu_memory.is_some() && self.update.is_none() => Err(
                Error::usage("--gpu-memory: the recipe 'quick' has no plan; add '--recipe nnunet'"),
            ),
            () if self.update.is_some() && self.recipe == Some(TrainingRecipe::Quick) => {
                Err(Error::usage(
                    "--update: the recipe 'quick' has no plan to compare with; leave '--recipe' \
                     out, or give '--recipe nnunet'",
                ))
            }
            () if self.source.is_none() && self.update.is_none() && self.stats.is_some() => {
                Err(Error::usage("--stats: name the task or folder to look at"))
            }
            () => match self.stats.as_ref().filter(|file| file.exists()) {
                Some(file) => Err(exists(file, "--stats")),
                None => Ok(()),
            },
        }
    }

    /// The planner that the flags name.
    fn preset(&self) -> Option<Preset> {
        self.recipe.and_then(TrainingRecipe::preset)
    }

    /// Settings by the recipe; all cases are looked at where it, or `--stats`, needs them.
    fn settings(&self, globals: &Globals, data: &Data, out: &Path) -> Result<StageSettings> {
        let preset = self.preset();
        if preset.is_none() && self.stats.is_none() {
            return Ok(StageSettings::Quick);
        }
        let text = draft::cases(data, out);
        let looked =
            LookedAt::of(globals, &text, &StageIds { dataset: "dataset", split: "split" })?;
        self.write_statistics(&looked)?;
        match preset {
            None => Ok(StageSettings::Quick),
            Some(preset) => {
                let plan = looked.plan(preset, self.gpu_memory)?;
                Ok(StageSettings::Planned(PlannedSettings::of(&plan, &looked)?))
            }
        }
    }

    fn write_statistics(&self, looked: &LookedAt) -> Result<()> {
        let Some(file) = &self.stats else { return Ok(()) };
        let mut text = serde_json::to_vec_pretty(&looked.fingerprint)
            .map_err(|error| Error::Failed(format!("{}: {error}", file.display())))?;
        text.push(b'\n');
        write_new(file, &text, "--stats")
    }

    fn update(&self, globals: &Globals, file: &Path) -> Result<Exit> {
        let (lines, looked) = update::differences(globals, file, self.preset(), self.gpu_memory)?;
        self.write_statistics(&looked)?;
        match lines.is_empty() {
            true => tell("the plan is as the workflow has it"),
            false => answer(&lines)?,
        }
        Ok(Exit::Done)
    }
}

/// Writes a file that must not be there; `flag` names another.
fn write_new(path: &Path, text: &[u8], flag: &str) -> Result<()> {
    let mut file = FileWriter::create_new(path).map_err(|error| match error.io_kind() {
        Some(std::io::ErrorKind::AlreadyExists) => exists(path, flag),
        _ => error.into(),
    })?;
    Ok(file.write_bytes(text)?)
}

fn exists(path: &Path, flag: &str) -> Error {
    Error::usage(format!("'{}' exists: name another file with {flag}", path.display()))
}

fn data(source: &str) -> Result<Data> {
    let path = Path::new(source);
    if path.is_dir() {
        return match look::listed(path)?.is_none().then(|| manifest::in_folder(path)).transpose()? {
            Some(Some(file)) => manifest::look(&file),
            _ => look::look(path),
        };
    }
    if path.file_name().is_some_and(|name| name == "dataset.json") && path.is_file() {
        return look::look(path.parent().filter(|p| p != &Path::new("")).unwrap_or(Path::new(".")));
    }
    if manifest::is_table(path) {
        return manifest::look(path);
    }
    if let Some(task) = tasks::find(source) {
        return Ok(of_task(task, None));
    }
    let stem = path.file_name().and_then(|name| name.to_str()).map(|name| {
        [".tar.gz", ".tgz", ".tar"].iter().find_map(|ending| name.strip_suffix(ending))
    });
    match stem.flatten() {
        Some(stem) if path.is_file() => match tasks::find(stem) {
            Some(task) => Ok(of_archive(task, path)),
            None => archive::look(path, stem),
        },
        _ => Err(unknown(source)),
    }
}

/// True for a file that may be a manifest.
pub fn is_manifest(path: &Path) -> bool {
    manifest::is_table(path)
}

/// A dataset in a folder or manifest, as a draft's workflow would list it, and its folder.
pub fn dataset(path: &Path) -> Result<(PathBuf, Listing)> {
    let data = data(&path.display().to_string())?;
    let DataSource::Folder(written) = &data.source else {
        return Err(Error::usage(format!("'{}' is no folder of images", path.display())));
    };
    let folder = written.iter().find(|(key, _)| key == "path").and_then(|(_, path)| path.as_str());
    Ok((PathBuf::from(folder.unwrap_or(".")), look::listing(written)?))
}

/// The data of a task from an archive, which may hold fewer cases than the task.
fn of_archive(task: &'static tasks::DecathlonTask, path: &Path) -> Data {
    let mut data = of_task(task, Some(path.to_path_buf()));
    let listed = member(path, "dataset.json", MOST_LISTED).ok().flatten();
    let listed = listed.and_then(|text| serde_json::from_slice::<Value>(&text).ok());
    if let Some(cases) = listed.as_ref().and_then(|listed| listed["training"].as_array()) {
        data.labelled = cases.len();
        data.patients = cases.len();
        let test = listed.as_ref().and_then(|listed| listed["test"].as_array());
        data.unlabelled = test.map_or(0, Vec::len);
    }
    data
}

/// The most bytes of a listing.
const MOST_LISTED: u64 = 64 << 20;

/// The data of a Decathlon task, downloaded or from a local archive.
fn of_task(task: &'static tasks::DecathlonTask, archive: Option<PathBuf>) -> Data {
    let scaling = task.window.map_or(Scaling::Zscore, Scaling::Window);
    Data {
        name: task.word().to_lowercase(),
        title: format!("{} (Medical Segmentation Decathlon, Task{:02})", task.word(), task.number),
        source: DataSource::Task(task, archive),
        modality: task.modality.iter().map(|name| name.to_string()).collect(),
        labels: task.labels.iter().map(|name| name.to_string()).collect(),
        regions: vec![],
        labelled: task.labelled,
        unlabelled: task.unlabelled,
        patients: task.labelled,
        own_folds: None,
        shape: task.shape,
        spacing_mm: task.spacing_mm,
        scaling: vec![scaling; task.modality.len()],
        group: None,
        partly_read: None,
    }
}

fn unknown(source: &str) -> Error {
    let path = Path::new(source);
    if path.is_file() {
        let why =
            foreign(source).unwrap_or_else(|| "name the folder that the images lie in".into());
        return Error::usage(format!("'{source}' is a file: {why}"));
    }
    if source.contains('/') || source.starts_with('~') {
        return Error::usage(format!("'{source}': there is no such folder{}", tilde(path)));
    }
    let hint = match nearest(source, tasks::TASKS.iter().map(tasks::DecathlonTask::word)) {
        Some(word) => format!("did you mean '{}'?", word.to_lowercase()),
        None => "'voxflow new' without a name lists the tasks".to_string(),
    };
    Error::usage(format!("'{source}' is neither a folder nor a task of the Decathlon: {hint}"))
}
