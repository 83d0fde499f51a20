//! Makes one stage on its own thread: recalls it from the store like its items, with an executor
//! doing the work. Messages go to the thread owning the run.

use crate::executor::remote::verdict::FileRead;
use crate::executor::{Executor, HandedItem, MadeFacts, ProgramsUsage, StageOrder, program};
use crate::job::Job;
use crate::job_facts::JobFacts;
use crate::lock::lock;
use crate::machine;
use crate::own_files::{ATTEMPTS, OwnFiles, seen_again, touched};
use crate::secret;
use crate::stop::Stop;
use serde::{Deserialize, Serialize};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};
use voxflow_cache::{
    Artifact, Blob, Claim, Draft, Entry, FilesCheck, Fingerprint, MadeRecord, Recall, RecallPolicy,
    Recipe, SettledFolder, Store, WaitForClaim, disk,
};
use voxflow_stages::program::{Program, ProgramEnd};
use voxflow_stages::{Error, Host, Message, Metric, Result, Task};

/// Interval at which a waiting thread polls for a stop request.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

pub enum JobEvent {
    Said(Message),
    /// Waits for another maker; its resources are free meanwhile.
    Waiting,
    /// Requests resources again.
    Resuming,
    /// Always the last message.
    JobResult(Box<JobResult>),
}

pub struct JobResult {
    /// The entry and its origin, or the error.
    pub result: Result<(Entry, Recall)>,
    /// Wall time in seconds.
    pub seconds: f64,
}

/// Data stored with an entry, sufficient for replaying its making in later runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// Metrics in order of arrival.
    pub metrics: Vec<Metric>,
    /// Warnings without credentials, replayed on reuse.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    pub maker: Maker,
}

/// Host, device and build that made an artifact.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Maker {
    /// Host name.
    pub host: String,
    /// Cluster job, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<JobFacts>,
    /// Device ("cpu", "cuda:0 …").
    pub device: String,
    /// The numbers that its networks computed in; those of before this was told were fp32.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub precision: Option<String>,
    pub threads: usize,
    /// Program and library versions.
    pub versions: BTreeMap<String, String>,
    /// CPU seconds; for in-process stages those of the whole program, for commands those of the
    /// person's program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_seconds: Option<f64>,
    /// Peak resident memory of the maker's process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_rss_bytes: Option<u64>,
    /// Bytes read from disks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_bytes: Option<u64>,
    /// Bytes written to disks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub written_bytes: Option<u64>,
}

impl Record {
    /// Parses an entry's record; records in unknown formats read as empty.
    pub fn of(entry: &Entry) -> Record {
        serde_json::from_value(entry.record.clone()).unwrap_or_default()
    }
}

/// Makes a stage, sending events to `notes`; `go` receives a signal when a paused stage gets
/// resources.
pub fn make(
    job: &Job,
    store: &Store,
    executor: &dyn Executor,
    stop: &Stop,
    notes: &Sender<(usize, JobEvent)>,
    go: &Receiver<()>,
) {
    let started = Instant::now();
    let host = StageHost {
        job,
        store,
        executor,
        stop,
        notes,
        own: OwnFiles::of(job, store),
        adopted: Mutex::default(),
        collected: Mutex::default(),
        programs: ProgramsUsage::default(),
    };
    let result = catch_unwind(AssertUnwindSafe(|| host.make(go))).unwrap_or_else(|panic| {
        Err(Error::failed(format!("the program broke (panic): {}", panic_words(panic.as_ref()))))
    });
    host.note(JobEvent::JobResult(Box::new(JobResult {
        result,
        seconds: started.elapsed().as_secs_f64(),
    })));
}

/// Connects a stage to store, executor and event channel.
struct StageHost<'a> {
    job: &'a Job,
    store: &'a Store,
    executor: &'a dyn Executor,
    stop: &'a Stop,
    notes: &'a Sender<(usize, JobEvent)>,
    own: OwnFiles<'a>,
    /// Blobs adopted by the current attempt.
    adopted: Mutex<Vec<(String, Blob)>>,
    collected: Mutex<Collected>,
    /// Resources taken by programs of the stage.
    programs: ProgramsUsage,
}

#[derive(Default)]
struct Collected {
    metrics: Vec<Metric>,
    warnings: Vec<String>,
    items: Vec<Fingerprint>,
    device: Option<String>,
    precision: Option<String>,
    threads: Option<usize>,
    versions: BTreeMap<String, String>,
}

impl StageHost<'_> {
    fn note(&self, note: JobEvent) {
        // The owner is gone only when the whole program ends.
        self.notes.send((self.job.id, note)).ok();
    }

    fn collected(&self) -> MutexGuard<'_, Collected> {
        lock(&self.collected)
    }

    fn make(&self, go: &Receiver<()>) -> Result<(Entry, Recall)> {
        let recalled =
            self.recalled(&self.job.recipe, &|wait| self.give_back_slot(go, wait), &|draft| {
                self.attempt(draft)
            })?;
        if recalled.1 == Recall::Made {
            self.executor.tidy(&self.job.recipe);
        }
        Ok(recalled)
    }

    /// Recalls a stage or item; repeats the work a few times if input files are rewritten
    /// meanwhile.
    fn recalled(
        &self,
        recipe: &Recipe,
        waiting: &dyn Fn(WaitForClaim) -> Result<Claim>,
        work: &dyn Fn(&Draft) -> Result<MakeAttempt>,
    ) -> Result<(Entry, Recall)> {
        let stop = || self.stop.is_asked();
        let policy = RecallPolicy { verify: self.job.verify, ..RecallPolicy::new(&stop) };
        let mut attempts = 1;
        loop {
            let was_touched = Cell::new(false);
            let recalled =
                self.store.recall_with(recipe, &policy, waiting, |draft| match work(draft)? {
                    MakeAttempt::Made(making) => Ok(making),
                    MakeAttempt::Touched(file) => {
                        was_touched.set(true);
                        Err(touched(&file))
                    }
                });
            // Other errors end the stage at once: trying again would not help.
            match recalled {
                Err(_) if was_touched.get() && attempts < ATTEMPTS => attempts += 1,
                recalled => return recalled,
            }
        }
    }

    /// Performs one attempt at the stage's work.
    fn attempt(&self, draft: &Draft) -> Result<MakeAttempt> {
        let watch = self.own.watch_stage()?;
        self.adopted().clear();
        let looked = self.own.look_again(&watch, self.work(&self.task(draft)));
        if let Ok((_, FilesCheck::Touched(_)))
        | Err(Error::Store(voxflow_cache::Error::Changed { .. })) = &looked
        {
            // Finished jobs and items read files that were being written; a later run must not
            // take them over.
            self.executor.tidy(&self.job.recipe);
        }
        let (finished, seen) = looked?;
        if let FilesCheck::Touched(file) = seen {
            return self.begin_again(file);
        }
        // Adopted only now: an attempt begun again starts with an empty artifact.
        self.adopted().drain(..).for_each(|(name, blob)| draft.adopt(&name, &blob));
        let mut names = draft.names()?;
        if let Some(made) = &finished.elsewhere {
            names.extend(made.files.iter().map(|file| file.name.clone()));
        }
        let names = names.iter().map(String::as_str);
        self.job.kind.check_artifact(&self.job.params, names)?;
        let (record, items) = self.record(&finished)?;
        let elsewhere = finished.elsewhere.map(|made| SettledFolder {
            folder: made.folder,
            files: made.files,
            seconds: made.seconds,
        });
        Ok(MakeAttempt::Made(MadeRecord { record, items, elsewhere }))
    }

    /// Discards an attempt. Sent metrics cannot be withdrawn; with metrics, the stage fails
    /// instead.
    fn begin_again(&self, file: PathBuf) -> Result<MakeAttempt> {
        let told = std::mem::take(&mut *self.collected());
        if told.metrics.is_empty() { Ok(MakeAttempt::Touched(file)) } else { Err(touched(&file)) }
    }

    /// Waits for another maker with resources released.
    fn give_back_slot(&self, go: &Receiver<()>, wait: WaitForClaim) -> Result<Claim> {
        self.note(JobEvent::Waiting);
        let claim = wait()?;
        self.note(JobEvent::Resuming);
        loop {
            match go.recv_timeout(POLL_INTERVAL) {
                Ok(()) => return Ok(claim),
                Err(RecvTimeoutError::Timeout) if !self.stop.is_asked() => {}
                Err(_) => return Err(Error::Stopped),
            }
        }
    }

    fn adopted(&self) -> MutexGuard<'_, Vec<(String, Blob)>> {
        lock(&self.adopted)
    }

    fn task(&self, draft: &Draft) -> Task {
        Task {
            stage: self.job.stage.clone(),
            recipe: self.job.recipe.clone(),
            params: self.job.params.clone(),
            inputs: self.job.inputs.clone(),
            draft: draft.folder().to_path_buf(),
            unfinished: self.store.unfinished(&self.job.recipe.fingerprint()),
            device: self.job.device.clone(),
            threads: self.job.threads,
            ranks: self.job.ranks,
        }
    }

    fn work(&self, task: &Task) -> Result<MadeFacts> {
        let drafts = Mutex::new(vec![]);
        let workdir = || {
            let draft = self.store.draft()?;
            let folder = draft.folder().to_path_buf();
            lock(&drafts).push(draft);
            Ok(folder)
        };
        let order = StageOrder {
            kind: self.job.kind,
            task,
            workdir: &workdir,
            log: &self.job.log,
            gpus: self.job.gpus,
            asked: &self.job.asked,
            last_peak: self.job.last_peak,
            programs: &self.programs,
            keep_item: &|item| self.keep_item(item),
        };
        self.executor.make(&order, self, self.stop)
    }

    /// Publishes an item made outside of this program, or makes it again if a file it read was
    /// written meanwhile.
    fn keep_item(&self, item: &HandedItem) -> Result<()> {
        // The bytes of its files are those of the recipe now, and nobody wrote them since the
        // item's job looked at them.
        self.own.watch_item(&item.recipe)?;
        if FileRead::changed(&item.read)?.is_some() {
            // Neither this program nor a node takes an item whose files are gone.
            return Ok(disk::remove(&item.folder)?);
        }
        let HandedItem { recipe, folder, files, seconds, .. } = item.clone();
        let elsewhere = SettledFolder { folder, files, seconds };
        let making = MadeRecord { elsewhere: Some(elsewhere), ..MadeRecord::default() };
        self.recalled(&recipe, &wait_idly, &|_| Ok(MakeAttempt::Made(making.clone()))).map(drop)
    }

    fn record(&self, finished: &MadeFacts) -> Result<(serde_json::Value, Vec<Fingerprint>)> {
        let usage = finished.usage;
        let mut collected = self.collected();
        let mut versions = machine::versions();
        versions.append(&mut collected.versions);
        let job = finished.elsewhere.as_ref().map(|made| made.job.clone());
        let maker = Maker {
            host: job.as_ref().map_or_else(machine::host, |job| job.host.clone()),
            job,
            device: collected.device.clone().unwrap_or_else(|| "cpu".into()),
            precision: collected.precision.clone(),
            threads: collected.threads.unwrap_or(self.job.threads),
            versions,
            cpu_seconds: Some(usage.cpu_seconds),
            peak_rss_bytes: Some(usage.peak_rss_bytes),
            read_bytes: Some(usage.read_bytes),
            written_bytes: Some(usage.written_bytes),
        };
        let record = Record {
            metrics: std::mem::take(&mut collected.metrics),
            warnings: std::mem::take(&mut collected.warnings),
            maker,
        };
        let record = serde_json::to_value(&record)
            .map_err(|error| Error::failed(format!("record: {error}")))?;
        let mut items = std::mem::take(&mut collected.items);
        // Cases are worked on in parallel; their order must not reach the entry's bytes.
        items.sort_unstable();
        items.dedup();
        Ok((record, items))
    }
}

/// Waits for another maker's claim without giving anything back: items hold no resources.
fn wait_idly(wait: WaitForClaim) -> Result<Claim> {
    Ok(wait()?)
}

impl Host for StageHost<'_> {
    fn tell(&self, message: Message) {
        // Held while sending, so that metrics are recorded in the order in which they are told.
        let mut collected = self.collected();
        match &message {
            Message::Metric(metric) => collected.metrics.push(metric.clone()),
            Message::Warning { words } => collected.warnings.push(secret::strip(words)),
            Message::Device { name, threads, libtorch } => {
                collected.device = Some(name.clone());
                collected.threads = Some(*threads);
                collected.versions.insert("libtorch".into(), libtorch.clone());
            }
            Message::Precision { name } => collected.precision = Some(name.clone()),
            Message::Item { fingerprint, .. } => collected.items.push(*fingerprint),
            _ => {}
        }
        self.note(JobEvent::Said(message));
    }

    fn stopping(&self) -> bool {
        self.stop.is_asked()
    }

    fn recall(
        &self,
        name: &str,
        recipe: &Recipe,
        make: &dyn Fn(&Path) -> Result<()>,
    ) -> Result<Artifact> {
        let (entry, recall) =
            self.recalled(recipe, &wait_idly, &|draft| self.make_item(recipe, draft, make))?;
        let made = recall == Recall::Made;
        self.tell(Message::Item { name: name.to_string(), made, fingerprint: entry.fingerprint });
        Ok(entry.artifact)
    }

    fn blob_path(&self, blob: &Blob) -> PathBuf {
        self.store.path(blob)
    }

    fn adopt(&self, name: &str, blob: &Blob) {
        self.adopted().push((name.to_string(), blob.clone()));
    }

    fn refer(&self, path: &Path) -> Result<Blob> {
        self.own.refer(path)
    }

    fn run_program(
        &self,
        program: &Program,
        watch: &mut dyn FnMut() -> Result<()>,
    ) -> Result<ProgramEnd> {
        program::run(program, &self.job.log, self.stop, &self.programs, watch)
    }
}

impl StageHost<'_> {
    /// Makes an item while watching its input files.
    fn make_item(
        &self,
        recipe: &Recipe,
        draft: &Draft,
        make: &dyn Fn(&Path) -> Result<()>,
    ) -> Result<MakeAttempt> {
        let watch = self.own.watch_item(recipe)?;
        let ((), seen) = seen_again(&watch, make(draft.folder()))?;
        if let FilesCheck::Touched(file) = seen {
            return Ok(MakeAttempt::Touched(file));
        }
        self.job.kind.check_item(recipe, draft.folder())?;
        Ok(MakeAttempt::Made(MadeRecord::default()))
    }
}

enum MakeAttempt {
    Made(MadeRecord),
    /// An input was rewritten with equal bytes; intermediate content may have been read.
    Touched(PathBuf),
}

/// A panic's message in one line.
fn panic_words(panic: &(dyn std::any::Any + Send)) -> String {
    let words = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied());
    let line = words.and_then(|words| words.lines().next()).unwrap_or("no words");
    match crate::log::last_panic() {
        Some(place) if line == "a scoped thread panicked" || line == "no words" => place,
        _ => line.to_string(),
    }
}
