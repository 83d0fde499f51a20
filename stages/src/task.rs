//! A task: one stage to be made, as plain data that could go to another process or machine.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use voxflow_cache::{Blob, Recipe};

/// Everything given to a running stage.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Task {
    /// The stage's id in the workflow.
    pub stage: String,
    /// The recipe. Its `params` lack the locators.
    pub recipe: Recipe,
    /// The parameters with their locators.
    pub params: serde_json::Value,
    /// The inputs by role; only the parts that the kind declares to read.
    pub inputs: BTreeMap<String, Vec<Input>>,
    /// An empty folder to write the artifact's files into.
    pub draft: PathBuf,
    /// A folder that survives a crash: the stage's unfinished state.
    pub unfinished: PathBuf,
    /// The device: "auto", "cpu" or "cuda:N".
    pub device: String,
    /// Threads the stage may keep busy.
    pub threads: usize,
    /// Number of processes training together (data-parallel), a GPU each with CUDA; they share the
    /// threads. Kinds running in a single process ignore it.
    #[serde(default = "one")]
    pub ranks: usize,
}

fn one() -> usize {
    1
}

/// A needed artifact's parts, as files on this machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Input {
    /// The id of its stage.
    pub stage: String,
    /// Name in the artifact → file.
    pub files: BTreeMap<String, InputFile>,
}

/// One file of an input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InputFile {
    /// The bytes' path. It has no suffix: the format follows from the name.
    pub path: PathBuf,
    /// Its content.
    pub blob: Blob,
}

impl Input {
    /// The file of that name.
    pub fn file(&self, name: &str) -> Result<&InputFile> {
        self.files
            .get(name)
            .ok_or_else(|| Error::failed(format!("stage '{}' made no file '{name}'", self.stage)))
    }

    /// A file's path by name.
    pub fn path(&self, name: &str) -> Result<&Path> {
        Ok(&self.file(name)?.path)
    }

    /// True if a file has the name.
    pub fn has(&self, name: &str) -> bool {
        self.files.contains_key(name)
    }

    /// Reads a JSON file of the input.
    pub fn json<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        let path = self.path(name)?;
        let text = std::fs::read(path).map_err(Error::io("read", path))?;
        serde_json::from_slice(&text)
            .map_err(|error| Error::failed(format!("'{name}' of stage '{}': {error}", self.stage)))
    }
}
