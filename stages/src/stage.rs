//! The contract of a stage: its parameters as plain data, the roles it reads, the artifact it makes.

use crate::dataset::Listing;
use crate::error::Result;
use crate::space::Upstream;
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// What a stage makes, and what a role reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ArtifactType {
    /// One packed file: `archive`.
    Archive,
    /// Images and labels with `dataset.json`, the listing ([`crate::dataset::Listing`]).
    Dataset,
    /// `split.json`: which case is for what.
    Split,
    /// Preprocessed volumes: `volumes.json` and `<case>/{image,label}.nii`, `<case>/geometry.json`.
    Volumes,
    /// Volumes joined with their split: `{training,validation,testing,unlabelled}/…`.
    Cache,
    /// A trained network, complete in itself: `model.json`, `best.safetensors`, `last.safetensors`.
    Model,
    /// Scores per case: `scores.json`; of a test also `predictions/<case>.nii.gz`, and
    /// `pictures.json` with `pictures/<rank>-<plane>.png`.
    Scores,
    /// Label maps in the images' own space: `predictions/<case>.nii.gz`, `predictions.json`, and
    /// `probabilities/<case>.nii.gz` where written.
    Predictions,
    /// A model written for another program.
    Export,
}

impl ArtifactType {
    /// The files without which an artifact of this type is none. A name that ends in a slash
    /// stands for any file below it, an empty one for any file.
    pub const fn holds(self) -> &'static [&'static str] {
        match self {
            ArtifactType::Archive => &["archive"],
            ArtifactType::Dataset => &["dataset.json"],
            ArtifactType::Split => &["split.json"],
            ArtifactType::Volumes => &["volumes.json"],
            ArtifactType::Cache => &[
                "training/part.json",
                "validation/part.json",
                "testing/part.json",
                "unlabelled/part.json",
            ],
            ArtifactType::Model => &["model.json", "best.safetensors", "last.safetensors"],
            ArtifactType::Scores => &["scores.json"],
            ArtifactType::Predictions => &["predictions.json", "predictions/"],
            ArtifactType::Export => &[""],
        }
    }
}

/// Items of a kind: what a stage recalls one by one.
#[derive(Clone, Copy, Debug)]
pub struct Items {
    /// The name after the kind's in their recipes: `volume` of `preprocess/volume`.
    pub what: &'static str,
    /// The role whose files are read by these items and by nothing else of the stage.
    pub reads: &'static str,
    /// The files without which an item is none; a final `*` stands for any ending.
    pub holds: &'static [&'static str],
}

/// How many stages a role takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// Exactly one.
    One,
    /// None or one.
    Optional,
    /// One or more.
    Many,
}

/// A role: what a kind reads of the stages it needs.
#[derive(Clone, Copy, Debug)]
pub struct Read {
    /// The role's name, for `needs: { role: stage }`.
    pub role: &'static str,
    /// The type of artifact.
    pub artifact: ArtifactType,
    /// The parts that are read ("training/", "split.json"); `[""]` is everything. Only these enter
    /// the recipe, and only these can be opened.
    pub parts: &'static [&'static str],
    /// How many.
    pub count: Count,
    /// What for, in a few words.
    pub doc: &'static str,
}

/// The role of kinds that use trained networks.
pub const MODELS: Read = Read {
    role: "model",
    artifact: ArtifactType::Model,
    parts: &[""],
    count: Count::Many,
    doc: "the network; several are averaged",
};

/// Which slots a stage takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pool {
    /// Mostly waiting (downloads): takes no slot of the others.
    Io,
    /// Threads of the processor.
    Cpu,
    /// The accelerator, where there is one, else the processor: one stage a device.
    Gpu,
}

/// Reads a small file of an input: the role, of which the first stage counts, and the file's name.
pub type Peek<'a> = dyn Fn(&str, &str) -> Result<Vec<u8>> + 'a;

/// The contract of a stage's parameters: plain data with a name, a version and what it reads and
/// makes.
pub trait Stage: DeserializeOwned + Serialize + JsonSchema + Send + Sync + 'static {
    /// The name in `uses`.
    const NAME: &'static str;
    /// Rises when equal recipes would give other bytes.
    const VERSION: u32;
    /// The roles it reads.
    const READS: &'static [Read];
    /// What it makes.
    const MAKES: ArtifactType;
    /// Parameters that say where, not what: left out of the hashed parameters.
    const LOCATORS: &'static [&'static str] = &[];
    /// The files without which its artifact is none; see [`ArtifactType::holds`].
    const HOLDS: &'static [&'static str] = Self::MAKES.holds();
    /// The roles of which it reads fewer files than their parts, as [`Stage::names_read`] tells.
    const NARROWED: &'static [&'static str] = &[];
    /// The items that it recalls.
    const ITEMS: &'static [Items] = &[];
    /// The slots it takes.
    const POOL: Pool;

    /// Checks what types cannot say. Each mistake is a pair: the dotted path of the parameter
    /// ("optimizer.betas"), and the trouble with the way out.
    fn check(&self) -> Vec<(String, String)> {
        vec![]
    }

    /// The local files whose content belongs to the recipe, by the name of the input they become.
    fn local_files(&self) -> Result<BTreeMap<String, PathBuf>> {
        Ok(BTreeMap::new())
    }

    /// The files that it reads of a narrowed role's artifact, by what small files of its inputs say.
    fn names_read(_role: &str, _peek: &Peek) -> Result<BTreeSet<String>> {
        Ok(BTreeSet::new())
    }

    /// The listing of the dataset that it will make, where that costs no more than a look into a
    /// folder; `None` otherwise.
    fn foresee_listing(&self) -> Option<Listing> {
        None
    }

    /// About how many bytes of its own it will write, with its first input of each role; `None`
    /// where nobody can say before.
    fn expected_bytes(&self, _inputs: &BTreeMap<String, Upstream>) -> Option<u64> {
        None
    }
}
