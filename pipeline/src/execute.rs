//! Execution: one thread owns all state, every stage to be made runs on its own thread, and a
//! single channel carries their messages. Several runs (a sweep) share one schedule.

use crate::error::{Error, Result};
use crate::event::Fact;
use crate::executor::Executor;
use crate::job::Job;
use crate::moved_cases;
use crate::outcome::{Outcome, RunOutcome};
use crate::planner::{Planner, StageDecision};
use crate::reads::{MadeArtifacts, inputs};
use crate::resources::Resources;
use crate::run_tracker::{Done, RunTracker};
use crate::schedule::{NextAction, Schedule, ScheduledStage, StageId};
use crate::stage_job::{self, JobEvent, JobResult};
use crate::stop::Stop;
use crate::workflow::StageSpec;
use crate::workflow::paths::LOCAL;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::Scope;
use std::time::Duration;
use voxflow_cache::{Entry, Recall, Recipe, Store};
use voxflow_stages::stage::Pool;
use voxflow_stages::{Error as StageError, Message};

/// Interval at which an idle run polls for a stop request.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

#[derive(Clone, Debug)]
pub struct ExecOptions {
    /// Resources on this machine available to stages.
    pub budget: Resources,
    /// Threads per CPU stage.
    pub threads: usize,
    /// Threads per GPU stage.
    pub gpu_threads: usize,
    /// Device: auto, cpu, cuda or cuda:N.
    pub device: String,
    /// After a failure, continue with independent stages.
    pub keep_going: bool,
    /// Read every blob before reuse.
    pub verify: bool,
}

impl ExecOptions {
    /// Resources taken by a stage on this machine. Without a graphics card, GPU stages run on the
    /// CPU. GPU stages reserve cores only if the workflow says so.
    fn wants(&self, stage: &StageSpec) -> Resources {
        let asked = &stage.resources;
        let none = Resources { memory: asked.memory.unwrap_or(0), ..Resources::default() };
        match stage.kind.pool {
            Pool::Io => Resources { io: 1, ..none },
            Pool::Gpu if self.budget.gpus > 0 => {
                let cpus = asked.cpus.map_or(0, u64::from);
                Resources { gpus: asked.gpus.map_or(1, u64::from), cpus, ..none }
            }
            Pool::Cpu | Pool::Gpu => {
                Resources { jobs: 1, cpus: self.threads_of(stage) as u64, ..none }
            }
        }
    }

    /// Thread count for a stage.
    fn threads_of(&self, stage: &StageSpec) -> usize {
        let has_card = stage.kind.pool == Pool::Gpu && self.budget.gpus > 0;
        let usual = if has_card { self.gpu_threads } else { self.threads };
        stage.resources.cpus.map_or(usual, usize::from)
    }
}

pub struct RunEnding {
    /// Outcome per run, in order.
    pub outcomes: Vec<RunOutcome>,
    /// Per run: true if it made anything.
    pub made: Vec<bool>,
    /// First store or disk error.
    pub storage: Option<String>,
}

/// Executes all runs. On success every stage has ended exactly once.
pub fn execute(
    runs: Vec<RunTracker>,
    store: &Store,
    planner: &Planner,
    executor: &dyn Executor,
    manner: &ExecOptions,
    stop: &Stop,
) -> Result<RunEnding> {
    let (sender, receiver) = channel();
    let owners: Vec<(usize, usize)> = runs
        .iter()
        .enumerate()
        .flat_map(|(run, live)| (0..live.plan.steps.len()).map(move |step| (run, step)))
        .collect();
    let schedule = Schedule::new(nodes(&runs, manner), manner.budget, manner.keep_going);
    let count = owners.len();
    std::thread::scope(|scope| {
        let mut engine = Engine {
            runs,
            owners,
            schedule,
            store,
            planner,
            executor,
            manner,
            stop,
            go: (0..count).map(|_| None).collect(),
            storage: None,
            heard_stop: false,
        };
        let result = engine.schedule_loop(scope, &sender, &receiver);
        if result.is_err() {
            // Running stages must end, or leaving the scope would wait for them.
            stop.ask();
        }
        // Stages waiting to be resumed see their channel close and stop.
        engine.go.clear();
        result
    })
}

/// Schedule nodes for all runs, in run order.
fn nodes(runs: &[RunTracker], manner: &ExecOptions) -> Vec<ScheduledStage> {
    let mut nodes = vec![];
    for live in runs {
        let first = nodes.len();
        let stages = live.plan.workflow.stages.iter().zip(&live.plan.steps);
        nodes.extend(stages.map(|(stage, step)| ScheduledStage {
            needs: step.needs.iter().map(|need| first + need).collect(),
            wants: manner.wants(stage),
        }));
    }
    nodes
}

struct Engine<'a> {
    runs: Vec<RunTracker>,
    /// Run and step for each schedule node.
    owners: Vec<(usize, usize)>,
    schedule: Schedule,
    store: &'a Store,
    planner: &'a Planner<'a>,
    executor: &'a dyn Executor,
    manner: &'a ExecOptions,
    stop: &'a Stop,
    /// Channels waking stages paused for another maker.
    go: Vec<Option<Sender<()>>>,
    storage: Option<String>,
    heard_stop: bool,
}

type StageMessage = (StageId, JobEvent);

impl<'a> Engine<'a> {
    fn schedule_loop<'s>(
        &mut self,
        scope: &'s Scope<'s, '_>,
        sender: &Sender<StageMessage>,
        receiver: &Receiver<StageMessage>,
    ) -> Result<RunEnding>
    where
        'a: 's,
    {
        let alone = self.runs.len() == 1;
        self.runs.iter_mut().try_for_each(|run| run.begin(alone))?;
        loop {
            self.on_stop()?;
            while let Some(turn) = self.schedule.turn() {
                match turn {
                    NextAction::Begin(id) => self.start(id, scope, sender)?,
                    NextAction::Resume(id) => self.resume_stage(id),
                }
            }
            if self.schedule.is_idle() {
                break;
            }
            match receiver.recv_timeout(POLL_INTERVAL) {
                Ok((id, note)) => self.hear(id, note)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.runs.iter_mut().try_for_each(RunTracker::keep_record)?;
            self.store.keep_hold();
            self.end_what_is_over()?;
        }
        self.skip_rest()?;
        let stopped = self.heard_stop;
        let outcomes =
            self.runs.iter_mut().map(|run| run.end(stopped, self.store)).collect::<Result<_>>()?;
        let made = self.runs.iter().map(RunTracker::has_made).collect();
        Ok(RunEnding { outcomes, made, storage: self.storage.take() })
    }

    /// Ends runs whose stages are all done: if the process is killed later, these runs are
    /// complete. Stopped runs end together.
    fn end_what_is_over(&mut self) -> Result<()> {
        if self.heard_stop || self.runs.len() == 1 {
            return Ok(());
        }
        let over = self.runs.iter_mut().filter(|run| run.is_over());
        over.map(|run| run.end(false, self.store)).try_for_each(|ended| ended.map(drop))
    }

    /// Wakes a paused stage; ignores stages already finished.
    fn resume_stage(&self, id: StageId) {
        if let Some(go) = &self.go[id] {
            go.send(()).ok();
        }
    }

    fn on_stop(&mut self) -> Result<()> {
        if self.heard_stop || !self.stop.is_asked() {
            return Ok(());
        }
        self.heard_stop = true;
        self.schedule.stop();
        self.runs
            .iter_mut()
            .filter(|run| !run.has_ended())
            .try_for_each(|run| run.tell(Fact::Stopping))
    }

    /// Starts a ready stage: reuses its artifact or spawns a thread.
    fn start<'s>(
        &mut self,
        id: StageId,
        scope: &'s Scope<'s, '_>,
        sender: &Sender<StageMessage>,
    ) -> Result<()>
    where
        'a: 's,
    {
        let (run, step) = self.owners[id];
        let live = &mut self.runs[run];
        live.go();
        if let Some(reason) = live.plan.steps[step].left_out {
            live.stage_skipped(step, reason.words().to_string(), 0.0)?;
            self.schedule.finish(id, true);
            return Ok(());
        }
        let (recipe, settled) = match self.settle(run, step) {
            Ok(settled) => settled,
            Err(error) => {
                let storage = matches!(error, Error::Storage(_));
                return self.failed(id, &error.to_string(), storage, 0.0);
            }
        };
        let live = &mut self.runs[run];
        live.plan.steps[step].recipe = Some(recipe.clone());
        if let StageDecision::Reuse(entry, note) = settled {
            self.warn_of_moved(run, step, &entry)?;
            let live = &mut self.runs[run];
            live.stage_done(step, Done::reused(entry, note), self.store)?;
            self.schedule.finish(id, true);
            return Ok(());
        }
        live.stage_began(step, &recipe, &settled)?;
        self.spawn(id, recipe, scope, sender)
    }

    fn spawn<'s>(
        &mut self,
        id: StageId,
        recipe: Recipe,
        scope: &'s Scope<'s, '_>,
        sender: &Sender<StageMessage>,
    ) -> Result<()>
    where
        'a: 's,
    {
        let job = self.job(id, recipe);
        let (go, hear_go) = channel();
        self.go[id] = Some(go);
        let (store, stop, sender) = (self.store.clone(), self.stop.clone(), sender.clone());
        let executor = self.executor;
        let thread = std::thread::Builder::new().name(format!("stage {}", job.stage));
        let spawned = thread.spawn_scoped(scope, move || {
            stage_job::make(&job, &store, executor, &stop, &sender, &hear_go)
        });
        spawned
            .map(|_| ())
            .map_err(|error| Error::Failed(format!("a thread: cannot be started: {error}")))
    }

    /// Uses the plan's decision if no needed stage was made since; otherwise plans the stage again.
    fn settle(&self, run: usize, step: usize) -> Result<(Recipe, StageDecision)> {
        use crate::event::Decision;
        let plan = &self.runs[run].plan;
        let found = &plan.steps[step];
        // In a sweep an earlier run may have made it since the plan.
        if self.runs.len() > 1
            && matches!(found.decision, Decision::Run { .. })
            && let (recipe, StageDecision::Reuse(entry, note)) = self.planner.settle(plan, step)?
            && self.store.usable(&entry.artifact)?.is_empty()
        {
            return Ok((recipe, StageDecision::Reuse(entry, note)));
        }
        let untouched =
            found.needs.iter().all(|&need| plan.steps[need].entry.is_some() && !plan.is_open(need));
        match (&found.decision, &found.recipe, &found.entry) {
            (Decision::Reuse { note, .. }, Some(recipe), Some(entry)) if untouched => {
                Ok((recipe.clone(), StageDecision::Reuse(entry.clone(), note.clone())))
            }
            // User files may have changed since the plan: such stages are planned again.
            (Decision::Run { reason, cost_seconds, .. }, Some(recipe), _)
                if untouched && !reads_own_files(recipe) =>
            {
                let (reason, cost_seconds) = (reason.clone(), *cost_seconds);
                Ok((recipe.clone(), StageDecision::Make { reason, cost_seconds }))
            }
            // The plan found an entry with missing bytes. It counts only if they are back, made
            // by another stage meanwhile; else the plan's reason still holds.
            (Decision::Run { reason, cost_seconds, fingerprint }, _, _) => {
                let (recipe, settled) = self.planner.settle(plan, step)?;
                if recipe.fingerprint() != *fingerprint || self.is_usable(&settled)? {
                    return Ok((recipe, settled));
                }
                let (reason, cost_seconds) = (reason.clone(), *cost_seconds);
                Ok((recipe, StageDecision::Make { reason, cost_seconds }))
            }
            _ => self.planner.settle(plan, step),
        }
    }

    fn is_usable(&self, settled: &StageDecision) -> Result<bool> {
        match settled {
            StageDecision::Reuse(entry, _) => Ok(self.store.usable(&entry.artifact)?.is_empty()),
            StageDecision::Make { .. } => Ok(false),
        }
    }

    fn job(&self, id: StageId, recipe: Recipe) -> Job {
        let (run, step) = self.owners[id];
        let live = &self.runs[run];
        let stage = &live.plan.workflow.stages[step];
        let made = MadeArtifacts { artifact: &|id| live.plan.artifact(id), store: self.store };
        Job {
            id,
            stage: stage.id.clone(),
            kind: stage.kind,
            recipe,
            params: stage.params.clone(),
            inputs: inputs(made, stage),
            device: self.manner.device.clone(),
            threads: self.manner.threads_of(stage),
            gpus: self.manner.wants(stage).gpus as usize,
            asked: stage.resources.clone(),
            last_peak: self.planner.history().peak_memory(&live.plan.workflow.name, &stage.id),
            ranks: stage.resources.gpus.map_or(1, usize::from),
            verify: self.manner.verify,
            log: live.folder().file("log.txt"),
        }
    }

    fn hear(&mut self, id: StageId, note: JobEvent) -> Result<()> {
        let (run, step) = self.owners[id];
        match note {
            JobEvent::Said(message) => self.runs[run].stage_said(step, message),
            JobEvent::Waiting => {
                self.schedule.pause(id);
                self.runs[run].stage_waiting(step)
            }
            JobEvent::Resuming => {
                self.schedule.resume(id);
                self.runs[run].stage_resumes(step);
                Ok(())
            }
            JobEvent::JobResult(over) => self.over(id, *over),
        }
    }

    fn over(&mut self, id: StageId, over: JobResult) -> Result<()> {
        let (run, step) = self.owners[id];
        let JobResult { result, seconds } = over;
        match result {
            Ok((entry, recall)) => {
                let outcome = if recall == Recall::Made { Outcome::Made } else { Outcome::Reused };
                // Hashing inputs during planning is part of the cost of making.
                let early = match recall {
                    Recall::Made => self.runs[run].plan.steps[step].read_seconds,
                    Recall::Reused => 0.0,
                };
                let seconds = seconds + early;
                let note =
                    (recall == Recall::Reused).then(|| "another run made it meanwhile".to_string());
                let done = Done { entry: Arc::new(entry), outcome, note, seconds };
                self.warn_of_moved(run, step, &done.entry)?;
                self.runs[run].stage_done(step, done, self.store)?;
                self.schedule.finish(id, true);
                Ok(())
            }
            Err(StageError::Stopped) => {
                self.stop.ask();
                self.on_stop()?;
                self.runs[run].stage_interrupted(step, seconds)?;
                let skipped = self.schedule.finish(id, false);
                self.skip(&skipped, "the run was stopped")
            }
            Err(error) => self.failed(id, &error.to_string(), error.is_storage(), seconds),
        }
    }

    /// Warns about cases changing sides in a split, unless nothing is to be made: then no new
    /// scores arise.
    fn warn_of_moved(&mut self, run: usize, step: usize, entry: &Entry) -> Result<()> {
        let plan = &self.runs[run].plan;
        let stage = &plan.workflow.stages[step];
        if !moved_cases::is_split(stage) || !(0..plan.steps.len()).any(|index| plan.is_open(index))
        {
            return Ok(());
        }
        let (name, history) = (&plan.workflow.name, self.planner.history());
        match moved_cases::words(&entry.artifact, name, stage, self.store, history) {
            Some(words) => self.runs[run].stage_said(step, Message::Warning { words }),
            None => Ok(()),
        }
    }

    fn failed(&mut self, id: StageId, error: &str, storage: bool, seconds: f64) -> Result<()> {
        let (run, step) = self.owners[id];
        let stage = self.runs[run].plan.workflow.stages[step].id.clone();
        self.runs[run].stage_failed(step, error, seconds)?;
        let skipped = self.schedule.finish(id, false);
        if storage {
            self.schedule.stop();
            self.storage.get_or_insert_with(|| error.to_string());
        }
        self.skip(&skipped, &format!("'{stage}' failed"))
    }

    fn skip_rest(&mut self) -> Result<()> {
        let rest = self.schedule.skip_rest();
        self.skip(
            &rest,
            if self.heard_stop { "the run was stopped" } else { "the run ended at a failure" },
        )
    }

    fn skip(&mut self, nodes: &[StageId], reason: &str) -> Result<()> {
        for id in nodes {
            let (run, step) = self.owners[*id];
            self.runs[run].stage_cut_off(step, reason)?;
        }
        Ok(())
    }
}

/// True if a recipe includes user files.
fn reads_own_files(recipe: &Recipe) -> bool {
    recipe.inputs.keys().any(|name| name.starts_with(LOCAL))
}
