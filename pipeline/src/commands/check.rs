//! `voxflow check`: finds all mistakes in a workflow, including missing local files and folders,
//! without touching the store; with `--data`, those in the data too.

use super::data_check::{self, DatasetFiles};
use super::workflow_args::{WorkflowArgs, refusal};
use super::{answer, new, tell};
use crate::error::{Error, Exit, Result};
use crate::foreseen;
use crate::globals::Globals;
use crate::humanize;
use crate::workflow::{Variant, Workflow, environment, paths};
use clap::Args;
use serde_json::Value;
use std::path::Path;
use voxflow_stages::stage::ArtifactType;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  voxflow check brain.yaml
  voxflow check brain.yaml --data     # reads every image and label of the dataset's folder
  voxflow check --data ~/data/livers  # the same for a folder, or a manifest, without a workflow")]
pub struct CheckArgs {
    #[command(flatten)]
    pub source: WorkflowArgs,
    /// Print the workflow with defaults and overrides filled in
    #[arg(long)]
    pub resolved: bool,
    /// Skip the check for missing files and folders
    #[arg(long, conflicts_with = "data")]
    pub without_files: bool,
    /// Also read all images and labels of datasets in folders. WORKFLOW may then be such a folder,
    /// or a manifest (CSV or TSV)
    #[arg(long)]
    pub data: bool,
}

impl CheckArgs {
    /// Checks the workflow and every variant in its sweep.
    pub fn run(&self, globals: &Globals) -> Result<Exit> {
        let file = &self.source.file;
        if self.data && (file.is_dir() || new::is_manifest(file)) {
            return self.folder(globals);
        }
        let workflows = self.source.workflows(&globals.home(), &[])?;
        if self.resolved {
            let texts: Vec<String> =
                workflows.iter().map(|(workflow, _)| workflow.resolved()).collect();
            answer(&texts.join("---\n"))?;
        }
        if !self.without_files {
            check_files(&workflows)?;
        }
        let Some((workflow, _)) = workflows.first() else { return Ok(Exit::Done) };
        if self.data {
            datasets(workflow, globals.quiet)?;
        }
        if !globals.quiet {
            for base in &workflow.bases {
                tell(&format!("extends {}: {}", base.file, base.origin));
            }
            for (stage, words) in workflow.earlier_in_words() {
                tell(&format!("stage '{stage}': {words}"));
            }
            tell(&verdict(file, workflow, workflows.len()));
        }
        Ok(Exit::Done)
    }

    /// Reads a folder of images and labels as `voxflow new` does.
    fn folder(&self, globals: &Globals) -> Result<Exit> {
        if self.resolved || !self.source.set.is_empty() {
            return Err(Error::usage(format!(
                "'{}' is no workflow: '--resolved' and '--set' need one",
                self.source.file.display()
            )));
        }
        let (folder, listing) = new::dataset(&self.source.file)?;
        let dataset = DatasetFiles { stage: None, folder: &folder, listing: &listing };
        data_check::check(&dataset, globals.quiet)?;
        if !globals.quiet {
            let file = self.source.file.display();
            tell(&format!(
                "{}; 'voxflow new {file}' writes a workflow",
                data_check::verdict(&listing)
            ));
        }
        Ok(Exit::Done)
    }
}

/// Errors on missing files of any variant, and on what their stages would fail at.
fn check_files(workflows: &[(Workflow, Option<Variant>)]) -> Result<()> {
    let missing =
        workflows.iter().flat_map(|(workflow, _)| paths::missing(workflow, &environment::process));
    let mut missing: Vec<_> = missing.collect();
    missing.dedup();
    if !missing.is_empty() {
        return Err(refusal(&missing));
    }
    let troubles = workflows.first().map(|(workflow, _)| foreseen::of_workflow(workflow));
    match troubles.filter(|troubles| !troubles.is_empty()) {
        Some(troubles) => Err(Error::Usage(troubles.join("\n"))),
        None => Ok(()),
    }
}

/// "brain.yaml: no mistakes; 25 stages, those of 5 folds among them, 3 runs in its sweep".
fn verdict(file: &Path, workflow: &Workflow, runs: usize) -> String {
    let stages = humanize::count(workflow.stages.len() as u64, "stage");
    let folds = workflow.folds.map(|folds| format!(", those of {folds} folds among them"));
    let runs = (runs > 1).then(|| format!(", {runs} runs in its sweep"));
    let [folds, runs] = [folds, runs].map(Option::unwrap_or_default);
    format!("{}: no mistakes; {stages}{folds}{runs}", file.display())
}

/// Reads the datasets in folders; all their troubles come together.
fn datasets(workflow: &Workflow, quiet: bool) -> Result<()> {
    let mut troubles = vec![];
    for stage in workflow.stages.iter().filter(|stage| stage.kind.makes == ArtifactType::Dataset) {
        let folder = stage.params.get("path").and_then(Value::as_str);
        let (Some(folder), Some(listing)) = (folder, stage.kind.listing(&stage.params)) else {
            if !quiet {
                tell(&format!("stage '{}': made by the run, not checked here", stage.id));
            }
            continue;
        };
        let stage = Some(stage.id.as_str());
        let dataset = DatasetFiles { stage, folder: Path::new(folder), listing: &listing };
        if let Err(error) = data_check::check(&dataset, quiet) {
            troubles.push(error.to_string());
        }
    }
    match troubles.is_empty() {
        true => Ok(()),
        false => Err(Error::Usage(troubles.join("\n"))),
    }
}
