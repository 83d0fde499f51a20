//! The kinds of stages: the contract that each fulfils, and [`KINDS`], the one table of all.
//! Parsing, help, docs and tests derive from it. A new kind is one file and one row.

use crate::context::Context;
use crate::dataset::Listing;
use crate::error::{Error, Result};
use crate::space::Upstream;
use schemars::{JsonSchema, Schema};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::any::TypeId;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

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
const MODELS: Read = Read {
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

/// A stage whose work needs no libtorch.
pub trait Run: Stage {
    /// Makes the artifact.
    fn run(&self, cx: &Context) -> Result<()>;
}

/// Where a kind runs.
#[derive(Clone, Copy)]
pub enum Place {
    /// In the program `voxflow`.
    Here(fn(&Context) -> Result<()>),
    /// In a child process `voxflow-worker`, which links libtorch.
    Worker,
}

/// Mistakes in parameters: the dotted path of each (empty where serde does not tell), and the
/// trouble.
pub type Mistakes = Vec<(String, String)>;

/// One row of [`KINDS`].
#[derive(Clone, Copy)]
pub struct Kind {
    /// The name in `uses`.
    pub name: &'static str,
    /// The version of what it makes.
    pub version: u32,
    /// The roles it reads.
    pub reads: &'static [Read],
    /// What it makes.
    pub makes: ArtifactType,
    /// Parameters that say where, not what.
    pub locators: &'static [&'static str],
    /// The files without which its artifact is none.
    pub holds: &'static [&'static str],
    /// The items that it recalls.
    pub items: &'static [Items],
    /// The slots it takes.
    pub pool: Pool,
    /// Where it runs.
    pub place: Place,
    schema: fn() -> &'static Schema,
    understand: fn(&Value) -> Result<Value, Mistakes>,
    local_files: fn(&Value) -> Result<BTreeMap<String, PathBuf>>,
    listing: fn(&Value) -> Option<Listing>,
    expected_bytes: fn(&Value, &BTreeMap<String, Upstream>) -> Option<u64>,
}

impl Kind {
    /// A kind that runs in the program itself.
    pub const fn here<S: Run>() -> Kind {
        Kind::of::<S>(Place::Here(|cx| cx.params::<S>()?.run(cx)))
    }

    /// A kind that runs in the worker.
    pub const fn worker<S: Stage>() -> Kind {
        Kind::of::<S>(Place::Worker)
    }

    const fn of<S: Stage>(place: Place) -> Kind {
        Kind {
            name: S::NAME,
            version: S::VERSION,
            reads: S::READS,
            makes: S::MAKES,
            locators: S::LOCATORS,
            holds: S::HOLDS,
            items: S::ITEMS,
            pool: S::POOL,
            place,
            schema: schema::<S>,
            understand: understand::<S>,
            local_files: |params| parse::<S>(params)?.local_files(),
            listing: |params| parse::<S>(params).ok()?.foresee_listing(),
            expected_bytes: |params, inputs| parse::<S>(params).ok()?.expected_bytes(inputs),
        }
    }

    /// The kind of that name.
    pub fn named(name: &str) -> Option<&'static Kind> {
        KINDS.iter().find(|kind| kind.name == name)
    }

    /// The JSON schema of its parameters, subschemas inlined; the root's description is the kind's
    /// own.
    pub fn schema(&self) -> &'static Schema {
        (self.schema)()
    }

    /// The parameters as understood, locators included: defaults filled in and checked.
    /// Each mistake is a dotted path (empty where serde does not tell) and the trouble.
    pub fn understand(&self, params: &Value) -> Result<Value, Mistakes> {
        (self.understand)(params)
    }

    /// The parameters in the recipe: as understood, without locators, and without those that have
    /// their neutral value ([`neutral`]).
    pub fn hashed(&self, understood: &Value) -> Value {
        let mut params = understood.clone();
        if let Value::Object(fields) = &mut params {
            fields.retain(|key, _| !self.locators.contains(&key.as_str()));
        }
        neutral::drop_neutral(self.schema().as_value(), &mut params);
        params
    }

    /// The local files whose content belongs to the recipe.
    pub fn local_files(&self, understood: &Value) -> Result<BTreeMap<String, PathBuf>> {
        (self.local_files)(understood)
    }

    /// The listing of the dataset that a stage will make, where that is known before.
    pub fn listing(&self, understood: &Value) -> Option<Listing> {
        (self.listing)(understood)
    }

    /// About how many bytes of its own a stage will write, where that can be told.
    pub fn expected_bytes(
        &self,
        understood: &Value,
        inputs: &BTreeMap<String, Upstream>,
    ) -> Option<u64> {
        (self.expected_bytes)(understood, inputs)
    }
}

/// Derived once in a process: a workflow asks for it at each stage.
fn schema<S: Stage>() -> &'static Schema {
    static DERIVED: Mutex<BTreeMap<TypeId, &'static Schema>> = Mutex::new(BTreeMap::new());
    let derive = || {
        let settings = schemars::generate::SchemaSettings::draft2020_12();
        let generator =
            settings.with(|settings| settings.inline_subschemas = true).into_generator();
        &*Box::leak(Box::new(generator.into_root_schema_for::<S>()))
    };
    DERIVED
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .entry(TypeId::of::<S>())
        .or_insert_with(derive)
}

fn parse<S: Stage>(params: &Value) -> Result<S> {
    serde_json::from_value(params.clone()).map_err(|error| Error::failed(error.to_string()))
}

fn understand<S: Stage>(params: &Value) -> Result<Value, Mistakes> {
    let stage: S = serde_json::from_value(params.clone())
        .map_err(|error| vec![(String::new(), error.to_string())])?;
    let mistakes = stage.check();
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    serde_json::to_value(&stage).map_err(|error| vec![(String::new(), error.to_string())])
}

pub mod baseline;
pub mod cache;
mod contents;
pub mod download;
pub mod export;
pub mod folder;
pub mod import;
mod neutral;
pub mod predict;
pub mod preprocess;
pub mod split;
pub mod synthesize;
pub mod test;
pub mod train;
pub mod unpack;
pub mod validate;

/// Every kind there is, in the order of a pipeline.
pub const KINDS: &[Kind] = &[
    Kind::here::<download::Download>(),
    Kind::here::<folder::Folder>(),
    Kind::here::<synthesize::Synthesize>(),
    Kind::here::<unpack::Unpack>(),
    Kind::here::<split::SplitCases>(),
    Kind::here::<preprocess::Preprocess>(),
    Kind::here::<cache::CacheVolumes>(),
    Kind::here::<baseline::Baseline>(),
    Kind::worker::<train::Train>(),
    Kind::worker::<validate::Validate>(),
    Kind::worker::<test::Test>(),
    Kind::worker::<predict::Predict>(),
    Kind::here::<import::Import>(),
    Kind::here::<export::Export>(),
];
