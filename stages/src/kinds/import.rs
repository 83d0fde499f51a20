//! `import`: a model of another program's weights, complete in itself.

use crate::context::Context;
use crate::dataset::{Label, Region, name, region};
use crate::error::{Error, Result, Trouble};
use crate::image::Preparation;
use crate::kind::Run;
use crate::model::description::TrainingSummary;
use crate::model::foreign::{self, Foreign};
use crate::model::{Inference, Mistake, ModelCard, Network, Weights, mistake, weights};
use crate::stage::{ArtifactType, Count, Pool, Read, Stage};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use voxflow_cache::disk;

/// Makes a model from another program's weights: PyTorch's .pt and .pth (a state_dict),
/// TorchScript, or safetensors, under the parameter names of MONAI's UNet or nnU-Net's networks.
/// Nothing in the file is run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Import {
    /// The file with the weights; left out with 'needed_file'.
    #[serde(default)]
    pub file: Option<PathBuf>,
    /// The name of the file with the weights among those of the stage in 'needs', as {weights.pt}
    /// of a 'command' that trains.
    #[serde(default)]
    #[schemars(extend("x-neutral" = null))]
    pub needed_file: Option<String>,
    /// Keys of nested dictionaries that lead to the weights, joined by a slash ("ema/model"); null
    /// looks under the usual ones (state_dict, model, network, …).
    #[serde(default)]
    pub under: Option<String>,
    /// The axes of the file's kernels (0, 1, 2) that are x, y and z here: [2, 1, 0] for nnU-Net,
    /// whose arrays are z, y, x; null takes them as they are.
    #[serde(default)]
    #[schemars(extend("x-neutral" = null))]
    pub kernel_axes: Option<[usize; 3]>,
    /// The network that the weights are of.
    #[serde(default)]
    pub network: Network,
    /// The names of the image channels ("CT", "MRI"), in the order of the network's inputs.
    pub modality: Vec<String>,
    /// The names of the labels 1, 2 and so on: the network's outputs after the background.
    pub labels: Vec<String>,
    /// Regions of these labels that are the network's outputs instead, as 'train' has them.
    #[serde(default)]
    #[schemars(extend("x-neutral" = []))]
    pub regions: Vec<Region>,
    /// Preparation of images for the network: the parameters of 'preprocess'.
    pub preprocess: Preparation,
    /// Sliding-window inference; 'roi' must be given.
    pub inference: Inference,
    /// The name of the dataset that the network was trained on.
    #[serde(default = "unknown")]
    pub dataset: String,
}

/// The role of a stage that makes the weights.
const FILES: &str = "files";

fn unknown() -> String {
    "unknown".into()
}

impl Stage for Import {
    const NAME: &'static str = "import";
    const VERSION: u32 = 1;
    const READS: &'static [Read] = &[Read {
        role: FILES,
        artifact: ArtifactType::Files,
        parts: &[""],
        count: Count::Optional,
        doc: "files of a program, with the weights among them",
    }];
    const MAKES: ArtifactType = ArtifactType::Model;
    const LOCATORS: &'static [&'static str] = &["file"];
    const POOL: Pool = Pool::Io;

    fn check(&self) -> Vec<Mistake> {
        let mut mistakes = self.network.check("network");
        if mistakes.is_empty() {
            mistakes.extend(self.inference.check_roi(&self.network, "inference"));
        }
        let preprocess = self.preprocess.check().into_iter();
        mistakes.extend(preprocess.map(|(path, trouble)| (format!("preprocess.{path}"), trouble)));
        mistakes.extend(self.inference.check_outside_training("inference"));
        mistakes.extend(region::check(&self.regions, "regions"));
        let values: Vec<u8> = self.labels().iter().map(|label| label.value).collect();
        if let Err(error) = region::check_against(&self.regions, &values) {
            mistakes.push(("regions".into(), error.to_string()));
        }
        let own = [
            mistake(
                self.inference.roi.is_none(),
                "inference.roi",
                "is missing: the file does not say its window",
            ),
            mistake(self.modality.is_empty(), "modality", "must name the image channels, as [CT]"),
            mistake(
                !(1..=255).contains(&self.labels.len()),
                "labels",
                "must name 1 to 255 labels, as [spleen]",
            ),
        ];
        mistakes.extend(own.into_iter().flatten());
        if let Some(mut axes) = self.kernel_axes {
            axes.sort_unstable();
            let words = "must hold 0, 1 and 2, each once";
            mistakes.extend(mistake(axes != [0, 1, 2], "kernel_axes", words));
        }
        if let Err(error) = self.preprocess.intensity.for_channels(self.modality.len()) {
            mistakes.push(("preprocess.intensity".into(), error.to_string()));
        }
        mistakes
    }

    fn check_roles(&self, roles: &[&str]) -> Vec<Mistake> {
        let found = match (&self.file, &self.needed_file, roles.contains(&FILES)) {
            (Some(_), None, false) | (None, Some(_), true) => None,
            (Some(_), _, true) => mistake(
                true,
                "file",
                "stands beside a stage in 'needs'; write 'needed_file' instead",
            ),
            (_, Some(_), false) => {
                mistake(true, "needed_file", "is a file of a stage; name that stage among 'needs'")
            }
            (None, None, true) => mistake(
                true,
                "needed_file",
                "is missing: name the file with the weights, as weights.pt",
            ),
            (None, None, false) => mistake(true, "file", "is missing: the file with the weights"),
        };
        found.into_iter().collect()
    }

    fn local_files(&self) -> Result<BTreeMap<String, PathBuf>> {
        Ok(self.file.iter().map(|file| ("file".to_string(), file.clone())).collect())
    }
}

impl Run for Import {
    fn run(&self, cx: &Context) -> Result<()> {
        let (path, name) = self.weights(cx)?;
        let packed = self.packed(cx, &path).trouble(name)?;
        for which in [Weights::Best, Weights::Last] {
            write(&cx.create(which.file())?, &packed)?;
        }
        cx.create_json("model.json", &self.card())
    }
}

impl Import {
    /// The path of the file with the weights, and its name in messages.
    fn weights(&self, cx: &Context) -> Result<(PathBuf, String)> {
        if let Some(path) = &self.file {
            return Ok((path.clone(), path.display().to_string()));
        }
        let (input, name) = (cx.input(FILES)?, self.needed_file.clone().unwrap_or_default());
        match input.path(&name) {
            Ok(path) => Ok((path.to_path_buf(), format!("'{name}' of stage '{}'", input.stage))),
            Err(error) => {
                let names: Vec<&String> = input.files.keys().collect();
                Err(Error::failed(format!("{error}, but {}", name::few(&names, 5))))
            }
        }
    }

    /// The file's weights as safetensors.
    fn packed(&self, cx: &Context, path: &Path) -> Result<Vec<u8>> {
        let map = foreign::mapped(path)?;
        let mut foreign = Foreign::open(&map, self.under.as_deref())?;
        if let Some(axes) = self.kernel_axes {
            foreign.turn_kernels(axes);
        }
        let outputs = self.card().outputs();
        let wanted = self.network.graph(self.modality.len(), outputs).tensors();
        let named = weights::of_foreign(&foreign, wanted)?;
        let under = if foreign.place.is_empty() {
            String::new()
        } else {
            format!(" under '{}'", foreign.place)
        };
        cx.info(format!("{} tensors{under} of a {}", foreign.views.len(), foreign.form));
        weights::pack(&named)
    }

    fn labels(&self) -> Vec<Label> {
        let numbered = (1..=u8::MAX).zip(&self.labels);
        numbered.map(|(value, name)| Label { value, name: name.clone() }).collect()
    }

    fn card(&self) -> ModelCard {
        ModelCard {
            format: 1,
            dataset: self.dataset.clone(),
            modality: self.modality.clone(),
            labels: self.labels(),
            regions: self.regions.clone(),
            preparation: self.preprocess.clone(),
            network: self.network.clone(),
            inference: self.inference.clone(),
            keep_largest: vec![],
            members: vec![],
            training: TrainingSummary::default(),
            provenance: None,
        }
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    Ok(disk::write(path, bytes)?)
}
