//! The parameters of a command.

use crate::stage::ArtifactType;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Runs a program of your own, such as a script, a converter or another training; docs/command.md
/// explains it. The stages in 'needs' may be of any type: each has the role that a mapping gives
/// it, or, in a list, the name of its type.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// The program and its arguments, a word each; no shell reads them. `${inputs.ROLE}`,
    /// `${output}`, `${params.NAME}`, `${scripts.NAME}`, `${threads}`, `${device}`, `${seed}` and
    /// others are filled in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub run: Vec<String>,
    /// A line for `sh -eu` in place of 'run'. The same names are filled in, in quotes; any other
    /// dollar sign is the shell's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shell: Option<String>,
    /// The type of artifact that it writes.
    #[serde(default)]
    pub makes: Makes,
    /// `case` runs the program once for each case of the role `dataset`, several at once, and
    /// keeps each case's result by itself. Otherwise it runs once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub each: Option<Each>,
    /// Local files and folders that the program consists of, each under a name; their content is
    /// part of the fingerprint, their place is not.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub scripts: BTreeMap<String, PathBuf>,
    /// A container in which it runs: `docker://NAME@sha256:DIGEST` with Podman, Docker or
    /// Apptainer, `docker://sha256:ID` with an image that is on this machine, or the path of an
    /// Apptainer file (.sif). The digest, or the file's content, is part of the fingerprint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-neutral" = null))]
    pub container: Option<String>,
    /// Lets the program in a container use the network.
    #[serde(default)]
    #[schemars(extend("x-neutral" = false))]
    pub network: bool,
    /// Shows the graphics cards to the program in a container.
    #[serde(default)]
    pub gpu: bool,
    /// Parameters of the program.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, Value>,
    /// The parts of an input that the program reads, as {data: [dataset.json, imagesTr/]}; a name
    /// that ends in a slash is all below it. An input without parts is read whole.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parts: BTreeMap<String, Vec<String>>,
    /// Any word; another one makes the stage again. For programs whose files are not among
    /// 'scripts'.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// A number for the program's random draws.
    #[serde(default)]
    pub seed: u64,
    /// Variables of the program's environment.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// Names of further variables that pass from your environment to the program's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pass_environment: Vec<String>,
    /// Hours after which it is ended; with 'each: case', for each case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_hours: Option<f64>,
    /// Memory in GiB at which it is ended, together with all processes that it starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_gib: Option<f64>,
    /// Processes at once at which it is ended.
    #[serde(default = "max_processes")]
    pub max_processes: u32,
    /// Output in MiB at which it is ended. All of it is kept in the log.
    #[serde(default = "max_output_mib")]
    pub max_output_mib: f64,
}

fn max_processes() -> u32 {
    1000
}

fn max_output_mib() -> f64 {
    64.0
}

/// Types of artifacts that a program may write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Makes {
    /// Any files.
    #[default]
    Files,
    /// Images and labels: `dataset.json` in the Decathlon's or nnU-Net's layout, or as it lies in
    /// an input of that type, with its files. With 'each: case', `${output.image}` and
    /// `${output.label}` alone.
    Dataset,
    /// `volumes.json` with the files of 'preprocess'.
    Volumes,
    /// `model.json`, `best.safetensors` and `last.safetensors`. Other weights become a model by
    /// 'import'.
    Model,
    /// `scores.json`.
    Scores,
    /// `predictions/<case>.nii.gz`; with 'each: case', `${output.label}`.
    Predictions,
}

impl Makes {
    pub(super) fn artifact(self) -> ArtifactType {
        match self {
            Makes::Files => ArtifactType::Files,
            Makes::Dataset => ArtifactType::Dataset,
            Makes::Volumes => ArtifactType::Volumes,
            Makes::Model => ArtifactType::Model,
            Makes::Scores => ArtifactType::Scores,
            Makes::Predictions => ArtifactType::Predictions,
        }
    }
}

/// Units for which a program runs singly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Each {
    /// Each case of the dataset.
    Case,
}

/// The role with the cases for `each: case`.
pub(super) const DATASET: &str = "dataset";

/// The items: a program's result for a case, in the folder [`MADE`].
pub(super) const CASE: &str = "case";
pub(super) const MADE: &str = "made";
