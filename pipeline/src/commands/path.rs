//! `voxflow path`: paths to a run's files and outputs.

use super::{answer_data, show};
use crate::error::{Error, Exit, Result};
use crate::globals::Globals;
use crate::outputs;
use crate::runs::{self, StoredRun};
use crate::workflow::nearest;
use clap::Args;
use std::path::PathBuf;
use voxflow_cache::Artifact;

#[derive(Debug, Args)]
pub struct PathArgs {
    /// RUN (its folder), RUN/STAGE (its output folder) or RUN/STAGE/NAME (an output file)
    #[arg(value_name = "RUN[/STAGE[/NAME]]")]
    pub what: String,
}

impl PathArgs {
    pub fn run(&self, globals: &Globals) -> Result<Exit> {
        let mut parts = self.what.splitn(3, '/');
        let run = runs::find(&globals.home(), parts.next().unwrap_or_default())?;
        let path = match (parts.next().filter(|stage| !stage.is_empty()), parts.next()) {
            (None, _) => run.folder.path().to_path_buf(),
            (Some(stage), None | Some("")) => folder(&run, stage)?,
            (Some(stage), Some(name)) => file(&run, stage, name)?,
        };
        let path = std::path::absolute(&path).map_err(Error::io("find", &path))?;
        answer_data(&format!("{}\n", path.display()))?;
        Ok(Exit::Done)
    }
}

fn folder(run: &StoredRun, id: &str) -> Result<PathBuf> {
    show::stage(&run.record, id)?;
    let folder = run.folder.file("outputs").join(id);
    if folder.is_dir() {
        Ok(folder)
    } else {
        Err(Error::usage(format!("stage '{id}' of run '{}' left no outputs", run.record.run)))
    }
}

pub(super) fn file(run: &StoredRun, id: &str, name: &str) -> Result<PathBuf> {
    let stage = show::stage(&run.record, id)?;
    let artifact = stage.artifact.clone().unwrap_or_default();
    let blob = artifact.get(name).ok_or_else(|| no_output(&artifact, id, name))?;
    let path = outputs::locate(run, id, name, blob);
    if path.exists() {
        return Ok(path);
    }
    Err(Error::Storage(format!(
        "output '{name}' of stage '{id}' is no longer at {}: run the workflow again to make it",
        path.display()
    )))
}

fn no_output(artifact: &Artifact, stage: &str, name: &str) -> Error {
    let hint = match nearest(name, artifact.0.keys().map(String::as_str)) {
        Some(word) => format!("did you mean '{word}'?"),
        None => format!("'voxflow show --stage {stage}' lists those there are"),
    };
    Error::usage(format!("stage '{stage}' has no output '{name}': {hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_in_the_place_of_an_output_is_not_taken_for_it() {
        let base = tempfile::tempdir().expect("a folder");
        let run = runs::find(&runs::tests::home(base.path()), "latest").expect("a run");
        let error = file(&run, "model", "model.json").expect_err("gone").to_string();
        assert!(error.contains("is no longer at /nowhere/store-v1/blobs/ab/"), "{error}");
        let linked = run.folder.file("outputs").join("model/model.json");
        std::fs::create_dir_all(linked.parent().expect("a folder")).expect("makes");
        std::fs::write(&linked, "{}").expect("writes");
        assert!(file(&run, "model", "model.json").is_err(), "other bytes than were made");
        assert_eq!(
            folder(&run, "model").expect("is there"),
            run.folder.file("outputs").join("model")
        );
    }

    #[test]
    fn a_misspelt_output_gets_the_nearest_one() {
        let base = tempfile::tempdir().expect("a folder");
        let run = runs::find(&runs::tests::home(base.path()), "latest").expect("a run");
        let error = file(&run, "model", "model.jsn").expect_err("no such output").to_string();
        assert_eq!(error, "stage 'model' has no output 'model.jsn': did you mean 'model.json'?");
    }
}
