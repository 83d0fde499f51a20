//! `voxflow demo`: writes the demo workflow, a part of this program, into the current folder and
//! runs it.

use super::exec_args::ExecArgs;
use super::run::RunArgs;
use super::tell;
use super::workflow_args::{SelectionArgs, WorkflowArgs};
use crate::error::{Error, Exit, Result};
use crate::globals::Globals;
use clap::Args;
use std::path::Path;
use voxflow_cache::disk;

const FILE: &str = "demo.yaml";
const WORKFLOW: &str = include_str!("../../../workflows/demo.yaml");

#[derive(Debug, Args)]
#[command(after_help = "\
The workflow draws abdominal CTs with a spleen, trains a small network on them and scores it: a \
minute or two on two cores, nothing to download. It is written to demo.yaml, which 'voxflow run \
demo.yaml' runs as well.")]
pub struct DemoArgs {
    /// Change a parameter, as model.epochs=10, or the workflow's seed; may be repeated
    #[arg(long = "set", value_name = "PATH=VALUE")]
    pub set: Vec<String>,
    #[command(flatten)]
    pub selection: SelectionArgs,
    #[command(flatten)]
    pub means: ExecArgs,
}

impl DemoArgs {
    /// Runs the demo like any other workflow. A file of the same name with other contents is kept,
    /// and refused.
    pub fn run(&self, globals: &Globals) -> Result<Exit> {
        if write(Path::new(FILE))? && !globals.quiet {
            tell(&format!(
                "the demo's workflow is in {FILE}; 'voxflow run {FILE}' runs it as well"
            ));
        }
        let source = WorkflowArgs { file: FILE.into(), set: self.set.clone() };
        let run = RunArgs { source, selection: self.selection.clone(), means: self.means.clone() };
        run.run(globals)
    }
}

/// Writes the workflow; false if the file is there with these contents.
fn write(file: &Path) -> Result<bool> {
    match std::fs::read(file) {
        Ok(bytes) if bytes == WORKFLOW.as_bytes() => Ok(false),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            disk::write(file, WORKFLOW.as_bytes())?;
            Ok(true)
        }
        _ => Err(Error::usage(format!(
            "'{FILE}' exists and is another workflow than the demo; 'voxflow run {FILE}' runs it, \
             'voxflow demo' needs a folder without it"
        ))),
    }
}
