//! A kind: a type of stage as a row in [`KINDS`](crate::KINDS).

mod contents;
mod instance;
mod neutral;

use crate::context::Context;
use crate::dataset::Listing;
use crate::disk_space::Upstream;
use crate::error::{Error, Result};
use crate::foresight::Foresight;
use crate::stage::{ArtifactType, Demand, Items, Peek, Pool, Read, Seed, Stage, Yields};
use schemars::Schema;
use serde_json::{Map, Value};
use std::any::TypeId;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// A stage whose work needs no libtorch.
pub trait Run: Stage {
    /// Makes the artifact.
    fn run(&self, cx: &Context) -> Result<()>;
}

/// The program that runs a kind.
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
    /// The version of its output.
    pub version: u32,
    /// The roles it reads.
    pub reads: &'static [Read],
    /// The type of its artifact.
    pub makes: ArtifactType,
    /// Locators: parameters outside the recipe.
    pub locators: &'static [&'static str],
    /// The artifact's required files.
    pub holds: &'static [&'static str],
    /// The items that it recalls.
    pub items: &'static [Items],
    /// The slots it takes.
    pub pool: Pool,
    /// Its resources on a cluster.
    pub demand: Demand,
    /// The metrics it reports.
    pub yields: Yields,
    /// The origin of its parameter `seed`, if any.
    pub seed: Seed,
    /// The program that runs it.
    pub place: Place,
    /// Roles narrowed to fewer files than their parts.
    pub narrowed: &'static [&'static str],
    /// True if it runs a program of the person's own ([`Stage::RUNS_PROGRAM`]).
    pub runs_program: bool,
    /// Parameters with `${NAME}` for the stage itself.
    pub templates: &'static [&'static str],
    makes_by: fn(&Value) -> Option<ArtifactType>,
    items_by: fn(&Value) -> &'static [Items],
    quick_by: fn(&Value) -> bool,
    parts_of: fn(&Value, &str) -> Vec<String>,
    check_roles: fn(&Value, &[&str]) -> Mistakes,
    drop_places: fn(&mut Map<String, Value>),
    names_read: fn(&str, &Peek) -> Result<BTreeSet<String>>,
    schema: fn() -> &'static Schema,
    understand: fn(&Value) -> Result<Value, Mistakes>,
    local_files: fn(&Value) -> Result<BTreeMap<String, PathBuf>>,
    listing: fn(&Value) -> Option<Listing>,
    foresee: fn(&Value, &Foresight) -> Vec<String>,
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
            demand: S::DEMAND,
            yields: S::YIELDS,
            seed: S::SEED,
            place,
            narrowed: S::NARROWED,
            runs_program: S::RUNS_PROGRAM,
            templates: S::TEMPLATES,
            makes_by: S::makes_by,
            items_by: S::items_by,
            quick_by: S::quick_by,
            parts_of: |params, role| {
                parse::<S>(params).map_or_else(|_| vec![], |stage| stage.parts_of(role))
            },
            check_roles: |params, roles| {
                parse::<S>(params).map_or_else(|_| vec![], |stage| stage.check_roles(roles))
            },
            drop_places: S::drop_places,
            names_read: S::names_read,
            schema: schema::<S>,
            understand: understand::<S>,
            local_files: |params| parse::<S>(params)?.local_files(),
            listing: |params| parse::<S>(params).ok()?.foresee_listing(),
            foresee: |params, sight| {
                parse::<S>(params).map_or_else(|_| vec![], |stage| stage.foresee(sight))
            },
            expected_bytes: |params, inputs| parse::<S>(params).ok()?.expected_bytes(inputs),
        }
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
            (self.drop_places)(fields);
        }
        neutral::drop_neutral(self.schema().as_value(), &mut params);
        params
    }

    /// The files read in a narrowed role's artifact.
    pub fn names_read(&self, role: &str, peek: &Peek) -> Result<BTreeSet<String>> {
        (self.names_read)(role, peek)
    }

    /// The local files whose content belongs to the recipe.
    pub fn local_files(&self, understood: &Value) -> Result<BTreeMap<String, PathBuf>> {
        (self.local_files)(understood)
    }

    /// The listing of a future dataset stage, if known beforehand.
    pub fn listing(&self, understood: &Value) -> Option<Listing> {
        (self.listing)(understood)
    }

    /// Trouble of a stage that is known before any work.
    pub fn foresee(&self, understood: &Value, sight: &Foresight) -> Vec<String> {
        (self.foresee)(understood, sight)
    }

    /// About how many bytes a stage will write, if known.
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
    DERIVED.lock().unwrap_or_else(PoisonError::into_inner).entry(TypeId::of::<S>()).or_insert_with(
        || {
            let settings = schemars::generate::SchemaSettings::draft2020_12();
            let generator =
                settings.with(|settings| settings.inline_subschemas = true).into_generator();
            &*Box::leak(Box::new(generator.into_root_schema_for::<S>()))
        },
    )
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
