//! `voxflow stop`: asks a run's process to stop and cancels its cluster jobs.

use super::place_args::PlaceArgs;
use super::tell;
use crate::error::{Error, Exit, Result};
use crate::executor::remote::attempt::{Attempt, AttemptJob};
use crate::executor::remote::cluster::{Cluster, JobId, JobState};
use crate::executor::remote::cluster_of;
use crate::globals::Globals;
use crate::humanize;
use crate::runs::{self, StoredRun};
use clap::Args;
use rustix::process::{Pid, Signal, kill_process};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longest wait for the process of a run to end.
const PATIENCE: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(50);

#[derive(Debug, Args)]
pub struct StopArgs {
    /// Runs: ids, id prefixes, 'latest' or folders
    #[arg(required = true, value_name = "RUN")]
    pub runs: Vec<String>,
    #[command(flatten)]
    pub place: PlaceArgs,
}

impl StopArgs {
    pub fn run(&self, globals: &Globals) -> Result<Exit> {
        let home = globals.home();
        let site = self.place.find(&home)?;
        let found = runs::find_each(&home, &self.runs)?;
        let asked: Vec<Option<String>> = found.iter().map(ask_process).collect();
        // Read again: a run that ends writes down all that it has submitted.
        let ids: Vec<String> = found.into_iter().map(|run| run.record.run).collect();
        for (run, asked) in runs::find_each(&home, &ids)?.into_iter().zip(asked) {
            let cluster = cluster_of(&site, &run.record.store);
            let words = [asked, cancel_jobs(&run, cluster)?];
            let words: Vec<String> = words.into_iter().flatten().collect();
            let words =
                if words.is_empty() { "nothing of it runs".into() } else { words.join("; ") };
            tell(&format!("{}: {words}", run.record.run));
        }
        Ok(Exit::Done)
    }
}

/// Interrupts the local process with the run's journal open, if any, and waits a while for its end:
/// it may be submitting a job.
fn ask_process(run: &StoredRun) -> Option<String> {
    let journal = std::fs::canonicalize(run.folder.file("events.jsonl")).ok()?;
    let own = std::process::id();
    let processes = std::fs::read_dir("/proc").ok()?.flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let writer = ids.filter(|pid| *pid != own).find(|pid| has_open(*pid, &journal))?;
    let pid = Pid::from_raw(i32::try_from(writer).ok()?)?;
    kill_process(pid, Signal::INT).ok()?;
    let until = Instant::now() + PATIENCE;
    while has_open(writer, &journal) && Instant::now() < until {
        std::thread::sleep(POLL_INTERVAL);
    }
    Some(format!("process {writer} was asked to stop"))
}

fn has_open(pid: u32, file: &Path) -> bool {
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    open.into_iter().any(|entry| std::fs::read_link(entry.path()).is_ok_and(|path| path == file))
}

fn cancel_jobs(run: &StoredRun, cluster: Option<Arc<dyn Cluster>>) -> Result<Option<String>> {
    let Some(cluster) = cluster else { return Ok(None) };
    let mut jobs: Vec<JobId> = vec![];
    for fingerprint in run.record.stages.iter().filter_map(|stage| stage.fingerprint) {
        for attempt in Attempt::list(&run.record.store, &fingerprint)? {
            if attempt.good()?.is_none()
                && let Some(job) = attempt.job()
            {
                jobs.extend(id_of(&job, cluster.as_ref()));
            }
        }
    }
    if jobs.is_empty() {
        return Ok(None);
    }
    cluster.cancel(&jobs).map_err(|silent| {
        Error::Failed(format!("{} does not answer: {}", cluster.name(), silent.0))
    })?;
    let count = humanize::count(jobs.len() as u64, "job");
    Ok(Some(format!("{count} cancelled: {}", jobs.join(", "))))
}

/// The id of a job: as written down, or by its name where the process died before it was told.
fn id_of(job: &AttemptJob, cluster: &dyn Cluster) -> Option<JobId> {
    if let Some(id) = &job.id {
        return Some(format!("{id}_{}", job.index));
    }
    let mut queue = cluster.look().ok()?.into_iter();
    let found = queue.find(|seen| seen.batch == job.batch && seen.index == job.index)?;
    (!matches!(found.state, JobState::Over(_))).then_some(found.job)
}
