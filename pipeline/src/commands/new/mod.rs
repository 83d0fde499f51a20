//! `voxflow new`: writes a commented workflow for a task of the Decathlon, or for a folder of
//! images and labels that it looks into.
//!
//! `tasks` is what is known of the ten tasks, `look` what a folder shows, `layout` how a folder
//! without a listing is understood, `voxels` what its voxels say, `shown` how it was read, for
//! people, `advice` how settings follow from all this, `draft` the text.

mod advice;
mod draft;
mod layout;
mod look;
mod shown;
mod tasks;
mod voxels;

use super::{answer, answer_data, tell};
use crate::error::{Error, Exit, Result};
use crate::workflow::{Diagnostic, Workflow, nearest};
use clap::Args;
use draft::{Data, Scaling, Source};
use std::path::{Path, PathBuf};
use voxflow_cache::disk::FileWriter;
use voxflow_stages::dataset::foreign::{foreign, tilde};
use voxflow_stages::kinds::KINDS;

/// The data and the target of the workflow.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  voxflow new spleen                    # a task of the Medical Segmentation Decathlon, downloaded when run
  voxflow new ~/data/Task09_Spleen      # a folder in Decathlon or nnU-Net layout
  voxflow new ~/data/livers -o liver.yaml  # any other folder with images and labels
  voxflow new Task04_Hippocampus.tar    # a task's archive that you have

Images and labels are found in two folders, in one folder a case (with several files a case: its
channels), side by side (a.nii.gz and a_seg.nii.gz), and in BIDS, by their names and, in doubt, by their
voxels. How the folder was read is shown, with what is not used. Headers are read for voxel sizes, images
of up to ten cases for values, labels for the values in them. Grid, patch and window follow as the
comments in the file say. What is written is a beginning, to be changed.")]
pub struct New {
    /// A Decathlon task (spleen, Task09_Spleen, 9) or a folder; without one, the tasks are listed
    #[arg(value_name = "TASK|FOLDER")]
    pub source: Option<String>,
    /// The file to write; by default NAME.yaml here. An existing file is not replaced
    #[arg(long, short, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

impl New {
    /// Writes the workflow, and its path on stdout.
    pub fn run(&self) -> Result<Exit> {
        let Some(source) = &self.source else {
            answer(&tasks::listed())?;
            return Ok(Exit::Done);
        };
        let data = data(source)?;
        let out = self.out.clone().unwrap_or_else(|| PathBuf::from(format!("{}.yaml", data.name)));
        let text = draft::draft(&data, &out);
        // What is written is held to the same rules as what a person writes.
        workflow(&text, &out)
            .map_err(|mistakes| Error::Failed(format!("the draft is wrong: {mistakes:?}")))?;
        let mut file = FileWriter::create_new(&out).map_err(|error| match error.io_kind() {
            Some(std::io::ErrorKind::AlreadyExists) => {
                Error::usage(format!("'{}' exists: name another file with --out", out.display()))
            }
            _ => error.into(),
        })?;
        file.write_bytes(text.as_bytes())?;
        let shown = out.display();
        tell(&format!(
            "{}\nnext: voxflow check {shown}; voxflow plan {shown}; voxflow run {shown}",
            data.sentence()
        ));
        answer_data(&format!("{shown}\n"))?;
        Ok(Exit::Done)
    }
}

/// Reads a draft as `voxflow run` will.
fn workflow(text: &str, file: &Path) -> std::result::Result<Workflow, Vec<Diagnostic>> {
    Workflow::parse(&file.display().to_string(), text.as_bytes(), &[], KINDS, &|_| None)
}

fn data(source: &str) -> Result<Data> {
    let path = Path::new(source);
    if path.is_dir() {
        return look::look(path);
    }
    if path.file_name().is_some_and(|name| name == "dataset.json") && path.is_file() {
        return look::look(path.parent().filter(|p| p != &Path::new("")).unwrap_or(Path::new(".")));
    }
    if let Some(task) = tasks::find(source) {
        return Ok(of_task(task, None));
    }
    let stem = path.file_name().and_then(|name| name.to_str()).map(|name| {
        [".tar.gz", ".tgz", ".tar"].iter().find_map(|ending| name.strip_suffix(ending))
    });
    match stem.flatten() {
        Some(stem) if path.is_file() => match tasks::find(stem) {
            Some(task) => Ok(of_task(task, Some(path.to_path_buf()))),
            None => Err(Error::usage(format!(
                "'{source}' is an archive: unpack it, and name the folder"
            ))),
        },
        _ => Err(unknown(source)),
    }
}

/// The data of a Decathlon task, downloaded or from a local archive.
fn of_task(task: &'static tasks::Task, archive: Option<PathBuf>) -> Data {
    let scaling = task.window.map_or(Scaling::Zscore, Scaling::Window);
    Data {
        name: task.word().to_lowercase(),
        title: format!("{} (Medical Segmentation Decathlon, Task{:02})", task.word(), task.number),
        source: Source::Task(task, archive),
        modality: task.modality.iter().map(|name| name.to_string()).collect(),
        labels: task.labels.iter().map(|name| name.to_string()).collect(),
        labelled: task.labelled,
        unlabelled: task.unlabelled,
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
    let hint = match nearest(source, tasks::TASKS.iter().map(tasks::Task::word)) {
        Some(word) => format!("did you mean '{}'?", word.to_lowercase()),
        None => "'voxflow new' without a name lists the tasks".to_string(),
    };
    Error::usage(format!("'{source}' is neither a folder nor a task of the Decathlon: {hint}"))
}
