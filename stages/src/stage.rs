//! The stage contract: parameters as plain data, the roles read, the artifact made.

use crate::dataset::Listing;
use crate::disk_space::Upstream;
use crate::error::Result;
use crate::foresight::Foresight;
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// Types of artifacts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ArtifactType {
    /// One packed file: `archive`.
    Archive,
    /// Images and labels with `dataset.json`, the listing ([`crate::dataset::Listing`]).
    Dataset,
    /// `split.json`: each case's part.
    Split,
    /// `dataset_fingerprint.json`: shapes, voxel sizes and intensities of cases.
    Statistics,
    /// Preprocessed volumes: `volumes.json` and `<case>/{image,label}.nii`, `<case>/geometry.json`.
    Volumes,
    /// Volumes joined with their split: `{training,validation,testing,unlabelled}/…`.
    Cache,
    /// A trained network, complete in itself: `model.json`, `best.safetensors`, `last.safetensors`.
    /// Of an ensemble `model.json`, with these three in a folder for each member.
    Model,
    /// Scores per case: `scores.json`; of a test also `predictions/<case>.nii.gz`, and
    /// `pictures.json` with `pictures/<rank>-<plane>.png`.
    Scores,
    /// A fold's validation cases in the images' own space: `out_of_fold.json`, `scores.json`,
    /// `predictions/<case>.nii.gz`, `references/<case>.nii.gz` and, where written,
    /// `probabilities/<case>.nii.gz`.
    OutOfFold,
    /// Label maps in the images' own space: `predictions/<case>.nii.gz`, `predictions.json`, and
    /// `probabilities/<case>.nii.gz` where written.
    Predictions,
    /// A model written for another program.
    Export,
    /// Any files, as a program of the person's own wrote them.
    Files,
}

impl ArtifactType {
    /// The type in words: "a model", "volumes".
    pub const fn words(self) -> &'static str {
        match self {
            ArtifactType::Archive => "an archive",
            ArtifactType::Dataset => "a dataset",
            ArtifactType::Split => "a split",
            ArtifactType::Statistics => "statistics",
            ArtifactType::Volumes => "volumes",
            ArtifactType::Cache => "a cache",
            ArtifactType::Model => "a model",
            ArtifactType::Scores => "scores",
            ArtifactType::OutOfFold => "out-of-fold scores",
            ArtifactType::Predictions => "predictions",
            ArtifactType::Export => "an export",
            ArtifactType::Files => "files",
        }
    }

    /// The type in one word: "model", "volumes".
    pub fn name(self) -> &'static str {
        self.words().rsplit(' ').next().unwrap_or_default()
    }

    /// Files required in an artifact of this type. A name ending in a slash stands for any file
    /// below it, an empty name for any file.
    pub const fn holds(self) -> &'static [&'static str] {
        match self {
            ArtifactType::Archive => &["archive"],
            ArtifactType::Dataset => &["dataset.json"],
            ArtifactType::Split => &["split.json"],
            ArtifactType::Statistics => &["dataset_fingerprint.json"],
            ArtifactType::Volumes => &["volumes.json"],
            ArtifactType::Cache => &[
                "training/part.json",
                "validation/part.json",
                "testing/part.json",
                "unlabelled/part.json",
            ],
            ArtifactType::Model => &["model.json", "best.safetensors", "last.safetensors"],
            ArtifactType::Scores => &["scores.json"],
            ArtifactType::OutOfFold => {
                &["out_of_fold.json", "scores.json", "predictions/", "references/"]
            }
            ArtifactType::Predictions => &["predictions.json", "predictions/"],
            ArtifactType::Export | ArtifactType::Files => &[""],
        }
    }
}

/// A kind's items, recalled singly by its stage.
#[derive(Clone, Copy, Debug)]
pub struct Items {
    /// The name after the kind's in their recipes: `volume` of `preprocess/volume`.
    pub what: &'static str,
    /// The role whose files are read by these items and by nothing else of the stage.
    pub reads: &'static str,
    /// An item's required files; a final `*` stands for any ending.
    pub holds: &'static [&'static str],
}

/// Number of stages for a role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// Exactly one.
    One,
    /// None or one.
    Optional,
    /// One or more.
    Many,
}

/// A role: an artifact read by a kind, under a name.
#[derive(Clone, Copy, Debug)]
pub struct Read {
    /// The role's name, for `needs: { role: stage }`.
    pub role: &'static str,
    /// The type of artifact.
    pub artifact: ArtifactType,
    /// The parts that are read ("training/", "split.json"); `[""]` is everything. Only these enter
    /// the recipe, and only these can be opened.
    pub parts: &'static [&'static str],
    /// The number.
    pub count: Count,
    /// The purpose, in a few words.
    pub doc: &'static str,
}

/// A cache's part for tests alone.
pub const TESTING_PART: &str = "testing/";

/// The role in kinds using trained networks.
pub const MODELS: Read = Read {
    role: "model",
    artifact: ArtifactType::Model,
    parts: &[""],
    count: Count::Many,
    doc: "the network; several are averaged",
};

/// The resource pool of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pool {
    /// Mostly waiting (downloads): takes no slot of the others.
    Io,
    /// Threads of the processor.
    Cpu,
    /// The accelerator if present, else the processor: one stage a device.
    Gpu,
}

/// A stage's resources on a cluster, if neither the workflow nor the site names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    /// True if the stage becomes a job; otherwise the run's machine makes it: nodes often have no
    /// network, and milliseconds need no job.
    pub is_job: bool,
    /// Processor cores.
    pub cpus: u16,
    /// Memory in bytes.
    pub memory: u64,
    /// Time in hours; `None` is the longest allowed by the site.
    pub hours: Option<u16>,
}

impl Demand {
    /// Work of moments, or on the network.
    pub const HERE: Demand = Demand { is_job: false, cpus: 1, memory: 1 << 30, hours: None };
    /// Reading and writing files.
    pub const FILES: Demand = Demand { is_job: true, cpus: 2, memory: 4 << 30, hours: Some(2) };
    /// Volumes, a few at once.
    pub const VOLUMES: Demand = Demand { is_job: true, cpus: 4, memory: 16 << 30, hours: Some(4) };
    /// A training; its job is continued where its time is over.
    pub const TRAINING: Demand = Demand { is_job: true, cpus: 8, memory: 32 << 30, hours: None };

    /// The usual demand of a pool.
    pub const fn of(pool: Pool) -> Demand {
        match pool {
            Pool::Io => Demand::HERE,
            Pool::Cpu => Demand::FILES,
            Pool::Gpu => Demand::VOLUMES,
        }
    }
}

/// Metrics reported by a kind, and so their place in tables and reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Yields {
    /// None.
    Nothing,
    /// Losses and validation scores by epoch.
    Curves,
    /// Scores of a trained model on its validation cases.
    ValidationScores,
    /// Scores of a trained model on its testing cases.
    TestScores,
    /// Scores of predictions that another program made.
    ForeignScores,
    /// Scores from anything else, such as a baseline: listed, but never a run's score.
    OtherScores,
}

impl Yields {
    /// Sources for a run's score, the most trusted first.
    pub const HEADLINE: [Yields; 4] =
        [Yields::TestScores, Yields::ValidationScores, Yields::Curves, Yields::ForeignScores];

    /// True for scores of single cases.
    pub fn is_scores(self) -> bool {
        !matches!(self, Yields::Nothing | Yields::Curves)
    }
}

/// The origin of a kind's parameter `seed` if a stage leaves it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seed {
    /// The workflow's `seed`.
    Workflow,
    /// The kind's own default: the workflow's seed varies the training, not the cases.
    Own,
}

/// Reads a small input file by role (its first stage) and file name.
pub type Peek<'a> = dyn Fn(&str, &str) -> Result<Vec<u8>> + 'a;

/// A stage's contract: plain parameters with a name, a version, its inputs and its output.
pub trait Stage: DeserializeOwned + Serialize + JsonSchema + Send + Sync + 'static {
    /// The name in `uses`.
    const NAME: &'static str;
    /// Rises when equal recipes would give other bytes.
    const VERSION: u32;
    /// The roles it reads.
    const READS: &'static [Read];
    /// The type of its artifact.
    const MAKES: ArtifactType;
    /// Locators: parameters outside the recipe.
    const LOCATORS: &'static [&'static str] = &[];
    /// The artifact's required files; see [`ArtifactType::holds`].
    const HOLDS: &'static [&'static str] = Self::MAKES.holds();
    /// Roles narrowed to fewer files than their parts; see [`Stage::names_read`].
    const NARROWED: &'static [&'static str] = &[];
    /// The items that it recalls.
    const ITEMS: &'static [Items] = &[];
    /// The slots it takes.
    const POOL: Pool;
    /// Its resources on a cluster.
    const DEMAND: Demand = Demand::of(Self::POOL);
    /// The metrics it reports.
    const YIELDS: Yields = Yields::Nothing;
    /// The origin of its parameter `seed`, if any.
    const SEED: Seed = Seed::Workflow;
    /// True if it runs a program of the person's own: then the workflow names its roles, and its
    /// parameters say its artifact's type.
    const RUNS_PROGRAM: bool = false;
    /// True if its work beside its items is quick: `plan` does it, without making any item, to tell
    /// what follows a change.
    const QUICK: bool = false;
    /// Parameters with `${NAME}` for the stage itself: the environment's variables are not put in.
    const TEMPLATES: &'static [&'static str] = &[];

    /// The type of its artifact by parameters as written; `None` if they name no type.
    fn makes_by(_params: &Value) -> Option<ArtifactType> {
        Some(Self::MAKES)
    }

    /// The items that it recalls with these parameters.
    fn items_by(_params: &Value) -> &'static [Items] {
        Self::ITEMS
    }

    /// [`Stage::QUICK`] with these parameters.
    fn quick_by(_params: &Value) -> bool {
        Self::QUICK
    }

    /// The parts read of a role that the workflow names.
    fn parts_of(&self, _role: &str) -> Vec<String> {
        vec![String::new()]
    }

    /// Checks the parameters against the roles for which the workflow names stages; mistakes as in
    /// [`Stage::check`].
    fn check_roles(&self, _roles: &[&str]) -> Vec<(String, String)> {
        vec![]
    }

    /// Checks what types cannot say. Each mistake is a pair: the dotted path of the parameter
    /// ("optimizer.betas"), and the trouble with the way out.
    fn check(&self) -> Vec<(String, String)> {
        vec![]
    }

    /// Takes the place out of hashed parameters that say content and place in one value.
    fn drop_places(_hashed: &mut Map<String, Value>) {}

    /// The local files whose content belongs to the recipe, by the name of the input they become.
    fn local_files(&self) -> Result<BTreeMap<String, PathBuf>> {
        Ok(BTreeMap::new())
    }

    /// The files read in a narrowed role's artifact, by the content of small input files.
    fn names_read(_role: &str, _peek: &Peek) -> Result<BTreeSet<String>> {
        Ok(BTreeSet::new())
    }

    /// The listing of the dataset to come, if a look into a folder tells it; `None` otherwise.
    fn foresee_listing(&self) -> Option<Listing> {
        None
    }

    /// Trouble that is known before any work, each as a text for people; none by default.
    fn foresee(&self, _sight: &Foresight) -> Vec<String> {
        vec![]
    }

    /// About how many bytes it will write, given its first input per role; `None` if unknown
    /// before.
    fn expected_bytes(&self, _inputs: &BTreeMap<String, Upstream>) -> Option<u64> {
        None
    }
}

/// "model-fold0": the id of a stage that is made for each fold of a cross-validation.
pub fn id_of_fold(written: &str, fold: u32) -> String {
    format!("{written}-fold{fold}")
}

/// The id in the file, and the fold, of a stage that is made for each; `None` for other stages.
pub fn fold_of_id(id: &str) -> Option<(&str, u32)> {
    let (written, number) = id.rsplit_once("-fold")?;
    let fold = number.parse().ok().filter(|fold: &u32| fold.to_string() == number)?;
    (!written.is_empty()).then_some((written, fold))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_a_folds_stage_tells_both() {
        assert_eq!(fold_of_id(&id_of_fold("fine-fold", 12)), Some(("fine-fold", 12)));
        for other in ["model", "model-fold", "model-fold01", "model-fold+1", "-fold1"] {
            assert_eq!(fold_of_id(other), None, "{other}");
        }
    }
}
