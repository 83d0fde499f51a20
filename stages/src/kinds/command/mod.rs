//! `command`: any program as a stage.
//!
//! `template` and `variables` fill words in, `workplace` has the folders, `invocation` runs the
//! program once, `whole` and `cases` once or for each case; `made` checks its files, `ending` and
//! `metrics_file` read what it told. The program itself is run by the host, under its limits.

mod cases;
mod check;
mod ending;
mod invocation;
mod made;
mod metrics_file;
mod template;
mod variables;
mod whole;
mod workplace;

use crate::context::Context;
use crate::dataset::name;
use crate::dataset::tree::Tree;
use crate::error::{Error, Result};
use crate::kind::Run;
use crate::model::Mistake;
use crate::stage::{ArtifactType, Demand, Items, Pool, Read, Stage, Yields};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Runs a program of your own, such as a script, a converter or another training; docs/command.md
/// explains it. The stages in 'needs' may be of any type: each has the role that a mapping gives it,
/// or, in a list, the name of its type.
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
    fn artifact(self) -> ArtifactType {
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
const DATASET: &str = "dataset";

/// The items: a program's result for a case, in the folder [`MADE`].
const CASE: &str = "case";
const MADE: &str = "made";

impl Stage for Command {
    const NAME: &'static str = "command";
    const VERSION: u32 = 1;
    const READS: &'static [Read] = &[];
    const MAKES: ArtifactType = ArtifactType::Files;
    const LOCATORS: &'static [&'static str] =
        &["scripts", "pass_environment", "max_hours", "max_gib", "max_processes", "max_output_mib"];
    const ITEMS: &'static [Items] = &[Items { what: CASE, reads: DATASET, holds: &[MADE] }];
    const POOL: Pool = Pool::Cpu;
    const DEMAND: Demand = Demand::VOLUMES;
    const YIELDS: Yields = Yields::OtherScores;
    const RUNS_PROGRAM: bool = true;
    const TEMPLATES: &'static [&'static str] = &["run", "shell"];

    fn makes_by(params: &Value) -> Option<ArtifactType> {
        let makes = params.get("makes").filter(|makes| !makes.is_null());
        let makes = makes.map_or(Ok(Makes::default()), Makes::deserialize);
        makes.ok().map(Makes::artifact)
    }

    fn items_by(params: &Value) -> &'static [Items] {
        if params.get("each").is_some_and(|each| !each.is_null()) { Self::ITEMS } else { &[] }
    }

    fn parts_of(&self, role: &str) -> Vec<String> {
        self.parts.get(role).cloned().unwrap_or_else(|| vec![String::new()])
    }

    fn check(&self) -> Vec<Mistake> {
        check::parameters(self)
    }

    fn check_roles(&self, roles: &[&str]) -> Vec<Mistake> {
        check::roles(self, roles)
    }

    fn local_files(&self) -> Result<BTreeMap<String, PathBuf>> {
        if let Some(word) = self.run.iter().find(|word| is_local(word)) {
            return Err(Error::failed(format!(
                "run: '{word}' is a local file whose content the fingerprint would not have; give \
                 it a name among 'scripts' and write ${{scripts.NAME}} in its place"
            )));
        }
        let mut files = BTreeMap::new();
        for (name, path) in &self.scripts {
            match path.is_dir() {
                true => files.extend(files_below(name, path)?),
                false => drop(files.insert(name.clone(), path.clone())),
            }
        }
        Ok(files)
    }
}

impl Run for Command {
    fn run(&self, cx: &Context) -> Result<()> {
        match self.each {
            None => whole::run(self, cx),
            Some(Each::Case) => cases::run(self, cx),
        }
    }
}

/// True for a word that names a file by a relative path, as `tools/smooth.py` or `smooth.py`.
fn is_local(word: &str) -> bool {
    let is_path = word.contains(['/', '.']) && !word.starts_with('/') && !word.contains("${");
    is_path && Path::new(word).is_file()
}

/// The files of a folder among the scripts, without hidden ones and Python's own caches.
fn files_below(name: &str, folder: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let tree = Tree::of(folder)?;
    let images =
        tree.images().flat_map(|file| name::data_of(file).into_iter().chain([file.into()]));
    let files = images.chain(tree.others().map(String::from));
    let files = files.filter(|file| !file.split('/').any(|part| part == "__pycache__"));
    Ok(files.map(|file| (format!("{name}/{file}"), folder.join(file))).collect())
}
