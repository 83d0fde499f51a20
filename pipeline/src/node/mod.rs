//! The node's side of remote stages: `voxflow task ATTEMPT` makes a stage and leaves a verdict.
//! Reads the store but never writes to it: files are settled in the attempt folder and published by
//! the orchestrator.

mod beat;
mod host;
mod late_files;
pub mod probe;
mod process;
mod scratch;

use crate::error::Exit;
use crate::executor::remote::attempt::{Attempt, Started};
use crate::executor::remote::verdict::{End, FileRead, StopReason, Verdict};
use crate::executor::{Executor, Local, StageOrder};
use crate::machine::{self, Usage};
use crate::stop::Stop;
use crate::workflow::stage_resources::StageResources;
use beat::Beat;
use host::NodeHost;
use process::NodeProcess;
use scratch::ScratchFolder;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};
use voxflow_cache::{Store, settle};
use voxflow_stages::protocol::{Build, REMEDY};
use voxflow_stages::{Error, Kind, Reply, Result, Task};

/// The surrounding cluster job, from environment variables.
#[derive(Clone, Debug, Default)]
pub struct JobAround {
    pub id: Option<String>,
    /// Number of previous starts.
    pub restarts: u32,
}

impl JobAround {
    /// Reads Slurm's variables.
    pub fn of_environment() -> JobAround {
        let array = variable("SLURM_ARRAY_JOB_ID").zip(variable("SLURM_ARRAY_TASK_ID"));
        let id =
            array.map(|(job, task)| format!("{job}_{task}")).or_else(|| variable("SLURM_JOB_ID"));
        let restarts = variable("SLURM_RESTART_COUNT").and_then(|count| count.parse().ok());
        JobAround { id, restarts: restarts.unwrap_or(0) }
    }

    /// Requeues the job. Must be the last action: the cluster kills the process.
    fn requeue(&self) {
        let Some(id) = &self.id else { return };
        let asked = std::process::Command::new("scontrol").args(["requeue", id]).status();
        if !asked.is_ok_and(|status| status.success()) {
            tracing::warn!("job {id}: was not queued again; the run will submit another");
        }
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Makes an attempt's stage. Exit code 0 if a verdict was written, even a failure; 3 otherwise.
pub fn run(folder: &Path) -> crate::error::Result<Exit> {
    if folder.join(probe::QUESTION).exists() {
        return Ok(probe::answer(folder).map(|()| Exit::Done)?);
    }
    let attempt = Attempt::at(folder);
    let around = JobAround::of_environment();
    let assignment = attempt.assignment()?;
    let start = attempt.start(around.restarts)?;
    let at_ms = crate::event::now_ms();
    start.write_started(&Started { host: machine::host(), job: around.id.clone(), at_ms })?;
    let stop = Stop::default();
    stop.listen()?;
    // Written just before the job was submitted, by another machine.
    let task = late_files::read_in_time(assignment.patience, &stop, || attempt.task(&assignment))?;
    let node = NodeProcess {
        attempt: &attempt,
        assignment: &assignment,
        task: &task,
        start: &start,
        stop: &stop,
    };
    let verdict = node.make();
    start.write_verdict(&verdict)?;
    if let End::Stopped { why: StopReason::Walltime, has_moved: true } = verdict.end {
        around.requeue();
    }
    Ok(Exit::Done)
}

impl NodeProcess<'_> {
    fn make(&self) -> Verdict {
        let began = Instant::now();
        let before = self.unfinished_state();
        // Looked at before it is read: a file that is written later has another stat.
        let read = FileRead::all(self.own_files());
        let work = read.map_err(|error| (error, 0)).and_then(|read| Ok((read, self.work()?)));
        let (read, (end, said_bytes, usage)) = work.unwrap_or_else(|(error, said)| {
            (vec![], (self.failure(&error, &before), said, Usage::default()))
        });
        let seconds = began.elapsed().as_secs_f64();
        Verdict { end, said_bytes, seconds, usage, host: machine::host(), read }
    }

    /// The person's own files that the stage itself reads.
    fn own_files(&self) -> Vec<PathBuf> {
        let task = self.task;
        let Some(kind) = Kind::named(&task.recipe.kind) else { return vec![] };
        let inputs =
            task.inputs.iter().filter(|(role, _)| !late_files::is_read_by_items(kind, task, role));
        let files = inputs.flat_map(|(_, inputs)| inputs).flat_map(|input| input.files.values());
        let referenced = files.filter_map(|file| Some(file.blob.reference.as_ref()?.path.clone()));
        let local = kind.local_files(&task.params).unwrap_or_default();
        referenced.chain(local.into_values()).collect()
    }

    /// Makes the stage; errors include the length of written messages.
    fn work(&self) -> std::result::Result<(End, u64, Usage), (Error, u64)> {
        self.check_build().map_err(|error| (error, 0))?;
        let store = Store::read_only(&self.assignment.store).map_err(|error| (error.into(), 0))?;
        let host = NodeHost::new(self, &store).map_err(|error| (error, 0))?;
        let beat = Beat::begin(host.said(), self.start, self.stop).map_err(|error| (error, 0))?;
        let made = self.make_with(&host);
        drop(beat);
        let said = host.close().map_err(|error| (error, 0))?;
        made.map(|(end, usage)| (end, said, usage)).map_err(|error| (error, said))
    }

    fn make_with(&self, host: &NodeHost) -> Result<(End, Usage)> {
        let kind = host.kind;
        let files = late_files::stage_files(kind, self.task);
        late_files::wait_for(files, self.assignment.patience, self.stop)?;
        let mut task = Task { draft: self.start.files(), ..self.task.clone() };
        let place = self.assignment.scratch.as_deref();
        let _scratch =
            place.map(|place| ScratchFolder::fill(place, kind, &mut task, host)).transpose()?;
        let order = StageOrder {
            kind,
            task: &task,
            workdir: &|| Ok(self.start.log().parent().unwrap_or(Path::new(".")).to_path_buf()),
            log: &self.start.log(),
            gpus: self.assignment.gpus,
            asked: &StageResources::default(),
            last_peak: None,
            programs: &host.programs,
            keep_item: &|_| Ok(()),
        };
        let finished = Local::on(&task.device).make(&order, host, self.stop)?;
        if self.assignment.shard.is_some() {
            return Ok((End::Shard, finished.usage));
        }
        let files = settle(&self.start.files())?;
        Ok((End::Made { files, adopted: host.take_adopted() }, finished.usage))
    }

    fn check_build(&self) -> Result<()> {
        match Build::own().difference(&self.assignment.sender) {
            None => Ok(()),
            Some(difference) => {
                let words = format!("the program that asks for the stage {difference}; {REMEDY}");
                Err(Error::failed(words))
            }
        }
    }

    fn failure(&self, error: &Error, before: &UnfinishedState) -> End {
        match error {
            Error::Elsewhere => End::Shard,
            Error::Stopped => {
                let why = match self.is_fenced() {
                    true => StopReason::Fenced,
                    false if self.stop.is_warned() => StopReason::Walltime,
                    false => StopReason::Asked,
                };
                End::Stopped { why, has_moved: self.unfinished_state() != *before }
            }
            error => End::Failed { error: Reply::from(error) },
        }
    }

    fn is_fenced(&self) -> bool {
        beat::is_fenced(self.start)
    }

    /// Names and times of unfinished files and items, for detecting progress.
    fn unfinished_state(&self) -> UnfinishedState {
        let mut state = UnfinishedState::new();
        for folder in [&self.task.unfinished, &self.start.items()] {
            let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
            state.extend(entries.map(|entry| {
                let changed = entry.metadata().and_then(|facts| facts.modified()).ok();
                (entry.path(), changed)
            }));
        }
        state
    }
}

type UnfinishedState = BTreeMap<PathBuf, Option<SystemTime>>;
