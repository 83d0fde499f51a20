//! Runs a stage outside any workflow: into a user's folder, without the store.

use super::tell;
use crate::error::{Error, Result};
use crate::lock::lock;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use voxflow_cache::{Artifact, Blob, Recipe, disk};
use voxflow_stages::kind::Run;
use voxflow_stages::stage::Stage;
use voxflow_stages::{Context, Host, Input, Message, Task};

/// Makes a stage's files in `out`, replacing existing ones, and returns their names. Files appear
/// only after all are made.
pub fn make<S: Run>(
    stage: &S,
    inputs: BTreeMap<String, Vec<Input>>,
    out: &Path,
) -> Result<Vec<String>> {
    disk::create_folders(out)?;
    let desk = tempfile::Builder::new().prefix(".voxflow-").tempdir_in(out);
    let desk = desk.map_err(Error::io("create a folder in", out))?;
    let task = task(stage, inputs, desk.path())?;
    let host = StandaloneHost::default();
    stage.run(&Context::new(&task, &host))?;
    for (name, blob) in host.adopted.into_inner().unwrap_or_else(PoisonError::into_inner) {
        disk::copy(source(&task, &blob)?, &desk.path().join(name))?;
    }
    let mut names = vec![];
    walk(desk.path(), "", &mut names)?;
    names.iter().try_for_each(|name| deliver(desk.path(), out, name))?;
    Ok(names)
}

/// Moves a file after fsync.
pub fn moved(file: &Path, place: &Path) -> voxflow_stages::Result<()> {
    disk::sync(file)?;
    Ok(disk::rename(file, place)?)
}

fn task<S: Stage>(stage: &S, inputs: BTreeMap<String, Vec<Input>>, desk: &Path) -> Result<Task> {
    let params = serde_json::to_value(stage).map_err(|error| Error::usage(error.to_string()))?;
    let recipe = Recipe {
        kind: S::NAME.into(),
        version: S::VERSION,
        params: params.clone(),
        inputs: BTreeMap::new(),
    };
    Ok(Task {
        stage: S::NAME.into(),
        recipe,
        params,
        inputs,
        draft: desk.to_path_buf(),
        unfinished: desk.to_path_buf(),
        device: "cpu".into(),
        threads: 1,
        ranks: 1,
    })
}

/// Input file containing a blob.
fn source<'a>(task: &'a Task, blob: &Blob) -> Result<&'a Path> {
    let files = task.inputs.values().flatten().flat_map(|input| input.files.values());
    let found = files.into_iter().find(|file| file.blob.digest == blob.digest);
    found
        .map(|file| file.path.as_path())
        .ok_or_else(|| Error::Failed("an input's file is not there".into()))
}

/// Slash-separated names below a folder.
fn walk(folder: &Path, prefix: &str, names: &mut Vec<String>) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(Error::io("list", folder))?.flatten() {
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            walk(&entry.path(), &format!("{name}/"), names)?;
        } else {
            names.push(name);
        }
    }
    names.sort();
    Ok(())
}

fn deliver(desk: &Path, out: &Path, name: &str) -> Result<()> {
    let place = out.join(name);
    let folder = place.parent().unwrap_or(out);
    disk::create_folders(folder)?;
    Ok(moved(&desk.join(name), &place)?)
}

/// Host without store: nothing to recall, and no stop request except process termination.
#[derive(Default)]
struct StandaloneHost {
    adopted: Mutex<Vec<(String, Blob)>>,
}

impl Host for StandaloneHost {
    fn tell(&self, message: Message) {
        if let Message::Warning { words } = message {
            tell(&format!("warning: {words}"));
        }
    }

    fn stopping(&self) -> bool {
        false
    }

    fn recall(
        &self,
        name: &str,
        _: &Recipe,
        _: &dyn Fn(&Path) -> voxflow_stages::Result<()>,
    ) -> voxflow_stages::Result<Artifact> {
        Err(voxflow_stages::Error::failed(format!("item '{name}' needs a store")))
    }

    fn blob_path(&self, _: &Blob) -> PathBuf {
        PathBuf::new()
    }

    fn adopt(&self, name: &str, blob: &Blob) {
        lock(&self.adopted).push((name.to_string(), blob.clone()));
    }

    fn refer(&self, path: &Path) -> voxflow_stages::Result<Blob> {
        Err(voxflow_stages::Error::failed(format!(
            "{}: a reference to it needs a store",
            path.display()
        )))
    }
}
