//! Executor running stages as cluster jobs.

use super::attempt::{self, Attempt, Shard};
use super::batch::Batcher;
use super::census::{self, ItemCount};
use super::children::ChildJobs;
use super::cluster::{Cluster, JobWants};
use super::follow::Follow;
use super::making::{RemoteMaking, Shared};
use super::share_progress::ShareProgress;
use super::slurm::Slurm;
use super::view::QueueView;
use crate::executor::{Executor, Local, MadeFacts, StageOrder};
use crate::resources::Resources;
use crate::site::{ExecutorName, OnStop, Site};
use crate::stop::Stop;
use crate::workflow::stage_resources::StageResources;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use voxflow_cache::{Recipe, disk};
use voxflow_stages::stage::Pool;
use voxflow_stages::{Error, Host, Kind, Result};

/// Lower bound for memory requests derived from a stage's last peak.
const LEAST_MEMORY: u64 = 1 << 30;

/// Runs stages as jobs; trivial stages run locally.
pub struct Remote {
    local: Local,
    shared: Shared,
}

impl Remote {
    /// Nodes must see the store under the same path.
    pub fn new(cluster: Arc<dyn Cluster>, site: Site, store: PathBuf, on_stop: OnStop) -> Remote {
        let store = std::path::absolute(&store).unwrap_or(store);
        let batcher = Batcher::new(Arc::clone(&cluster), store.join("batches"));
        let view = QueueView::new(Arc::clone(&cluster));
        let shared = Shared { cluster, batcher, view, site, store, on_stop };
        Remote { local: Local::on("cpu"), shared }
    }

    /// Maximum number of concurrent jobs.
    pub fn most_jobs(&self) -> usize {
        self.shared.site.max_jobs()
    }
}

/// The site's cluster; `None` for local execution.
pub fn cluster_of(site: &Site, store: &Path) -> Option<Arc<dyn Cluster>> {
    match site.executor {
        ExecutorName::Here => None,
        ExecutorName::Children => {
            Some(Arc::new(ChildJobs::new(store.join("batches"), site.children)))
        }
        ExecutorName::Slurm => Some(Arc::new(Slurm::new(site.slurm.clone()))),
    }
}

/// Resources for a stage's job: from the workflow, else the site file, else the kind's defaults.
/// Unspecified memory follows the stage's last peak, except for stages with items: their jobs are
/// of two sorts.
pub fn wants(
    site: &Site,
    kind: &Kind,
    asked: &StageResources,
    device: &str,
    last_peak: Option<u64>,
) -> JobWants {
    let last_peak = last_peak.filter(|_| kind.items.is_empty());
    let by_history = last_peak.map(|peak| (peak / 2 * 3).max(LEAST_MEMORY));
    let demand = kind.demand;
    let is_on_gpu = kind.pool == Pool::Gpu && device != "cpu";
    let kind = site.kind(kind.name);
    let usual_time = demand.hours.map(|hours| Duration::from_secs(3600 * u64::from(hours)));
    let time = asked.time.or(kind.time).or(usual_time);
    let most = site.max_time();
    let time = time.into_iter().chain(most).min();
    let resources = Resources {
        io: 0,
        jobs: 1,
        cpus: asked.cpus.or(kind.cpus).unwrap_or(demand.cpus).into(),
        memory: asked.memory.or(kind.memory).or(by_history).unwrap_or(demand.memory),
        gpus: asked.gpus.or(kind.gpus).unwrap_or(u16::from(is_on_gpu)).into(),
    };
    let partition = kind.partition.or_else(|| site.partition());
    JobWants { resources, time, partition, exclude: vec![] }
}

impl Executor for Remote {
    fn make(&self, order: &StageOrder, host: &dyn Host, stop: &Stop) -> Result<MadeFacts> {
        if !order.kind.demand.is_job {
            return self.local.make(order, host, stop);
        }
        let fingerprint = order.task.recipe.fingerprint();
        let (kept, task_file) = (Mutex::default(), Mutex::default());
        let shared = &self.shared;
        make(&RemoteMaking { shared, order, host, stop, fingerprint, kept, task_file })
    }

    fn tidy(&self, recipe: &Recipe) {
        let fingerprint = recipe.fingerprint();
        let jobs = Attempt::list(&self.shared.store, &fingerprint).unwrap_or_default();
        for job in jobs.iter().filter_map(Attempt::job) {
            self.shared.batcher.forget(&job);
        }
        let folder = attempt::of_stage(&self.shared.store, &fingerprint);
        if let Err(error) = disk::remove(&folder) {
            tracing::warn!("{error}; it is of no use any more and may be removed by hand");
        }
    }
}

fn make(making: &RemoteMaking) -> Result<MadeFacts> {
    let order = making.order;
    let mut wants =
        wants(&making.shared.site, order.kind, order.asked, &order.task.device, order.last_peak);
    if let Some(finished) = making.take_over()? {
        return Ok(finished);
    }
    let items = items(making)?;
    let shards = shards(making, items);
    if shards > 1 {
        make_items(making, &ShareProgress::of(items), shards, &wants)?;
    }
    let attempt = match making.living()? {
        Some(attempt) => attempt,
        None => making.submit(None, &wants)?,
    };
    let (start, verdict) = Follow::of_stage(making).until_good(attempt, &mut wants)?;
    making.finish(&start, verdict)
}

/// The stage's items, if it has some that can be counted.
fn items(making: &RemoteMaking) -> Result<Option<ItemCount>> {
    let order = making.order;
    match order.kind.items_with(&order.task.params).is_empty() {
        true => Ok(None),
        false => census::count(making),
    }
}

/// Number of jobs sharing the items, by missing items, or by the stage's input files if unknown.
fn shards(making: &RemoteMaking, items: Option<ItemCount>) -> u64 {
    let items = items.map_or_else(|| files_of_items(making.order), |items| items.missing);
    let jobs = items.div_ceil(making.shared.site.items_per_job().max(1));
    jobs.clamp(1, making.shared.site.max_jobs() as u64)
}

/// Number of input files in roles items are made from.
fn files_of_items(order: &StageOrder) -> u64 {
    let items = order.kind.items_with(&order.task.params);
    let roles: Vec<&str> = items.iter().map(|items| items.reads).collect();
    let inputs = order.task.inputs.iter().filter(|(role, _)| roles.contains(&role.as_str()));
    inputs.flat_map(|(_, inputs)| inputs).map(|input| input.files.len() as u64).sum()
}

/// Makes items in separate jobs, a share each.
fn make_items(
    making: &RemoteMaking,
    progress: &ShareProgress,
    count: u64,
    wants: &JobWants,
) -> Result<()> {
    let shards = (0..count).map(|index| Shard { index, count });
    let results: Vec<Result<()>> = std::thread::scope(|scope| {
        let threads: Vec<_> = shards
            .map(|shard| {
                let mut wants = wants.clone();
                wants.resources.gpus = wants.resources.gpus.min(1);
                scope.spawn(move || {
                    let attempt = making.submit(Some(shard), &wants)?;
                    let mut follow = Follow::of_share(making, shard, progress);
                    follow.until_good(attempt, &mut wants).map(drop)
                })
            })
            .collect();
        let results = threads.into_iter().map(|thread| {
            thread.join().unwrap_or_else(|_| Err(Error::failed("a thread of the cluster broke")))
        });
        results.collect()
    });
    let mut cases = vec![];
    for result in results {
        match result {
            Err(Error::Cases(bad)) => cases.extend(bad),
            result => result?,
        }
    }
    cases.sort();
    if cases.is_empty() { Ok(()) } else { Err(Error::Cases(cases)) }
}
