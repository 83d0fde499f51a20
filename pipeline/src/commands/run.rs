//! `voxflow run`: makes what must be made, reuses the rest, and leaves a run's folder.

use super::choice::{Selection, Source};
use crate::cli::{Globals, LogFormat};
use crate::console::{Console, Screen, Verbosity};
use crate::event::{Observer, RunOutcome, now_ms};
use crate::execute::{Manner, execute};
use crate::exit::{Error, Exit, Result};
use crate::history::Past;
use crate::home::Home;
use crate::journal::{Journal, JsonLines};
use crate::live::LiveRun;
use crate::plan::{Plan, Planner};
use crate::pulse::Pulse;
use crate::run::{RunFolder, RunRecord, StageRecord, Sweep};
use crate::schedule::Slots;
use crate::stop::Stop;
use crate::tables::Recorder;
use crate::why::History;
use crate::workflow::{Override, StageSpec, sweep};
use crate::{log, machine, report, secret, space, worker};
use clap::Args;
use std::fs;
use voxflow_cache::Store;
use voxflow_stages::kinds::Place;

/// Downloads at once.
const IO_SLOTS: usize = 4;

/// The workflow to run, and how.
#[derive(Debug, Args)]
pub struct Run {
    /// Which workflow.
    #[command(flatten)]
    pub source: Source,
    /// Which stages.
    #[command(flatten)]
    pub selection: Selection,
    /// Go on after a failure with all that does not depend on it
    #[arg(long, short)]
    pub keep_going: bool,
    /// How many stages at once on the processor
    #[arg(long, short, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub jobs: u16,
    /// Threads for each stage; by default the cores shared among the jobs. Training repeats bit by bit
    /// only with the same number
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Where to train and predict: auto, cpu or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto", value_parser = device)]
    pub device: String,
}

/// A device as a person names it.
pub(super) fn device(text: &str) -> std::result::Result<String, String> {
    let numbered = text.strip_prefix("cuda:").is_some_and(|number| number.parse::<u8>().is_ok());
    match text {
        "auto" | "cpu" => Ok(text.into()),
        "cuda" => Ok("cuda:0".into()),
        _ if numbered => Ok(text.into()),
        _ => Err("write auto, cpu or cuda:N".into()),
    }
}

impl Run {
    /// Runs the workflow, or every variant of its sweep.
    pub fn run(&self, globals: &Globals) -> Result<Exit> {
        let workflows = self.source.workflows()?;
        let wishes = self.selection.wishes()?;
        let stop = Stop::default();
        stop.listen()?;
        let home = globals.home();
        home.create()?;
        let store = Store::open(home.store())?;
        store.hold()?;
        let planner = Planner::acting(&store, &wishes, History::new(&home, &store));
        let mut plans = vec![];
        for (workflow, variant) in workflows {
            plans.push((planner.plan(workflow)?, variant));
        }
        possible(plans.iter().map(|(plan, _)| plan))?;
        let short = space::warning(plans.iter().map(|(plan, _)| plan), &store, planner.history())?;
        let runs = self.open(plans, &home, globals)?;
        short.iter().for_each(|words| tracing::warn!("{words}"));
        let folders: Vec<RunFolder> = runs.iter().map(|run| run.folder().clone()).collect();
        let ending = execute(runs, &store, &planner, &self.manner(), &stop)?;
        store.flush();
        let reported = folders.into_iter().zip(&ending.made).filter(|(_, made)| **made);
        reported.for_each(|(folder, _)| report_on(folder, globals));
        Ok(exit(&ending.outcomes, ending.storage.is_some()))
    }

    fn threads(&self) -> usize {
        let shared = machine::cores() / usize::from(self.jobs);
        self.threads.map_or(shared.max(1), usize::from)
    }

    fn manner(&self) -> Manner {
        Manner {
            slots: Slots { io: IO_SLOTS, cpu: self.jobs.into(), gpu: 1 },
            threads: self.threads(),
            device: self.device.clone(),
            gpu_is_cpu: self.device == "cpu" || (self.device == "auto" && !machine::has_accelerator()),
            keep_going: self.keep_going,
            verify: self.selection.verify,
        }
    }

    /// A folder for each run, with who is told of it.
    fn open(&self, plans: Vec<(Plan, Vec<Override>)>, home: &Home, globals: &Globals) -> Result<Vec<LiveRun>> {
        let several = plans.len() > 1;
        let mut sweep_id = None;
        let mut runs = vec![];
        for (plan, variant) in plans {
            let folder = RunFolder::create(&home.runs(), &plan.workflow.name)?;
            if several {
                sweep_id.get_or_insert_with(|| folder.id());
            }
            let sweep = sweep_id.clone().map(|id| Sweep { id, values: sweep::values(&variant) });
            let record = self.record(&plan, &folder, sweep, home);
            write_texts(&plan, &folder)?;
            if runs.is_empty() {
                log::also_to(&folder.file("log.txt")).map_err(Error::io("open", folder.file("log.txt")))?;
            }
            let observers = observers(&folder, &record, globals, !several)?;
            runs.push(LiveRun::new(plan, folder, record, observers));
        }
        Ok(runs)
    }

    fn record(&self, plan: &Plan, folder: &RunFolder, sweep: Option<Sweep>, home: &Home) -> RunRecord {
        RunRecord {
            format: 1,
            run: folder.id(),
            workflow: plan.workflow.name.clone(),
            outcome: RunOutcome::Running,
            started_at_ms: now_ms(),
            seconds: None,
            seed: plan.workflow.seed,
            sweep,
            overrides: self.source.set.iter().map(|words| secret::strip(words)).collect(),
            device: self.device.clone(),
            threads: self.threads(),
            versions: machine::versions(),
            git_commit: machine::git_commit(),
            machine: machine::describe(),
            store: std::path::absolute(home.store()).unwrap_or_else(|_| home.store().to_path_buf()),
            stages: plan.workflow.stages.iter().map(stage_record).collect(),
        }
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
        seconds: 0.0,
        made_in_seconds: None,
        maker: serde_json::Value::Null,
    }
}

/// Writes the report of a run that is over. A report that cannot be written fails no run.
fn report_on(folder: RunFolder, globals: &Globals) {
    match folder.record().and_then(|record| report::write(Past { folder, record })) {
        Ok(path) if !globals.quiet && globals.log_format == LogFormat::Text => {
            super::tell(&format!("report: {}", path.display()));
        }
        Ok(_) => {}
        Err(error) => super::complain(&error),
    }
}

/// The workflow as written and as resolved, without credentials.
fn write_texts(plan: &Plan, folder: &RunFolder) -> Result<()> {
    let texts = [("workflow.yaml", plan.workflow.text.clone()), ("resolved.yaml", plan.workflow.resolved())];
    texts.into_iter().try_for_each(|(name, text)| {
        let path = folder.file(name);
        fs::write(&path, secret::strip(&text)).map_err(Error::io("write", &path))
    })
}

/// Who is told of a run: the journal first, so that whatever else fails, what happened is written
/// down. Bars move only where one run has the terminal to itself.
fn observers(folder: &RunFolder, record: &RunRecord, globals: &Globals, alone: bool) -> Result<Vec<Box<dyn Observer>>> {
    let params = record.stages.iter().map(|stage| (stage.stage.as_str(), &stage.params));
    let journal = Journal::open(&folder.file("events.jsonl"))?;
    let recorder = Recorder::new(folder.path(), params);
    let for_people: Box<dyn Observer> = match globals.log_format {
        LogFormat::Json => Box::new(JsonLines),
        LogFormat::Text if alone => Box::new(Console::stderr(Verbosity::of(globals))),
        LogFormat::Text => {
            let (screen, style) = Screen::stderr(false);
            Box::new(Console::new(screen, style, Verbosity::of(globals)))
        }
    };
    Ok(vec![Box::new(journal), Box::new(recorder), Box::new(Pulse::new(folder.path())), for_people])
}

/// Refuses what is known to be impossible before any work.
fn possible<'a>(plans: impl Iterator<Item = &'a Plan>) -> Result<()> {
    let mut troubles = vec![];
    let mut needs_worker = false;
    for plan in plans {
        troubles.extend(plan.blocked());
        let mut stages = plan.workflow.stages.iter().enumerate();
        needs_worker |= stages.any(|(index, stage)| plan.is_open(index) && matches!(stage.kind.place, Place::Worker));
    }
    troubles.extend(worker::trouble().filter(|_| needs_worker));
    troubles.dedup();
    if troubles.is_empty() { Ok(()) } else { Err(Error::Usage(secret::strip(&troubles.join("\n")))) }
}

fn exit(outcomes: &[RunOutcome], storage: bool) -> Exit {
    if storage {
        Exit::Storage
    } else if outcomes.contains(&RunOutcome::Failed) {
        Exit::Failed
    } else if outcomes.contains(&RunOutcome::Interrupted) {
        Exit::Interrupted
    } else {
        Exit::Done
    }
}
