//! `voxflow run`: executes a workflow, reusing stored artifacts. Workflows with a `sweep` run like
//! `voxflow sweep`.

use super::exec_args::ExecArgs;
use super::launch::{Launch, exit};
use super::sweep;
use super::workflow_args::{SelectionArgs, WorkflowArgs};
use crate::error::{Exit, Result};
use crate::globals::Globals;
use clap::Args;

#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub source: WorkflowArgs,
    #[command(flatten)]
    pub selection: SelectionArgs,
    #[command(flatten)]
    pub means: ExecArgs,
}

impl RunArgs {
    /// Runs the workflow, or every variant in its sweep.
    pub fn run(&self, globals: &Globals) -> Result<Exit> {
        let mut workflows = self.source.workflows(&globals.home(), &[])?;
        let wishes = self.selection.wishes()?;
        let launch = Launch::new(globals, &self.source, &self.means)?;
        if workflows.len() > 1 || workflows[0].1.is_some() {
            return sweep::go(&launch, workflows, wishes, &sweep::JudgementArgs::default());
        }
        let alone = workflows.drain(..).map(|(workflow, _)| (workflow, None)).collect();
        Ok(exit(&launch.go(alone, &wishes)?.ending))
    }
}
