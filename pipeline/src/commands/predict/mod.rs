//! `voxflow predict`: segments images with trained models, without workflow or store.
//!
//! Runs the kind `predict` in the usual worker; only input selection (`images`) and output
//! (`output_host`) differ.

mod channels;
mod images;
mod likeness;
mod output_host;
mod window_notes;

use super::exec_args::device;
use super::model::{self, Ensemble};
use super::tell;
use crate::error::{Error, Exit, Result};
use crate::executor::{Executor, Local, ProgramsUsage, StageOrder, child};
use crate::globals::Globals;
use crate::stop::Stop;
use crate::workflow::stage_resources::StageResources;
use crate::{humanize, machine};
use clap::Args;
use images::{ImageCase, Images};
use likeness::Likeness;
use output_host::OutputHost;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;
use voxflow_cache::{Recipe, disk};
use voxflow_stages::image::Geometry;
use voxflow_stages::model::ModelCard;
use voxflow_stages::{Input, Kind, Task};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  voxflow predict --model latest scan.nii.gz --out labels
  voxflow predict --model demo/model --model 77ffee imagesTs/ --out labels --flips
  voxflow predict --model sweep imagesTs/ --out labels
  voxflow predict --model brain flair.nii.gz,t1.nii.gz,t1gd.nii.gz,t2.nii.gz --out labels

A label map has its image's grid and name, and its place below the folder that was named; for
nnU-Net's a_0000.nii.gz it is a.nii.gz. Files in folders named like labels (a_seg.nii.gz,
labels/a.nii.gz) are left out. Images are preprocessed as the model demands; one whose voxel size,
extent or intensities are far from those of the training cases is warned of. All images are tried;
failures are listed at the end, with exit code 1.")]
pub struct PredictArgs {
    /// NIfTI files, or folders searched recursively; one image's channels are joined by commas, or
    /// named a_0000, a_0001 in a folder
    #[arg(value_name = "IMAGE", required = true)]
    pub images: Vec<String>,
    /// A run (id, prefix, latest), a stage (RUN/STAGE), or a folder with model.json; a sweep (its
    /// id, or 'sweep' for the newest) for all folds and seeds of its best variant; if several, the
    /// models' probabilities are averaged
    #[arg(long = "model", short, value_name = "RUN_OR_FOLDER", required = true)]
    pub models: Vec<String>,
    /// Output folder; existing files are replaced
    #[arg(long, short, value_name = "DIR")]
    pub out: PathBuf,
    /// Also write NAME_probabilities.nii.gz with class probabilities, background first
    #[arg(long)]
    pub probabilities: bool,
    /// Average over all eight flips (test-time augmentation): often slightly better, eight times
    /// slower
    #[arg(long)]
    pub flips: bool,
    /// Weights to use
    #[arg(long, default_value = "best", value_parser = ["best", "last"])]
    pub weights: String,
    /// The numbers that the networks compute in: fp32, tf32, bf16 or fp16; by default those that
    /// the model says (fp32, unless its training named others)
    #[arg(long, value_name = "PRECISION", value_parser = ["fp32", "tf32", "bf16", "fp16"])]
    pub precision: Option<String>,
    /// Device: auto, cpu, cuda or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto", value_parser = device)]
    pub device: String,
    /// Threads; one per core by default
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
}

impl PredictArgs {
    pub fn run(&self, globals: &Globals) -> Result<Exit> {
        let home = globals.home();
        let found = self
            .models
            .iter()
            .map(|name| model::ensemble(&home, name))
            .collect::<Result<Vec<Ensemble>>>()?;
        let chosen: Vec<String> = found.iter().filter_map(|found| found.note.clone()).collect();
        let models: Vec<Input> = found.into_iter().flat_map(|found| found.models).collect();
        let card: ModelCard = models
            .first()
            .map(|model| model.json("model.json"))
            .transpose()?
            .ok_or_else(nothing)?;
        let Images { cases, notes } = Images::of(&self.images, &card.modality, &self.out)?;
        cases.iter().try_for_each(|case| case.spare(&self.out))?;
        if !globals.quiet {
            chosen.iter().chain(&notes).for_each(|note| tell(note));
        }
        let trouble = child::trouble().or_else(|| crate::device::trouble(&self.device));
        trouble.map_or(Ok(()), |trouble| Err(Error::Usage(trouble)))?;
        let stop = Stop::default();
        stop.listen()?;
        disk::create_folders(&self.out)?;
        let desk = tempfile::Builder::new().prefix(".voxflow-").tempdir_in(&self.out);
        let desk = desk.map_err(Error::io("create a folder in", &self.out))?;
        let task = self.task(models, images::dataset(&cases, &card, desk.path())?, desk.path())?;
        let trained: Vec<Geometry> =
            self.models.iter().flat_map(|name| model::trained_on(&home, name)).collect();
        let images = (&cases[..], &Likeness::of(&card, &trained));
        self.segment(&task, desk.path(), images, globals, &stop)
    }

    fn task(&self, models: Vec<Input>, images: Input, desk: &Path) -> Result<Task> {
        let kind = Kind::named("predict").ok_or_else(nothing)?;
        let wanted = json!({
            "cases": "all", "probabilities": self.probabilities, "flips": self.flips,
            "weights": self.weights, "precision": self.precision,
        });
        let params =
            kind.understand(&wanted).map_err(|mistakes| Error::usage(format!("{mistakes:?}")))?;
        Ok(Task {
            stage: "predict".into(),
            recipe: Recipe {
                kind: kind.name.into(),
                version: kind.version,
                params: params.clone(),
                inputs: BTreeMap::new(),
            },
            params,
            inputs: BTreeMap::from([("dataset".into(), vec![images]), ("model".into(), models)]),
            draft: folder(desk, "draft")?,
            unfinished: desk.join("unfinished"),
            device: self.device.clone(),
            threads: self.threads.map_or_else(machine::cores, usize::from),
            ranks: 1,
        })
    }

    fn segment(
        &self,
        task: &Task,
        desk: &Path,
        (cases, likeness): (&[ImageCase], &Likeness),
        globals: &Globals,
        stop: &Stop,
    ) -> Result<Exit> {
        let started = Instant::now();
        let log =
            tempfile::NamedTempFile::new().map_err(Error::io("create", std::env::temp_dir()))?;
        let images = cases.len();
        let delivery = OutputHost::new(&self.out, desk, stop, (cases, likeness), globals.quiet);
        let order = StageOrder {
            kind: Kind::named(&task.recipe.kind).ok_or_else(nothing)?,
            task,
            workdir: &|| Ok(desk.to_path_buf()),
            log: log.path(),
            gpus: 1,
            asked: &StageResources::default(),
            last_peak: None,
            programs: &ProgramsUsage::default(),
            keep_item: &|_| Ok(()),
        };
        let outcome = Local::on(&self.device).make(&order, &delivery, stop);
        // An error that names the log needs it.
        if let Err(error) = &outcome
            && error.to_string().contains(&log.path().display().to_string())
        {
            log.keep().ok();
        }
        if !globals.quiet {
            let time = humanize::duration(started.elapsed().as_secs_f64());
            let all = humanize::count(images as u64, "image");
            let (done, out) = (delivery.done(), self.out.display());
            tell(&format!("{done} of {all} in {time}, in '{out}'"));
        }
        exit_of(outcome.map(drop), delivery.done() >= images)
    }
}

fn exit_of(outcome: voxflow_stages::Result<()>, all_done: bool) -> Result<Exit> {
    match outcome {
        Ok(()) if all_done => Ok(Exit::Done),
        Ok(()) => Err(Error::Failed("the worker ended before all images were done".into())),
        Err(voxflow_stages::Error::Stopped) => Ok(Exit::Interrupted),
        Err(error) => Err(error.into()),
    }
}

fn folder(desk: &Path, name: &str) -> Result<PathBuf> {
    let folder = desk.join(name);
    disk::create_folder(&folder)?;
    Ok(folder)
}

/// For cases excluded by clap's rules.
fn nothing() -> Error {
    Error::usage("--model: no model was given")
}
