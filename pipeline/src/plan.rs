//! The plan: an action per stage, as far as decidable before any work. Made by [`crate::planner`].

use crate::event::{Decision, Planned};
use crate::humanize;
use crate::selection::LeftOut;
use crate::workflow::Workflow;
use std::sync::Arc;
use voxflow_cache::{Artifact, Entry, Recipe};

#[derive(Clone)]
pub struct Plan {
    pub workflow: Workflow,
    /// In the workflow's stage order.
    pub steps: Vec<Step>,
}

/// A stage in a plan.
#[derive(Clone)]
pub struct Step {
    /// Indices of needed stages.
    pub needs: Vec<usize>,
    pub decision: Decision,
    /// `None` until all inputs are known.
    pub recipe: Option<Recipe>,
    /// Entry to reuse, if any.
    pub entry: Option<Arc<Entry>>,
    /// Reason for excluding the stage.
    pub left_out: Option<LeftOut>,
    /// Time spent hashing user files during planning; counts as part of the stage's work.
    pub read_seconds: f64,
}

impl Plan {
    /// Planned actions for the run's first event.
    pub fn planned(&self) -> Vec<Planned> {
        let each = self.workflow.stages.iter().zip(&self.steps);
        each.map(|(stage, step)| Planned {
            stage: stage.id.clone(),
            kind: stage.kind.name.to_string(),
            decision: step.decision.clone(),
        })
        .collect()
    }

    /// A needed stage's artifact, or that of an earlier run, if known.
    pub fn artifact(&self, id: &str) -> Option<&Artifact> {
        if let Some(earlier) = self.workflow.earlier.get(id) {
            return Some(&earlier.artifact);
        }
        let step = &self.steps[self.workflow.index(id)?];
        step.entry.as_ref().map(|entry| &entry.artifact)
    }

    /// Reasons why requested stages cannot start, with their consequences on one line.
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

    /// True if a stage is blocked only by a blocked need.
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

    /// True if a stage must or may have to be made.
    pub fn is_open(&self, index: usize) -> bool {
        matches!(self.steps[index].decision, Decision::Run { .. } | Decision::Follows { .. })
    }
}
