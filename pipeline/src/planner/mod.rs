//! The planner: compares a workflow with the store.
//!
//! The command `plan` is exactly this pass; `execute` repeats it for stages whose inputs become
//! known later.

mod lost_files;

use crate::error::{Error, Result};
use crate::event::Decision;
use crate::explain::Explainer;
use crate::plan::{Plan, Step};
use crate::reads::{self, MadeArtifacts, NamesRead, input_name};
use crate::selection::StageSelection;
use crate::workflow::paths::LOCAL;
use crate::workflow::{StageSpec, Workflow, environment, paths};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use voxflow_cache::{CheckDepth, Digest, Entry, Fingerprint, Presence, Recipe, Store};

/// Action for a stage whose inputs are all known.
pub enum StageDecision {
    /// Found in the store.
    Reuse(Arc<Entry>, Option<String>),
    /// To be made.
    Make {
        /// Reason, as text.
        reason: String,
        /// Wall time of its last making.
        cost_seconds: Option<f64>,
    },
}

/// An unusable file with its state.
type Lost = (String, Presence);

pub struct Planner<'a> {
    store: &'a Store,
    wishes: &'a StageSelection,
    history: Explainer<'a>,
    /// Entries already forgotten by `--force`.
    forgotten: RefCell<BTreeSet<Fingerprint>>,
    /// Time spent reading files outside the store.
    reading: Cell<Duration>,
    /// First unusable file per entry, cached: sweep variants share entries.
    lost: RefCell<BTreeMap<Fingerprint, Option<Lost>>>,
}

impl<'a> Planner<'a> {
    pub fn new(
        store: &'a Store,
        wishes: &'a StageSelection,
        history: Explainer<'a>,
    ) -> Planner<'a> {
        Planner {
            store,
            wishes,
            history,
            forgotten: RefCell::default(),
            reading: Cell::default(),
            lost: RefCell::default(),
        }
    }

    /// Plans each stage as far as possible.
    pub fn plan(&self, workflow: Workflow) -> Result<Plan> {
        let left_out = self.wishes.left_out(&workflow)?;
        let mut plan = Plan { workflow, steps: vec![] };
        for (index, left_out) in left_out.into_iter().enumerate() {
            let stage = &plan.workflow.stages[index];
            let needs =
                stage.needed().into_iter().filter_map(|id| plan.workflow.index(id)).collect();
            let (decision, recipe, entry, read_seconds) = (Decision::Excluded, None, None, 0.0);
            let mut step = Step { needs, decision, recipe, entry, left_out, read_seconds };
            self.reading.take();
            self.decide(&plan, index, &mut step)?;
            step.read_seconds = self.reading.take().as_secs_f64();
            plan.steps.push(step);
        }
        self.miss_bytes(&mut plan)?;
        Ok(plan)
    }

    /// Earlier runs, for explanations.
    pub fn history(&self) -> &Explainer<'a> {
        &self.history
    }

    /// Depth to which a run checks files before it reuses them.
    pub fn look(&self) -> CheckDepth {
        CheckDepth::of(self.wishes.verify)
    }

    fn decide(&self, plan: &Plan, index: usize, step: &mut Step) -> Result<()> {
        let unknown: Vec<usize> =
            step.needs.iter().copied().filter(|&need| plan.steps[need].entry.is_none()).collect();
        if !unknown.is_empty() {
            step.decision = match (step.left_out, self.lost_earlier(plan, index)?) {
                (Some(_), _) => Decision::Excluded,
                (None, Some(reason)) => Decision::Blocked { reason },
                (None, None) => waiting(plan, &unknown),
            };
            return Ok(());
        }
        if let Some(decision) = self.lost_input(plan, index) {
            step.decision = decision;
            return Ok(());
        }
        self.look_up(plan, index, step)?;
        if step.left_out.is_some() {
            step.decision = Decision::Excluded;
        }
        Ok(())
    }

    /// Decides about a stage whose needs are known and whose files can be read.
    fn look_up(&self, plan: &Plan, index: usize, step: &mut Step) -> Result<()> {
        match self.find(plan, index, false) {
            Ok((recipe, settled)) => {
                let fingerprint = recipe.fingerprint();
                step.decision = match settled {
                    StageDecision::Reuse(entry, note) => {
                        let seconds = entry.seconds;
                        step.entry = Some(entry);
                        Decision::Reuse { fingerprint, seconds, note }
                    }
                    StageDecision::Make { reason, cost_seconds } => {
                        match self.lost_earlier(plan, index)? {
                            Some(reason) => Decision::Blocked { reason },
                            None => Decision::Run { fingerprint, reason, cost_seconds },
                        }
                    }
                };
                step.recipe = Some(recipe);
            }
            Err(Error::Storage(words)) => return Err(Error::Storage(words)),
            Err(error) => step.decision = Decision::Blocked { reason: error.to_string() },
        }
        Ok(())
    }

    /// Decides about a stage whose needs are all known. The recipe belongs to the reused entry
    /// (possibly an accepted older version), or to the artifact to be made.
    pub fn settle(&self, plan: &Plan, index: usize) -> Result<(Recipe, StageDecision)> {
        self.find(plan, index, true)
    }

    /// Decides about a stage whose needs are only expected so; `None` if they do not tell.
    pub fn expect(&self, plan: &Plan, index: usize) -> Result<Option<(Recipe, StageDecision)>> {
        let needs = &plan.steps[index].needs;
        let made = MadeArtifacts { artifact: &|id| plan.artifact(id), store: self.store };
        if needs.iter().any(|&need| plan.steps[need].entry.is_none())
            || reads::lost(made, &plan.workflow.stages[index]).is_some()
        {
            return Ok(None);
        }
        match self.find(plan, index, true) {
            Ok(found) => Ok(Some(found)),
            Err(Error::Storage(words)) => Err(Error::Storage(words)),
            Err(_) => Ok(None),
        }
    }

    /// Like [`Planner::settle`]; with `whole` false, entries count even if files are missing.
    fn find(&self, plan: &Plan, index: usize, whole: bool) -> Result<(Recipe, StageDecision)> {
        let stage = &plan.workflow.stages[index];
        let recipe = self.recipe(stage, plan)?;
        let fingerprint = recipe.fingerprint();
        if self.is_forced(stage, fingerprint)? {
            let cost_seconds = self.history.cost(&plan.workflow.name, &stage.id);
            return Ok((recipe, StageDecision::Make { reason: "forced".into(), cost_seconds }));
        }
        if let Some(entry) = self.entry(fingerprint, whole)? {
            return Ok((recipe, StageDecision::Reuse(entry, None)));
        }
        // An accepted version counts only where the current one has no entry.
        if let Some(version) =
            self.wishes.accept.get(stage.kind.name).filter(|version| **version != recipe.version)
        {
            let older = Recipe { version: *version, ..recipe.clone() };
            if let Some(entry) = self.entry(older.fingerprint(), whole)? {
                let note = format!(
                    "made by version {version}, accepted; the program's is {}",
                    recipe.version
                );
                return Ok((older, StageDecision::Reuse(entry, Some(note))));
            }
        }
        let planned = |id: &str| {
            let index = plan.workflow.index(id)?;
            Some((&plan.workflow.stages[index], plan.steps[index].recipe.as_ref()?))
        };
        let name = &plan.workflow.name;
        let (reason, cost_seconds) = self.history.explain(name, stage, &recipe, &planned);
        Ok((recipe, StageDecision::Make { reason, cost_seconds }))
    }

    /// The entry, unless a file is missing, or damaged under `--verify`.
    fn entry(&self, fingerprint: Fingerprint, whole: bool) -> Result<Option<Arc<Entry>>> {
        let entry = self.store.get(&[fingerprint])?.into_iter().flatten().next();
        let Some(entry) = entry else { return Ok(None) };
        let look = match (self.wishes.verify, whole) {
            (true, _) => CheckDepth::Read,
            (false, true) => CheckDepth::Stat,
            (false, false) => return Ok(Some(Arc::new(entry))),
        };
        let is_good = self.store.presence(entry.artifact.part(""), look)?.is_empty();
        Ok(is_good.then(|| Arc::new(entry)))
    }

    /// True if a stage is forced and not made again yet.
    fn is_forced(&self, stage: &StageSpec, fingerprint: Fingerprint) -> Result<bool> {
        if !self.wishes.force.iter().any(|name| stage.is_named(name)) {
            return Ok(false);
        }
        let is_first = !self.forgotten.borrow().contains(&fingerprint);
        Ok(is_first || self.store.get(&[fingerprint])?.iter().all(Option::is_none))
    }

    /// Removes a forced stage's entry as its making begins, not before: what is left out or refused
    /// keeps its result. Of equal stages, the others reuse what the first makes.
    pub fn forget_forced(&self, stage: &StageSpec, fingerprint: Fingerprint) -> Result<()> {
        if self.is_forced(stage, fingerprint)? && self.forgotten.borrow_mut().insert(fingerprint) {
            self.store.forget(&fingerprint)?;
        }
        Ok(())
    }

    fn recipe(&self, stage: &StageSpec, plan: &Plan) -> Result<Recipe> {
        let mut inputs = BTreeMap::new();
        let made = MadeArtifacts { artifact: &|id| plan.artifact(id), store: self.store };
        for read in &stage.reads {
            let ids = stage.needs.get(read.role).map(Vec::as_slice).unwrap_or_default();
            for (number, id) in ids.iter().enumerate() {
                let artifact = plan.artifact(id);
                let artifact =
                    artifact.ok_or_else(|| Error::Failed(format!("'{id}' is not made yet")))?;
                let names = NamesRead::of(made, stage, read)?;
                inputs.insert(input_name(read, number), names.digest(artifact));
            }
        }
        let files = stage.kind.local_files(&stage.params);
        for (name, path) in files.map_err(|error| explained(stage, error.to_string()))? {
            let digest = self.digest_of(&path);
            let digest = digest.map_err(|error| explained(stage, error.to_string()))?;
            inputs.insert(format!("{LOCAL}{name}"), digest);
        }
        let kind = stage.kind;
        Ok(Recipe {
            kind: kind.name.into(),
            version: kind.version,
            params: kind.hashed(&stage.params),
            inputs,
        })
    }

    /// Digest of a user file; unreadable files are no store errors.
    fn digest_of(&self, path: &std::path::Path) -> Result<Digest> {
        let began = Instant::now();
        let verify = self.wishes.verify;
        let digest =
            if verify { self.store.read_digest_of(path) } else { self.store.digest_of(path) };
        let digest = digest.map_err(|error| Error::Failed(error.to_string()));
        self.reading.set(self.reading.get() + began.elapsed());
        digest
    }
}

/// Decision about a stage with unknown needs: it follows those still to be made, unless any of them
/// never will be.
fn waiting(plan: &Plan, unknown: &[usize]) -> Decision {
    let ids = unknown.iter().map(|&need| plan.workflow.stages[need].id.clone());
    let Some(need) = unknown.iter().find(|&&need| !plan.is_open(need)) else {
        return Decision::Follows { stages: ids.collect() };
    };
    let id = &plan.workflow.stages[*need].id;
    let reason = if plan.steps[*need].left_out.is_none() {
        format!("it needs '{id}', which cannot be made")
    } else {
        format!("'{id}' must be made first, and '--only' leaves it out")
    };
    Decision::Blocked { reason }
}

/// Error about a user file; a missing file may be due to an unset variable in its path.
fn explained(stage: &StageSpec, error: String) -> Error {
    Error::Failed(paths::words(stage, &environment::process).unwrap_or(error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::home::Home;
    use crate::workflow::toys;
    use serde_json::json;
    use voxflow_cache::{Artifact, NewEntry};

    struct StageHost {
        _folder: tempfile::TempDir,
        home: Home,
        store: Store,
    }

    fn bench() -> StageHost {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::new(folder.path(), None);
        home.create().unwrap();
        let store = Store::open(home.store()).unwrap();
        StageHost { _folder: folder, home, store }
    }

    impl StageHost {
        fn plan(&self, wishes: &StageSelection) -> Plan {
            let workflow = toys::workflow();
            Planner::new(&self.store, wishes, Explainer::new(&self.home, &self.store))
                .plan(workflow)
                .unwrap()
        }

        /// Publishes what a recipe would make, as if it had taken an hour.
        fn publish(&self, recipe: Recipe, text: &str) {
            let draft = self.store.draft().unwrap();
            std::fs::write(draft.folder().join("file"), text).unwrap();
            let (record, items, adopted) = (json!({}), vec![], Artifact::default());
            let made = NewEntry { recipe, record, items, seconds: 3600.0, adopted };
            self.store.publish(draft, made).unwrap();
        }

        /// Makes the source, so that everything else can be known.
        fn with_source(self) -> StageHost {
            let recipe = self.plan(&StageSelection::default()).steps[0].recipe.clone().unwrap();
            self.publish(recipe, "source");
            self
        }
    }

    fn step<'a>(plan: &'a Plan, id: &str) -> &'a Step {
        &plan.steps[plan.workflow.index(id).unwrap()]
    }

    #[test]
    fn what_follows_is_known_once_what_it_needs_is_made() {
        let bench = bench();
        let plan = bench.plan(&StageSelection::default());
        assert_eq!(
            step(&plan, "model").decision,
            Decision::Follows { stages: vec!["data".into()] }
        );
        let plan = bench.with_source().plan(&StageSelection::default());
        assert!(matches!(step(&plan, "data").decision, Decision::Reuse { .. }));
        assert!(
            matches!(&step(&plan, "model").decision, Decision::Run { reason, .. } if reason == "first run of this workflow")
        );
    }

    #[test]
    fn locators_are_not_part_of_the_recipe() {
        let plan = bench().plan(&StageSelection::default());
        let recipe = step(&plan, "data").recipe.clone().unwrap();
        assert_eq!(plan.workflow.stage("data").unwrap().params["url"], "/data/a$b");
        assert_eq!(recipe.params, json!({"seed": 7}));
    }

    #[test]
    fn where_only_a_version_differs_the_cost_is_said_and_the_old_one_can_be_accepted() {
        let bench = bench().with_source();
        let recipe = step(&bench.plan(&StageSelection::default()), "model").recipe.clone().unwrap();
        bench.publish(Recipe { version: recipe.version + 2, ..recipe.clone() }, "model");
        let plan = bench.plan(&StageSelection::default());
        let Decision::Run { reason, cost_seconds, .. } = &step(&plan, "model").decision else {
            panic!("not run")
        };
        assert_eq!(
            reason,
            "train is now version 1, was 3: 1 h 00 min; '--accept-version train=3' reuses it"
        );
        assert_eq!(*cost_seconds, Some(3600.0));
        let wishes = StageSelection {
            accept: BTreeMap::from([("train".to_string(), 3)]),
            ..StageSelection::default()
        };
        let plan = bench.plan(&wishes);
        let Decision::Reuse { note, .. } = &step(&plan, "model").decision else {
            panic!("not reused")
        };
        assert_eq!(note.as_deref(), Some("made by version 3, accepted; the program's is 1"));
    }

    #[test]
    fn what_other_workflows_made_is_no_reason() {
        let bench = bench().with_source();
        let recipe = step(&bench.plan(&StageSelection::default()), "model").recipe.clone().unwrap();
        let mut params = recipe.params.clone();
        params["epochs"] = 9.into();
        bench.publish(Recipe { params, ..recipe }, "near");
        let plan = bench.plan(&StageSelection::default());
        let Decision::Run { reason, cost_seconds, .. } = &step(&plan, "model").decision else {
            panic!("not run")
        };
        assert_eq!((reason.as_str(), *cost_seconds), ("first run of this workflow", None));
    }
}
