//! `voxflow check`: finds all mistakes in a workflow, including missing local files and folders,
//! without touching the store.

use super::workflow_args::{WorkflowArgs, refusal};
use super::{answer, tell};
use crate::error::{Exit, Result};
use crate::globals::Globals;
use crate::humanize;
use crate::workflow::{environment, paths};
use clap::Args;

#[derive(Debug, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    pub source: WorkflowArgs,
    /// Print the workflow with defaults and overrides filled in
    #[arg(long)]
    pub resolved: bool,
    /// Skip the check for missing files and folders
    #[arg(long)]
    pub without_files: bool,
}

impl CheckArgs {
    /// Checks the workflow and every variant in its sweep.
    pub fn run(&self, globals: &Globals) -> Result<Exit> {
        let workflows = self.source.workflows(&[])?;
        if self.resolved {
            let texts: Vec<String> =
                workflows.iter().map(|(workflow, _)| workflow.resolved()).collect();
            answer(&texts.join("---\n"))?;
        }
        let mut missing: Vec<_> = workflows
            .iter()
            .filter(|_| !self.without_files)
            .flat_map(|(workflow, _)| paths::missing(workflow, &environment::process))
            .collect();
        missing.dedup();
        if !missing.is_empty() {
            return Err(refusal(&missing));
        }
        if let (Some((workflow, _)), false) = (workflows.first(), globals.quiet) {
            let runs = if workflows.len() > 1 {
                format!(", {} runs in its sweep", workflows.len())
            } else {
                String::new()
            };
            let stages = humanize::count(workflow.stages.len() as u64, "stage");
            tell(&format!("{}: no mistakes; {stages}{runs}", self.source.file.display()));
        }
        Ok(Exit::Done)
    }
}
