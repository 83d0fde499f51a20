//! Forecast: stages and items following a change, predicted from earlier runs. Nothing is made.
//!
//! Quick kinds run in a temporary folder with a host making no items (`trial`). Items and other
//! stages to be made are expected to give other bytes under the names from their last making
//! (`expected`). If they give the same bytes, a run reuses more than predicted.

mod expected;
mod trial;

use crate::error::Result;
use crate::event::Decision;
use crate::plan::Plan;
use crate::planner::{Planner, StageDecision};
use crate::workflow::StageSpec;
pub use expected::{ExpectedAction, ItemsExpected, Outlook};
use std::sync::Arc;
use tempfile::TempDir;
use trial::KindTrial;
use voxflow_cache::{Artifact, Entry, Recipe, Store};
use voxflow_stages::kind::Place;

/// Outlooks by stage, in the plan's order.
pub struct PlanForecast {
    pub stages: Vec<Outlook>,
}

/// Looks ahead from a plan.
pub fn of(plan: &Plan, planner: &Planner, store: &Store) -> Result<PlanForecast> {
    let is_open = (0..plan.steps.len()).any(|index| plan.is_open(index));
    // Without a place for temporary files, a plan says what is certain.
    let Some(drafts) = tempfile::tempdir().ok().filter(|_| is_open) else {
        return Ok(PlanForecast { stages: vec![Outlook::default(); plan.steps.len()] });
    };
    let mut ahead = LookAhead { plan: plan.clone(), planner, store, drafts };
    let stages = (0..plan.steps.len()).map(|index| ahead.look(index)).collect::<Result<_>>()?;
    Ok(PlanForecast { stages })
}

/// A plan with expected entries for stages to be made.
struct LookAhead<'a> {
    plan: Plan,
    planner: &'a Planner<'a>,
    store: &'a Store,
    /// Files written by trials, until the end.
    drafts: TempDir,
}

impl LookAhead<'_> {
    fn look(&mut self, index: usize) -> Result<Outlook> {
        let step = &self.plan.steps[index];
        if step.entry.is_some() || step.left_out.is_some() {
            return Ok(Outlook::default());
        }
        let (recipe, expected) = match (&step.decision, &step.recipe) {
            (Decision::Run { .. }, Some(recipe)) => (recipe.clone(), None),
            (Decision::Follows { .. }, _) => match self.planner.expect(&self.plan, index)? {
                Some((recipe, StageDecision::Reuse(entry, _))) => {
                    return Ok(self.reused(index, recipe, entry));
                }
                Some((recipe, StageDecision::Make { reason, cost_seconds })) => {
                    (recipe, Some(ExpectedAction::Run { reason, cost_seconds }))
                }
                None => return Ok(Outlook::default()),
            },
            _ => return Ok(Outlook::default()),
        };
        let items = self.expect_made(index, &recipe)?;
        Ok(Outlook { expected, items, fingerprint: Some(recipe.fingerprint()) })
    }

    fn reused(&mut self, index: usize, recipe: Recipe, entry: Arc<Entry>) -> Outlook {
        let (seconds, fingerprint) = (entry.seconds, Some(entry.fingerprint));
        let step = &mut self.plan.steps[index];
        (step.recipe, step.entry) = (Some(recipe), Some(entry));
        Outlook { expected: Some(ExpectedAction::Reuse { seconds }), items: None, fingerprint }
    }

    /// Sets the expected artifact for a stage to be made; returns its items.
    fn expect_made(&mut self, index: usize, recipe: &Recipe) -> Result<Option<ItemsExpected>> {
        let step = &mut self.plan.steps[index];
        step.recipe = Some(recipe.clone());
        // Of an entry whose files are lost, the bytes are known.
        if let Some(entry) = self.store.get(&[recipe.fingerprint()])?.into_iter().flatten().next() {
            step.entry = Some(Arc::new(entry));
            return Ok(None);
        }
        let stage = &self.plan.workflow.stages[index];
        let Some(last) = self.last(stage) else { return Ok(None) };
        let (tried, items) = match stage.kind.place {
            Place::Here(run) if stage.kind.quick_with(&stage.params) => {
                let folder = self.drafts.path().join(index.to_string());
                let last = self.last_items(stage)?;
                let (plan, store, look) = (&self.plan, self.store, self.planner.look());
                let trial = KindTrial { plan, index, recipe, store, last, look };
                trial.run(run, &folder)?
            }
            _ => (None, None),
        };
        let artifact = tried.unwrap_or_else(|| expected::changed(&last, recipe, self.store));
        let entry = expected::entry(recipe, artifact);
        self.plan.steps[index].entry = Some(Arc::new(entry));
        Ok(items)
    }

    /// Artifact from the stage's last making; `None` if never made.
    fn last(&self, stage: &StageSpec) -> Option<Artifact> {
        let rows = self.planner.history().records(&self.plan.workflow.name, &stage.id);
        rows.filter(|row| row.kind == stage.kind.name).find_map(|row| row.artifact.clone())
    }

    /// Items from the stage's last making, as far as stored.
    fn last_items(&self, stage: &StageSpec) -> Result<Vec<Entry>> {
        let rows = self.planner.history().records(&self.plan.workflow.name, &stage.id);
        for fingerprint in rows.filter_map(|row| row.fingerprint) {
            if let Some(entry) = self.store.get(&[fingerprint])?.into_iter().flatten().next() {
                return Ok(self.store.get(&entry.items)?.into_iter().flatten().collect());
            }
        }
        Ok(vec![])
    }
}
