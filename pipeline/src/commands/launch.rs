//! Launching: plans workflows, creates runs, executes them under one schedule, and writes reports.

use super::exec_args::ExecArgs;
use super::workflow_args::WorkflowArgs;
use crate::console::{Console, Meter, VariantLines, Verbosity};
use crate::error::{Error, Exit, Result};
use crate::event::{Observer, now_ms};
use crate::execute::{RunEnding, execute};
use crate::executor::child;
use crate::explain::Explainer;
use crate::globals::{Globals, LogFormat};
use crate::heartbeat::Heartbeat;
use crate::home::Home;
use crate::journal::{Journal, JsonLines};
use crate::lock::lock;
use crate::outcome::{Outcome, RunOutcome};
use crate::plan::Plan;
use crate::planner::Planner;
use crate::report::RunSubject;
use crate::run::{EarlierRecord, RunFolder, RunRecord, StageRecord, Sweep};
use crate::run_tracker::RunTracker;
use crate::runs::StoredRun;
use crate::selection::StageSelection;
use crate::site::ExecutorName;
use crate::stop::Stop;
use crate::store_homes::Needs;
use crate::tables::{self, Recorder};
use crate::workflow::earlier::EarlierArtifact;
use crate::workflow::{StageSpec, Workflow};
use crate::{containers, device, disk_space, foreseen, log, machine, report, secret, store_homes};
use std::sync::{Arc, Mutex};
use voxflow_cache::{Store, disk};
use voxflow_stages::kind::Place;
use voxflow_stages::stage::{Pool, Yields};

/// Home, store and execution options for launching runs.
pub struct Launch<'a> {
    pub globals: &'a Globals,
    pub home: Home,
    source: &'a WorkflowArgs,
    means: &'a ExecArgs,
    store: Store,
    stop: Stop,
}

/// Finished runs.
pub struct LaunchResult {
    /// Run folders, in order.
    pub folders: Vec<RunFolder>,
    pub ending: RunEnding,
}

impl<'a> Launch<'a> {
    /// Opens home and store, and starts handling signals.
    pub fn new(
        globals: &'a Globals,
        source: &'a WorkflowArgs,
        means: &'a ExecArgs,
    ) -> Result<Launch<'a>> {
        let stop = Stop::default();
        stop.listen()?;
        let home = globals.home();
        home.create()?;
        let store = home.open_store()?;
        store.hold()?;
        Ok(Launch { globals, home, source, means, store, stop })
    }

    /// Runs each workflow to its end.
    pub fn go(
        &self,
        workflows: Vec<(Workflow, Option<Sweep>)>,
        wishes: &StageSelection,
    ) -> Result<LaunchResult> {
        if self.means.no_commands {
            workflows.iter().try_for_each(|(workflow, _)| without_commands(workflow))?;
        }
        let tagged =
            workflows.iter().flat_map(|(workflow, _)| containers::foreseen::tagged(workflow));
        refuse(tagged.collect())?;
        let site = self.means.place.find(&self.home)?;
        let planner = Planner::new(&self.store, wishes, Explainer::new(&self.home, &self.store));
        let meter = wishes.verify.then(|| self.meter());
        let mut plans = vec![];
        for (workflow, sweep) in workflows {
            plans.push((planner.plan(workflow)?, sweep));
        }
        drop(meter.and_then(|meter| lock(&meter).take()));
        let is_here = site.executor == ExecutorName::Here;
        possible(plans.iter().map(|(plan, _)| plan), &self.means.device, &self.store, is_here)?;
        let short = disk_space::warning(
            plans.iter().map(|(plan, _)| plan),
            &self.store,
            planner.history(),
        )?;
        let wants_card = plans.iter().any(|(plan, _)| wants_card(plan));
        let (executor, options) =
            self.means.executor(site, &self.home, wants_card, wishes.verify)?;
        let runs = self.open(plans)?;
        short.iter().for_each(|words| tracing::warn!("{words}"));
        let folders: Vec<RunFolder> = runs.iter().map(|run| run.folder().clone()).collect();
        let ending = execute(runs, &self.store, &planner, executor.as_ref(), &options, &self.stop)?;
        self.store.flush();
        let reported = folders.iter().zip(&ending.made).filter(|(_, made)| **made);
        let alone = folders.len() == 1;
        reported.for_each(|(folder, _)| report_on(folder.clone(), self.globals, alone));
        Ok(LaunchResult { folders, ending })
    }

    /// Progress display for store reads during planning; ends when taken.
    fn meter(&self) -> Arc<Mutex<Option<Meter>>> {
        let hidden = self.globals.quiet || self.globals.log_format == LogFormat::Json;
        let meter = Arc::new(Mutex::new(Some(Meter::open_ended(hidden))));
        let told = Arc::clone(&meter);
        self.store.on_reading(move |bytes| {
            let meter = lock(&told);
            meter.iter().for_each(|meter| meter.more(bytes));
        });
        meter
    }

    /// Creates folders and observers for the runs.
    fn open(&self, plans: Vec<(Plan, Option<Sweep>)>) -> Result<Vec<RunTracker>> {
        let count = plans.len();
        store_homes::register(&self.home);
        let mut runs = vec![];
        for (at, (plan, sweep)) in plans.into_iter().enumerate() {
            let folder = RunFolder::create(&self.home.runs(), &plan.workflow.name)?;
            let record = self.record(&plan, &folder, sweep);
            write_texts(&plan, &folder)?;
            if let Some(sweep) = &record.sweep {
                tables::write_sweep(folder.path(), &record.run, sweep)?;
            }
            if at == 0 {
                log::also_to(&folder.file("log.txt"))?;
            }
            let mut observers = observers(&folder, &record, self.globals, (at + 1, count))?;
            let earlier = record.earlier.iter().filter_map(|earlier| earlier.fingerprint);
            observers.push(Box::new(Needs::of(&self.home, earlier)));
            runs.push(RunTracker::new(plan, folder, record, observers));
        }
        Ok(runs)
    }

    fn record(&self, plan: &Plan, folder: &RunFolder, sweep: Option<Sweep>) -> RunRecord {
        let store = self.home.store();
        RunRecord {
            format: 1,
            run: folder.id(),
            workflow: plan.workflow.name.clone(),
            outcome: RunOutcome::Running,
            note: None,
            started_at_ms: now_ms(),
            seconds: None,
            seed: plan.workflow.seed,
            sweep,
            overrides: self.source.set.iter().map(|words| secret::strip(words)).collect(),
            device: self.means.device.clone(),
            threads: self.means.threads(),
            versions: machine::versions(),
            git_commit: machine::git_commit(),
            machine: machine::describe(),
            store: std::path::absolute(store).unwrap_or_else(|_| store.to_path_buf()),
            earlier: plan.workflow.earlier.values().map(earlier_record).collect(),
            stages: plan.workflow.stages.iter().map(stage_record).collect(),
        }
    }
}

/// Refuses a workflow with programs of its own.
fn without_commands(workflow: &Workflow) -> Result<()> {
    let stages = workflow.stages.iter().filter(|stage| stage.kind.runs_program);
    let named: Vec<String> = stages.map(|stage| format!("'{}'", stage.id)).collect();
    if named.is_empty() {
        return Ok(());
    }
    let (file, named) = (&workflow.file, named.join(", "));
    Err(Error::Usage(format!(
        "{file}: runs programs of its own in {named}, and '--no-commands' refuses them; read what \
         they run, and leave the flag out if you trust it"
    )))
}

fn earlier_record(found: &EarlierArtifact) -> EarlierRecord {
    EarlierRecord {
        id: found.id(),
        kind: found.kind.clone(),
        fingerprint: found.fingerprint,
        digest: found.digest,
    }
}

fn stage_record(stage: &StageSpec) -> StageRecord {
    StageRecord {
        stage: stage.id.clone(),
        kind: stage.kind.name.to_string(),
        needs: stage.needs.clone(),
        params: secret::strip_value(&stage.params),
        recipe: None,
        fingerprint: None,
        artifact: None,
        digest: None,
        outcome: None,
        reason: None,
        error: None,
        warnings: vec![],
        seconds: 0.0,
        made_in_seconds: None,
        maker: serde_json::Value::Null,
    }
}

/// With pictures painted by the page, if the run tested anything: reading the cases again would
/// dominate a run that reused everything.
fn with_pictures(subject: RunSubject) -> RunSubject {
    let mut tests = subject.stages_with(Yields::TestScores);
    let has_tested = tests.any(|stage| stage.outcome == Some(Outcome::Made));
    drop(tests);
    if has_tested { super::report::drawn(subject) } else { subject }
}

/// Writes a finished run's report; failures are printed, not returned.
fn report_on(folder: RunFolder, globals: &Globals, alone: bool) {
    let read = folder
        .record()
        .and_then(|record| RunSubject::read(StoredRun { folder: folder.clone(), record }));
    match read.and_then(|subject| report::write(&with_pictures(subject.beside(folder.path())))) {
        Ok(path) if alone && !globals.quiet && globals.log_format == LogFormat::Text => {
            super::tell(&format!("report: {}", path.display()));
        }
        Ok(_) => {}
        Err(error) => super::complain(&error),
    }
}

/// Writes the workflow as given, with the files that it extends, and as resolved, without
/// credentials.
fn write_texts(plan: &Plan, folder: &RunFolder) -> Result<()> {
    let given = ("workflow.yaml".to_string(), plan.workflow.text.clone());
    let resolved = ("resolved.yaml".to_string(), plan.workflow.resolved());
    let bases = plan.workflow.bases.iter().enumerate();
    let bases = bases.map(|(at, base)| (format!("base-{}.yaml", at + 1), base.text.clone()));
    [given, resolved].into_iter().chain(bases).try_for_each(|(name, text)| {
        Ok(disk::write(&folder.file(&name), secret::strip_yaml(&text).as_bytes())?)
    })
}

/// Observers for a run. The journal comes first: facts are recorded even if a later observer fails.
/// A single run gets the full console; several runs share it with prefixed lines. `place` is
/// (number, count).
fn observers(
    folder: &RunFolder,
    record: &RunRecord,
    globals: &Globals,
    place: (usize, usize),
) -> Result<Vec<Box<dyn Observer>>> {
    let params = record.stages.iter().map(|stage| (stage.stage.as_str(), &stage.params));
    let journal = Journal::open(&folder.file("events.jsonl"))?;
    let recorder = Recorder::new(folder.path(), params);
    let for_people: Box<dyn Observer> = match (globals.log_format, &record.sweep) {
        (LogFormat::Json, _) => Box::new(JsonLines),
        (LogFormat::Text, None) => Box::new(Console::stderr(Verbosity::of(globals))),
        (LogFormat::Text, Some(sweep)) => {
            Box::new(VariantLines::stderr(place, sweep, Verbosity::of(globals)))
        }
    };
    Ok(vec![
        Box::new(journal),
        Box::new(recorder),
        Box::new(Heartbeat::new(folder.path())),
        Box::new(Console::log_file(&folder.file("log.txt"))?),
        for_people,
    ])
}

/// True if a stage to be made needs a graphics card.
fn wants_card(plan: &Plan) -> bool {
    let mut stages = plan.workflow.stages.iter().enumerate();
    stages.any(|(index, stage)| plan.is_open(index) && stage.kind.pool == Pool::Gpu)
}

/// Refuses runs known to fail before any work starts: blocked stages, predictions without images,
/// patches beyond the memory of this machine, containers without an engine, a missing worker, an
/// unusable device.
fn possible<'a>(
    plans: impl Iterator<Item = &'a Plan>,
    device: &str,
    store: &Store,
    is_here: bool,
) -> Result<()> {
    let mut troubles = vec![];
    let mut needs_worker = false;
    for plan in plans {
        troubles.extend(plan.blocked());
        // A graphics card has memory of its own, unknown here.
        let memory = (is_here && !machine::has_accelerator()).then(machine::memory);
        troubles.extend(foreseen::of_plan(plan, store, memory));
        if is_here {
            troubles.extend(containers::foreseen::of_plan(plan));
        }
        let mut stages = plan.workflow.stages.iter().enumerate();
        needs_worker |= stages
            .any(|(index, stage)| plan.is_open(index) && matches!(stage.kind.place, Place::Worker));
    }
    if needs_worker {
        troubles.extend(child::trouble().or_else(|| device::trouble(device)));
    }
    refuse(troubles)
}

fn refuse(mut troubles: Vec<String>) -> Result<()> {
    troubles.dedup();
    if troubles.is_empty() {
        Ok(())
    } else {
        Err(Error::Usage(secret::strip(&troubles.join("\n"))))
    }
}

/// Exit code for the worst outcome.
pub fn exit(ending: &RunEnding) -> Exit {
    match &ending.outcomes {
        _ if ending.storage.is_some() => Exit::Storage,
        outcomes if outcomes.contains(&RunOutcome::Failed) => Exit::Failed,
        outcomes if outcomes.contains(&RunOutcome::Interrupted) => Exit::Interrupted,
        _ => Exit::Done,
    }
}
