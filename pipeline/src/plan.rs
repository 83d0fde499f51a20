//! The plan: what is to be done about each stage, as far as it can be known before any work.
//! [`crate::planner`] makes it.

use crate::event::{Decision, Planned};
use crate::humanize;
use crate::selection::LeftOut;
use crate::workflow::Workflow;
use std::sync::Arc;
use voxflow_cache::{Artifact, Entry, Recipe};

/// A workflow with a decision for each stage.
pub struct Plan {
    /// The workflow.
    pub workflow: Workflow,
    /// For each stage of the workflow, in its order.
    pub steps: Vec<Step>,
}

/// One stage of a plan.
pub struct Step {
    /// The positions of the stages it needs.
    pub needs: Vec<usize>,
    /// The decision.
    pub decision: Decision,
    /// The recipe, once all inputs are known.
    pub recipe: Option<Recipe>,
    /// The artifact.
    pub entry: Option<Arc<Entry>>,
    /// The reason for leaving it out, if it is left out.
    pub left_out: Option<LeftOut>,
    /// How long a person's own files were read to know what is to be made: part of the stage's
    /// work, done early.
    pub read_seconds: f64,
}

impl Plan {
    /// The decisions, for the run's first event.
    pub fn planned(&self) -> Vec<Planned> {
        let each = self.workflow.stages.iter().zip(&self.steps);
        each.map(|(stage, step)| Planned {
            stage: stage.id.clone(),
            kind: stage.kind.name.to_string(),
            decision: step.decision.clone(),
        })
        .collect()
    }

    /// The artifact of a needed stage, if it is known.
    pub fn artifact(&self, id: &str) -> Option<&Artifact> {
        let step = &self.steps[self.workflow.index(id)?];
        step.entry.as_ref().map(|entry| &entry.artifact)
    }

    /// Why a stage that is wanted cannot even begin, if there is such a one; what follows from it
    /// in one line.
    pub fn blocked(&self) -> Vec<String> {
        let each = self.workflow.stages.iter().zip(&self.steps).enumerate();
        let causes = each.filter(|(index, _)| !self.is_consequence(*index));
        let mut lines: Vec<String> = causes
            .filter_map(|(_, (stage, step))| match &step.decision {
                Decision::Blocked { reason } => Some(format!("stage '{}': {reason}", stage.id)),
                _ => None,
            })
            .collect();
        lines.extend(self.consequences());
        lines
    }

    /// True if a stage cannot run for no other reason than that one it needs cannot.
    pub fn is_consequence(&self, index: usize) -> bool {
        let is_blocked =
            |index: usize| matches!(self.steps[index].decision, Decision::Blocked { .. });
        is_blocked(index) && self.steps[index].needs.iter().any(|need| is_blocked(*need))
    }

    /// "7 stages after it cannot run: split, …".
    pub fn consequences(&self) -> Option<String> {
        let stages = self.workflow.stages.iter().enumerate();
        let ids: Vec<&str> = stages
            .filter(|(index, _)| self.is_consequence(*index))
            .map(|(_, stage)| stage.id.as_str())
            .collect();
        let count = humanize::count(ids.len() as u64, "stage");
        (!ids.is_empty()).then(|| format!("{count} after it cannot run: {}", ids.join(", ")))
    }

    /// True if a stage must, or may have to, be made.
    pub fn is_open(&self, index: usize) -> bool {
        matches!(self.steps[index].decision, Decision::Run { .. } | Decision::Follows { .. })
    }
}
