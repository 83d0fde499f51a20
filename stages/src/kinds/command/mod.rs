//! `command`: any program as a stage.
//!
//! `parameters` are what a workflow says, and `check` finds mistakes in them. `template` and
//! `variables` fill words in, `workplace` has the folders, `invocation` runs the program once,
//! `whole` and `cases` once or for each case; `mounts` are what a container sees; `made` checks its
//! files, `ending` and `metrics_file` read what it told. The program itself is run by the host,
//! under its limits.

mod cases;
mod check;
mod ending;
mod invocation;
mod made;
mod metrics_file;
mod mounts;
mod parameters;
mod template;
mod variables;
mod whole;
mod workplace;

use crate::container::Image;
use crate::context::Context;
use crate::dataset::name;
use crate::dataset::tree::Tree;
use crate::error::{Error, Result};
use crate::kind::Run;
use crate::model::Mistake;
use crate::stage::{ArtifactType, Demand, Items, Pool, Read, Stage, Yields};
use parameters::{CASE, DATASET, MADE};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use parameters::{Command, Each, Makes};

impl Stage for Command {
    const NAME: &'static str = "command";
    const VERSION: u32 = 1;
    const READS: &'static [Read] = &[];
    const MAKES: ArtifactType = ArtifactType::Files;
    const LOCATORS: &'static [&'static str] = &[
        "scripts",
        "gpu",
        "pass_environment",
        "max_hours",
        "max_gib",
        "max_processes",
        "max_output_mib",
    ];
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

    /// Once for each case, all programs are its items'.
    fn quick_by(params: &Value) -> bool {
        !Self::items_by(params).is_empty()
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

    /// An image is known by its digest, and a file by its content, wherever they lie.
    fn drop_places(hashed: &mut Map<String, Value>) {
        let image = hashed.get("container").and_then(Value::as_str).map(Image::parse);
        let Some(Ok(image)) = image else { return };
        match image.digest() {
            Some(digest) => drop(hashed.insert("container".into(), digest.into())),
            None => drop(hashed.remove("container")),
        }
    }

    fn local_files(&self) -> Result<BTreeMap<String, PathBuf>> {
        if let Some(word) = self.run.iter().find(|word| is_local(word)) {
            return Err(Error::failed(format!(
                "run: '{word}' is a local file whose content the fingerprint would not have; give \
                 it a name among 'scripts' and write ${{scripts.NAME}} in its place"
            )));
        }
        let mut files = BTreeMap::new();
        match self.image() {
            Some(Image::File(path)) => drop(files.insert(IMAGE_FILE.into(), path)),
            Some(Image::Tagged(name)) => return Err(without_digest(&name)),
            _ => {}
        }
        for (name, path) in &self.scripts {
            match path.is_dir() {
                true => files.extend(files_below(name, path)?),
                false => drop(files.insert(name.clone(), path.clone())),
            }
        }
        Ok(files)
    }
}

impl Command {
    /// The image of its container, if it has one.
    pub fn image(&self) -> Option<Image> {
        Image::parse(self.container.as_deref()?).ok()
    }
}

/// The name of an image file among the local files; no script can have it.
const IMAGE_FILE: &str = "container.sif";

fn without_digest(name: &str) -> Error {
    Error::failed(format!(
        "container: 'docker://{name}' may be another image tomorrow; write its digest, as \
         docker://NAME@sha256:…, which 'voxflow run' names if the image is on this machine"
    ))
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
