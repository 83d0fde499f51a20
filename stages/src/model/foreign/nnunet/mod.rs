//! A results folder of nnU-Net v2 as the parameters of `import`: `plans.json` and `dataset.json`
//! with `fold_*/checkpoint_*.pth` below.
//!
//! nnU-Net's arrays are z, y, x of the files, transposed by its plans; a prepared volume's are x,
//! y, z. Everything that is given for each axis is turned here, and [`NnunetModel::kernel_axes`]
//! tells how kernels are.

mod checkpoint;
mod network;
mod plans;

use crate::dataset::region::Region;
use crate::dataset::{Listing, document, nnunet};
use crate::error::{Error, Result, Trouble};
use crate::image::Preparation;
use crate::model::Network;
use crate::model::inference::{Average, Blend, Flips, Inference, Placement};
use checkpoint::NnunetCheckpoint;
use plans::Plans;
use std::path::{Path, PathBuf};

/// The share by which nnU-Net's windows overlap at least (`tile_step_size`).
const OVERLAP: f64 = 0.5;

/// A folder that nnU-Net's trainer wrote, `nnUNetTrainer__nnUNetPlans__3d_fullres`, say.
#[derive(Debug)]
pub struct ResultsFolder {
    folder: PathBuf,
    plans: Plans,
    dataset: Listing,
}

/// The parameters of `import` for a model.
#[derive(Clone, Debug, PartialEq)]
pub struct NnunetModel {
    /// The checkpoint.
    pub file: PathBuf,
    /// For each of x, y and z the axis of the file's kernels.
    pub kernel_axes: [usize; 3],
    /// The network.
    pub network: Network,
    /// The image channels.
    pub modality: Vec<String>,
    /// The names of the labels 1, 2 and so on.
    pub labels: Vec<String>,
    /// The network's outputs, where they are unions of labels.
    pub regions: Vec<Region>,
    /// The preparation of images.
    pub preprocess: Preparation,
    /// Windows and flips, as `nnUNetv2_predict` has them.
    pub inference: Inference,
    /// The dataset's name.
    pub dataset: String,
    /// The trainer's class, by which a network may be another than its plans say.
    pub trainer: String,
}

impl ResultsFolder {
    /// True for a folder with `plans.json`.
    pub fn is_at(folder: &Path) -> bool {
        folder.join("plans.json").is_file()
    }

    /// Reads the two descriptions.
    pub fn open(folder: &Path) -> Result<ResultsFolder> {
        let [plans, dataset] = ["plans.json", "dataset.json"].map(|name| folder.join(name));
        let plans = Plans::read(&document::bytes(&plans)?).trouble_at(&plans)?;
        let dataset = nnunet::head(&document::bytes(&dataset)?).trouble_at(&dataset)?;
        Ok(ResultsFolder { folder: folder.into(), plans, dataset })
    }

    /// The folds with this checkpoint ("final", "best"): "0" to "4", or "all"; sorted.
    pub fn folds(&self, checkpoint: &str) -> Result<Vec<String>> {
        let entries = std::fs::read_dir(&self.folder).map_err(Error::io("list", &self.folder))?;
        let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
        let mut folds: Vec<String> = names
            .filter_map(|name| name.strip_prefix("fold_").map(str::to_string))
            .filter(|fold| self.checkpoint(fold, checkpoint).is_file())
            .collect();
        folds.sort();
        if folds.is_empty() {
            return Err(Error::failed(format!(
                "'{}' has no fold_*/checkpoint_{checkpoint}.pth; copy the folder of a fold that was \
                 trained to its end, or take '--checkpoint best'",
                self.folder.display()
            )));
        }
        Ok(folds)
    }

    fn checkpoint(&self, fold: &str, checkpoint: &str) -> PathBuf {
        self.folder.join(format!("fold_{fold}")).join(format!("checkpoint_{checkpoint}.pth"))
    }

    /// The model of a fold. Errors name what nnU-Net offers and this program does not.
    pub fn model(&self, fold: &str, checkpoint: &str) -> Result<NnunetModel> {
        let file = self.checkpoint(fold, checkpoint);
        let NnunetCheckpoint { configuration, trainer, mirroring_axes } =
            NnunetCheckpoint::read(&file).trouble_at(&file)?;
        let at = || format!("{}, '{configuration}'", self.folder.join("plans.json").display());
        let plan = self.plans.configuration(&configuration).trouble(at())?;
        let axes = self.plans.axes();
        let preprocess = Preparation {
            orientation: self.plans.orientation().trouble(at())?,
            spacing: Some(plan.spacing(axes)),
            intensity: self.plans.intensities(&plan).trouble(at())?,
            crop_foreground: false,
            crop_margin: 0,
            crop_nonzero: true,
            resampling: Some(plan.resampling().trouble(at())?),
            mark_outside: false,
        };
        Ok(NnunetModel {
            file,
            kernel_axes: axes,
            network: network::network(&plan.fields, axes).trouble(at())?,
            modality: self.dataset.modality.clone(),
            labels: self.labels()?,
            regions: self.dataset.regions.clone(),
            inference: Inference {
                roi: Some(plan.patch(axes)),
                overlap: OVERLAP,
                blend: Blend::GaussianNnunet,
                placement: Placement::Even,
                average: Average::Logits,
                flips: flips(&mirroring_axes, axes),
                ..Inference::default()
            },
            preprocess,
            dataset: self.plans.dataset_name.clone(),
            trainer,
        })
    }

    /// The names of the labels 1, 2 and so on; nnU-Net's are without gaps.
    fn labels(&self) -> Result<Vec<String>> {
        let labels = &self.dataset.labels;
        if labels.iter().map(|label| usize::from(label.value)).eq(1..=labels.len()) {
            return Ok(labels.iter().map(|label| label.name.clone()).collect());
        }
        Err(Error::failed("dataset.json: labels must be 1, 2 and so on, without gaps"))
    }
}

/// The flips that a network was trained with, along x, y and z.
fn flips(mirroring_axes: &[usize], axes: [usize; 3]) -> Flips {
    let flipped: Vec<usize> = (0..3).filter(|axis| mirroring_axes.contains(&axes[*axis])).collect();
    match flipped.len() {
        0 => Flips::All(false),
        3 => Flips::All(true),
        _ => Flips::Axes(flipped),
    }
}
