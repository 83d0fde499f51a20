//! A stage being made by jobs: submits attempts and keeps their results.

use super::attempt::{Assignment, Attempt, AttemptJob, Shard, Start, TaskFile};
use super::batch::Batcher;
use super::cluster::{Cluster, JobState, JobWants};
use super::relay;
use super::stored::is_whole;
use super::verdict::{End, FileRead, ItemMade, Verdict};
use super::view::QueueView;
use crate::executor::{HandedItem, MadeElsewhere, MadeFacts, StageOrder};
use crate::job_facts::JobFacts;
use crate::lock::lock;
use crate::site::{OnStop, Site};
use crate::stop::Stop;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use voxflow_cache::{Fingerprint, Store};
use voxflow_stages::protocol::Build;
use voxflow_stages::{Error, Host, Message, Result, Task};

/// Cluster state shared by all stages.
pub(super) struct Shared {
    pub(super) cluster: Arc<dyn Cluster>,
    pub(super) batcher: Batcher,
    pub(super) view: QueueView,
    pub(super) site: Site,
    /// The store's absolute path.
    pub(super) store: PathBuf,
    pub(super) on_stop: OnStop,
}

pub(super) struct RemoteMaking<'a> {
    pub(super) shared: &'a Shared,
    pub(super) order: &'a StageOrder<'a>,
    pub(super) host: &'a dyn Host,
    pub(super) stop: &'a Stop,
    pub(super) fingerprint: Fingerprint,
    /// Items delivered by this stage's jobs.
    pub(super) kept: Mutex<BTreeSet<Fingerprint>>,
    /// The task on disk, once written for the first attempt.
    pub(super) task_file: Mutex<Option<TaskFile>>,
}

impl RemoteMaking<'_> {
    /// Result of an earlier attempt, possibly by another program. Keeps items from unsuccessful
    /// attempts too.
    pub(super) fn take_over(&self) -> Result<Option<MadeFacts>> {
        for attempt in Attempt::list(&self.shared.store, &self.fingerprint)? {
            self.keep_items(&attempt)?;
            let is_whole = attempt.assignment().is_ok_and(|found| found.shard.is_none());
            if is_whole
                && let Some((start, verdict)) = attempt.good()?
                && FileRead::changed(&verdict.read)?.is_none()
                && self.has_items_of(&verdict)?
            {
                self.say(&format!("takes over a finished job ({})", verdict.host));
                return self.finish(&start, verdict).map(Some);
            }
        }
        Ok(None)
    }

    /// An attempt at the whole stage whose job is still alive, possibly by another program.
    pub(super) fn living(&self) -> Result<Option<Attempt>> {
        for attempt in Attempt::list(&self.shared.store, &self.fingerprint)? {
            let (Ok(assignment), Some(job)) = (attempt.assignment(), attempt.job()) else {
                continue;
            };
            let is_ours = assignment.shard.is_none() && assignment.sender == Build::own();
            if is_ours && self.is_alive(&job) {
                self.say("follows a job that an earlier run has submitted");
                return Ok(Some(attempt));
            }
        }
        Ok(None)
    }

    fn is_alive(&self, job: &AttemptJob) -> bool {
        let found = self.shared.view.find(job, true);
        found.seen.is_some_and(|seen| !matches!(seen.state, JobState::Over(_)))
    }

    pub(super) fn submit(&self, shard: Option<Shard>, wants: &JobWants) -> Result<Attempt> {
        let attempt = Attempt::create(
            &self.fingerprint,
            &Assignment {
                sender: Build::own(),
                task: self.task_file()?,
                threads: wants.resources.cpus as usize,
                ranks: self.order.task.ranks.max(wants.resources.gpus as usize),
                store: self.shared.store.clone(),
                gpus: wants.resources.gpus as usize,
                memory: wants.resources.memory,
                patience: self.shared.site.patience().as_secs(),
                scratch: self.shared.site.scratch.clone(),
                shard,
            },
        )?;
        let batcher = &self.shared.batcher;
        batcher.submit(&attempt, wants, &|| self.stop.is_asked(), &|words| self.say(words))?;
        self.shared.view.expire();
        Ok(attempt)
    }

    /// Writes the task at the first call: shares of a stage differ in nothing of it.
    fn task_file(&self) -> Result<TaskFile> {
        let mut written = lock(&self.task_file);
        if let Some(file) = &*written {
            return Ok(file.clone());
        }
        let file = TaskFile::write(&self.shared.store, &absolute(self.order.task)?)?;
        Ok(written.insert(file).clone())
    }

    /// Publishes an attempt's finished items, even if the attempt failed.
    pub(super) fn keep_items(&self, attempt: &Attempt) -> Result<()> {
        for start in attempt.starts()? {
            for (folder, item) in start.items_made() {
                let fingerprint = item.recipe.fingerprint();
                let ItemMade { recipe, files, seconds, read, .. } = item;
                (self.order.keep_item)(&HandedItem { recipe, folder, files, seconds, read })?;
                self.kept().insert(fingerprint);
            }
        }
        Ok(())
    }

    /// True if the store has all items a stage was assembled from. Items whose input files were
    /// rewritten meanwhile are dropped.
    pub(super) fn has_items_of(&self, verdict: &Verdict) -> Result<bool> {
        let End::Made { adopted, .. } = &verdict.end else { return Ok(true) };
        let store = Store::read_only(&self.shared.store)?;
        let mut own = adopted.values().filter(|blob| blob.reference.is_none());
        Ok(own.all(|blob| is_whole(&store.path(blob), blob.bytes)))
    }

    /// Replays the stage's messages and returns its files.
    pub(super) fn finish(&self, start: &Start, verdict: Verdict) -> Result<MadeFacts> {
        let Verdict { end, said_bytes, seconds, usage, host, .. } = verdict;
        let End::Made { files, adopted } = end else {
            return Err(Error::failed("a share of the items is no stage"));
        };
        relay::replay(start, said_bytes, |message| match message {
            Message::Item { name, made, fingerprint } => {
                // Items made by an earlier attempt's job count as made by this stage.
                let made = made || self.kept().contains(&fingerprint);
                self.host.tell(Message::Item { name, made, fingerprint });
            }
            other => self.host.tell(other),
        });
        adopted.iter().for_each(|(name, blob)| self.host.adopt(name, blob));
        let job = self.job_facts(start, host)?;
        let elsewhere = MadeElsewhere { folder: start.files(), files, seconds, job };
        Ok(MadeFacts { usage, elsewhere: Some(elsewhere) })
    }

    fn job_facts(&self, start: &Start, host: String) -> Result<JobFacts> {
        let (attempt, started) = (start.attempt(), start.started().unwrap_or_default());
        let (job, assignment) = (attempt.job().unwrap_or_default(), attempt.assignment()?);
        let queued = (job.at_ms > 0).then(|| (started.at_ms - job.at_ms).max(0) as f64 / 1000.0);
        let mut attempts = Attempt::list(&self.shared.store, &self.fingerprint)?;
        // Attempts at the whole stage; those at shares of its items count elsewhere.
        attempts.retain(|other| other.assignment().is_ok_and(|of| of.shard.is_none()));
        Ok(JobFacts {
            cluster: self.shared.cluster.name().into(),
            host,
            job: started.job,
            queue_seconds: queued,
            attempts: attempts.len() as u64,
            cpus: assignment.threads as u64,
            memory_bytes: assignment.memory,
            gpus: assignment.gpus as u64,
        })
    }

    fn kept(&self) -> MutexGuard<'_, BTreeSet<Fingerprint>> {
        lock(&self.kept)
    }

    pub(super) fn say(&self, words: &str) {
        self.host.tell(Message::Waiting { words: words.to_string() });
    }
}

fn absolute_path(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(Error::io("find", path))
}

/// Makes all paths in a task absolute.
fn absolute(task: &Task) -> Result<Task> {
    let mut task = task.clone();
    task.unfinished = absolute_path(&task.unfinished)?;
    let files = task.inputs.values_mut().flatten().flat_map(|input| input.files.values_mut());
    for file in files {
        file.path = absolute_path(&file.path)?;
    }
    Ok(task)
}
