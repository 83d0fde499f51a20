//! One stage in the making by jobs: attempts are submitted, what they leave is kept.

use super::attempt::{Assignment, Attempt, Shard, Start};
use super::batch::Batcher;
use super::cluster::{Cluster, JobState, JobWants};
use super::relay;
use super::stored::is_whole;
use super::verdict::{End, FileRead, ItemMade, Verdict};
use super::view::QueueView;
use crate::executor::{HandedItem, MadeElsewhere, MadeFacts, StageOrder};
use crate::job_facts::JobFacts;
use crate::site::{OnStop, Site};
use crate::stop::Stop;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use voxflow_cache::{Fingerprint, Store};
use voxflow_stages::protocol::Build;
use voxflow_stages::{Error, Host, Message, Result, Task};

/// The parts of a cluster that all stages share.
pub(super) struct Shared {
    pub(super) cluster: Arc<dyn Cluster>,
    pub(super) batcher: Batcher,
    pub(super) view: QueueView,
    pub(super) site: Site,
    /// The store's folder, absolute.
    pub(super) store: PathBuf,
    pub(super) on_stop: OnStop,
}

/// One stage in the making.
pub(super) struct RemoteMaking<'a> {
    pub(super) shared: &'a Shared,
    pub(super) order: &'a StageOrder<'a>,
    pub(super) host: &'a dyn Host,
    pub(super) stop: &'a Stop,
    pub(super) fingerprint: Fingerprint,
    /// Items that jobs of this making handed over.
    pub(super) kept: Mutex<BTreeSet<Fingerprint>>,
}

impl RemoteMaking<'_> {
    /// The result of an earlier attempt, made for this or another program. Items of others are
    /// kept.
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

    /// An attempt at the whole stage whose job is still known, of this or another program.
    pub(super) fn living(&self) -> Result<Option<Attempt>> {
        for attempt in Attempt::list(&self.shared.store, &self.fingerprint)? {
            let (Ok(assignment), Some(job)) = (attempt.assignment(), attempt.job()) else {
                continue;
            };
            let is_ours = assignment.shard.is_none() && assignment.sender == Build::own();
            let is_alive = || {
                let found = self.shared.view.find(&job, true);
                found.seen.is_some_and(|seen| !matches!(seen.state, JobState::Over(_)))
            };
            if is_ours && is_alive() {
                self.say("follows a job that an earlier run has submitted");
                return Ok(Some(attempt));
            }
        }
        Ok(None)
    }

    pub(super) fn submit(&self, shard: Option<Shard>, wants: &JobWants) -> Result<Attempt> {
        let mut task = absolute(self.order.task)?;
        task.threads = wants.resources.cpus as usize;
        task.ranks = task.ranks.max(wants.resources.gpus as usize);
        let attempt = Attempt::create(&Assignment {
            sender: Build::own(),
            task,
            store: self.shared.store.clone(),
            gpus: wants.resources.gpus as usize,
            memory: wants.resources.memory,
            patience: self.shared.site.patience().as_secs(),
            scratch: self.shared.site.scratch.clone(),
            shard,
        })?;
        let stopping = || self.stop.is_asked();
        self.shared.batcher.submit(&attempt, wants, &stopping, &|words| self.say(words))?;
        self.shared.view.expire();
        Ok(attempt)
    }

    /// Keeps the finished items of an attempt, whatever became of the rest.
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

    /// True if the items that a stage was put together from are in the store. Those of files that
    /// were written meanwhile were not kept.
    pub(super) fn has_items_of(&self, verdict: &Verdict) -> Result<bool> {
        let End::Made { adopted, .. } = &verdict.end else { return Ok(true) };
        let store = Store::read_only(&self.shared.store)?;
        let mut own = adopted.values().filter(|blob| blob.reference.is_none());
        Ok(own.all(|blob| is_whole(&store.path(blob), blob.bytes)))
    }

    /// Tells what the stage said, and hands its files over.
    pub(super) fn finish(&self, start: &Start, verdict: Verdict) -> Result<MadeFacts> {
        let Verdict { end, said_bytes, seconds, usage, host, .. } = verdict;
        let End::Made { files, adopted } = end else {
            return Err(Error::failed("a share of the items is no stage"));
        };
        relay::replay(start, said_bytes, |message| match message {
            Message::Item { name, made, fingerprint } => {
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
        let is_whole = |other: &Attempt| other.assignment().is_ok_and(|of| of.shard.is_none());
        let attempts = Attempt::list(&self.shared.store, &self.fingerprint)?;
        Ok(JobFacts {
            cluster: self.shared.cluster.name().into(),
            host,
            job: started.job,
            queue_seconds: queued,
            attempts: attempts.iter().filter(|other| is_whole(other)).count() as u64,
            cpus: assignment.task.threads as u64,
            memory_bytes: assignment.memory,
            gpus: assignment.gpus as u64,
        })
    }

    fn kept(&self) -> MutexGuard<'_, BTreeSet<Fingerprint>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn say(&self, words: &str) {
        self.host.tell(Message::Waiting { words: words.to_string() });
    }
}

/// The task with paths that mean the same in any folder.
fn absolute(task: &Task) -> Result<Task> {
    let absolute = |path: &Path| std::path::absolute(path).map_err(Error::io("find", path));
    let mut task = task.clone();
    task.unfinished = absolute(&task.unfinished)?;
    let files = task.inputs.values_mut().flatten().flat_map(|input| input.files.values_mut());
    for file in files {
        file.path = absolute(&file.path)?;
    }
    Ok(task)
}
