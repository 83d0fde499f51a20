//! Stages made by the jobs of a cluster. Each attempt is a folder in the store ([`attempt`]) that a
//! job fills and closes by a verdict ([`verdict`]); the verdict is the truth, and the cluster's own
//! state tells of deaths only. [`batch`] submits, [`view`] asks the queue, [`retry`] decides.
//!
//! Attempts survive this program: whoever wants the same stage later takes a good verdict, follows
//! a living job, and uses the items and checkpoints of a dead one.

pub mod attempt;
mod batch;
pub mod children;
pub mod cluster;
mod follow;
mod relay;
mod retry;
pub mod slurm;
pub mod verdict;
mod view;

use super::{Executor, Finished, HandedItem, JobFacts, Local, MadeElsewhere, Order};
use crate::resources::Resources;
use crate::site::{OnStop, Site};
use crate::stop::Stop;
use attempt::{Assignment, Attempt, Shard, Start};
use batch::Batcher;
use cluster::{Cluster, JobWants};
use follow::Follow;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use verdict::{End, Verdict};
use view::View;
use voxflow_cache::{Fingerprint, Recipe};
use voxflow_stages::protocol::Build;
use voxflow_stages::{Error, Host, Message, Result, Task};

/// Stages as jobs of a cluster; work of moments stays here.
pub struct Remote {
    local: Local,
    cluster: Arc<dyn Cluster>,
    batcher: Batcher,
    view: View,
    site: Site,
    store: PathBuf,
    on_stop: OnStop,
}

/// One stage in the making.
pub(super) struct Making<'a> {
    remote: &'a Remote,
    order: &'a Order<'a>,
    host: &'a dyn Host,
    stop: &'a Stop,
    fingerprint: Fingerprint,
    /// Items that jobs of this making handed over.
    kept: std::sync::Mutex<BTreeSet<Fingerprint>>,
}

impl Remote {
    /// On a cluster, with a store that its nodes see under the same path.
    pub fn new(cluster: Arc<dyn Cluster>, site: Site, store: PathBuf, on_stop: OnStop) -> Remote {
        let store = std::path::absolute(&store).unwrap_or(store);
        let batcher = Batcher::new(Arc::clone(&cluster), store.join("batches"));
        let view = View::new(Arc::clone(&cluster));
        Remote { local: Local::on("cpu"), cluster, batcher, view, site, store, on_stop }
    }

    /// The most jobs at once.
    pub fn most_jobs(&self) -> usize {
        self.site.max_jobs()
    }

    fn wants(&self, order: &Order) -> JobWants {
        let kind = self.site.kind(order.kind.name);
        let (asked, demand) = (order.asked, order.kind.demand);
        let cpus = asked.cpus.or(kind.cpus).unwrap_or(demand.cpus);
        let memory = asked.memory.or(kind.memory).unwrap_or(demand.memory);
        let is_on_gpu = order.kind.pool == voxflow_stages::stage::Pool::Gpu;
        let usual = u16::from(is_on_gpu && order.task.device != "cpu");
        let gpus = asked.gpus.or(kind.gpus).unwrap_or(usual);
        let usual = demand.hours.map(|hours| std::time::Duration::from_secs(3600 * u64::from(hours)));
        let time = asked.time.or(kind.time).or(usual);
        let time = match (time, self.site.max_time()) {
            (Some(time), Some(most)) => Some(time.min(most)),
            (time, most) => time.or(most),
        };
        let resources =
            Resources { io: 0, jobs: 1, cpus: cpus.into(), memory, gpus: gpus.into() };
        let partition = kind.partition.clone().or_else(|| self.site.partition());
        JobWants { resources, time, partition, exclude: vec![] }
    }
}

impl Executor for Remote {
    fn make(&self, order: &Order, host: &dyn Host, stop: &Stop) -> Result<Finished> {
        if !order.kind.demand.is_job {
            return self.local.make(order, host, stop);
        }
        let fingerprint = order.task.recipe.fingerprint();
        let kept = std::sync::Mutex::default();
        Making { remote: self, order, host, stop, fingerprint, kept }.make()
    }

    fn tidy(&self, recipe: &Recipe) {
        let fingerprint = recipe.fingerprint();
        let jobs = Attempt::list(&self.store, &fingerprint).unwrap_or_default();
        for job in jobs.iter().filter_map(Attempt::job) {
            self.batcher.forget(&job);
        }
        let folder = attempt::of_stage(&self.store, &fingerprint);
        if let Err(error) = std::fs::remove_dir_all(&folder)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!("{}: is of no use any more and cannot be removed: {error}", folder.display());
        }
    }

    fn hands_items(&self) -> bool {
        true
    }
}

impl Making<'_> {
    fn make(&self) -> Result<Finished> {
        let mut wants = self.remote.wants(self.order);
        if let Some(finished) = self.take_over()? {
            return Ok(finished);
        }
        let shards = self.shards();
        if shards > 1 {
            self.make_items(shards, &wants)?;
        }
        let attempt = match self.living()? {
            Some(attempt) => attempt,
            None => self.submit(None, &wants)?,
        };
        let (start, verdict) = self.follow(attempt, None, &mut wants)?;
        self.finish(&start, verdict)
    }

    /// The result of an earlier attempt, made for this or another program. Items of others are
    /// kept.
    fn take_over(&self) -> Result<Option<Finished>> {
        for attempt in Attempt::list(&self.remote.store, &self.fingerprint)? {
            self.keep_items(&attempt)?;
            let is_whole = attempt.assignment().is_ok_and(|found| found.shard.is_none());
            if is_whole && let Some((start, verdict)) = attempt.good()? {
                self.say(&format!("takes over a finished job ({})", verdict.host));
                return self.finish(&start, verdict).map(Some);
            }
        }
        Ok(None)
    }

    /// An attempt at the whole stage whose job is still known, of this or another program.
    fn living(&self) -> Result<Option<Attempt>> {
        for attempt in Attempt::list(&self.remote.store, &self.fingerprint)? {
            let (Ok(assignment), Some(job)) = (attempt.assignment(), attempt.job()) else {
                continue;
            };
            let is_ours = assignment.shard.is_none() && assignment.sender == Build::own();
            let is_alive = || {
                let found = self.remote.view.find(&job, true);
                found.seen.is_some_and(|seen| !matches!(seen.state, cluster::State::Over(_)))
            };
            if is_ours && is_alive() {
                self.say("follows a job that an earlier run has submitted");
                return Ok(Some(attempt));
            }
        }
        Ok(None)
    }

    /// The number of jobs that make items.
    fn shards(&self) -> u64 {
        let roles: Vec<&str> = self.order.kind.items.iter().map(|items| items.reads).collect();
        let inputs = self.order.task.inputs.iter();
        let files = inputs.filter(|(role, _)| roles.contains(&role.as_str()));
        let files: usize = files.flat_map(|(_, inputs)| inputs).map(|input| input.files.len()).sum();
        let jobs = files as u64 / self.remote.site.items_per_job().max(1);
        jobs.clamp(1, self.remote.most_jobs() as u64)
    }

    /// Makes the items in jobs of their own, each a share of them.
    fn make_items(&self, count: u64, wants: &JobWants) -> Result<()> {
        let shards = (0..count).map(|index| Shard { index, count });
        let results: Vec<Result<()>> = std::thread::scope(|scope| {
            let threads: Vec<_> = shards
                .map(|shard| {
                    let mut wants = wants.clone();
                    wants.resources.gpus = wants.resources.gpus.min(1);
                    scope.spawn(move || {
                        let attempt = self.submit(Some(shard), &wants)?;
                        self.follow(attempt, Some(shard), &mut wants).map(drop)
                    })
                })
                .collect();
            let lost = || Err(Error::failed("a thread of the cluster broke"));
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| lost())).collect()
        });
        let mut cases = vec![];
        for result in results {
            match result {
                Err(Error::Cases(bad)) => cases.extend(bad),
                result => result?,
            }
        }
        if cases.is_empty() { Ok(()) } else { Err(Error::Cases(cases)) }
    }

    fn submit(&self, shard: Option<Shard>, wants: &JobWants) -> Result<Attempt> {
        let mut task = absolute(self.order.task)?;
        task.threads = wants.resources.cpus as usize;
        let attempt = Attempt::create(&Assignment {
            sender: Build::own(),
            task,
            store: self.remote.store.clone(),
            gpus: wants.resources.gpus as usize,
            patience: self.remote.site.patience().as_secs(),
            shard,
        })?;
        let stopping = || self.stop.is_asked();
        self.remote.batcher.submit(&attempt, wants, &stopping, &|words| self.say(words))?;
        self.remote.view.expire();
        Ok(attempt)
    }

    /// Follows an attempt, and others after it, to a good verdict.
    fn follow(
        &self,
        attempt: Attempt,
        shard: Option<Shard>,
        wants: &mut JobWants,
    ) -> Result<(Start, Verdict)> {
        Follow::new(self, shard).to_the_end(attempt, wants)
    }

    /// Keeps the finished items of an attempt, whatever became of the rest.
    fn keep_items(&self, attempt: &Attempt) -> Result<()> {
        for start in attempt.starts()? {
            for (folder, item) in start.items_made()? {
                let fingerprint = item.recipe.fingerprint();
                let (recipe, files) = (item.recipe, item.files);
                (self.order.keep_item)(&HandedItem { recipe, folder, files, seconds: item.seconds })?;
                self.kept().insert(fingerprint);
            }
        }
        Ok(())
    }

    /// Tells what the stage said, and hands its files over.
    fn finish(&self, start: &Start, verdict: Verdict) -> Result<Finished> {
        let Verdict { end, said_bytes, seconds, usage, host } = verdict;
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
        let started = start.started().unwrap_or_default();
        let job = JobFacts { host, job: started.job, cluster: self.remote.cluster.name().into() };
        let elsewhere = MadeElsewhere { folder: start.files(), files, seconds, job };
        Ok(Finished { usage, elsewhere: Some(elsewhere) })
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, BTreeSet<Fingerprint>> {
        self.kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn say(&self, words: &str) {
        self.host.tell(Message::Waiting { words: words.to_string() });
    }
}

/// The task with paths that mean the same in any folder.
fn absolute(task: &Task) -> Result<Task> {
    let absolute = |path: &Path| std::path::absolute(path).map_err(Error::io("find", path));
    let mut task = task.clone();
    task.unfinished = absolute(&task.unfinished)?;
    let files = task.inputs.values_mut().flatten().flat_map(|input| input.files.values_mut());
    files.map(|file| absolute(&file.path).map(|path| file.path = path)).collect::<Result<()>>()?;
    Ok(task)
}
