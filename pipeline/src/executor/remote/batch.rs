//! Submission: attempts arriving together with equal demands become one job array.

use super::attempt::{Attempt, AttemptJob};
use super::cluster::{Cluster, JobArray, JobId, JobWants, Refused};
use super::files;
use crate::lock::lock;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use voxflow_cache::disk;
use voxflow_stages::{Error, Result};

/// Interval for collecting attempts, and most such intervals while more come in each.
const COLLECT: Duration = Duration::from_millis(200);
const MOST_COLLECTS: usize = 25;
/// First and longest pause after a temporary refusal, and the time limit for retries.
const FIRST_WAIT: Duration = Duration::from_secs(5);
const LONGEST_WAIT: Duration = Duration::from_secs(300);
const PATIENCE: Duration = Duration::from_secs(3600);
/// Interval at which a waiting thread polls for a stop request.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// The cluster's answer to a submission.
type SubmitOutcome = std::result::Result<(), Refused>;

/// An attempt awaiting submission.
struct PendingAttempt {
    attempt: Attempt,
    wants: JobWants,
    outcome: Arc<Mutex<Option<SubmitOutcome>>>,
}

pub struct Batcher {
    cluster: Arc<dyn Cluster>,
    folder: PathBuf,
    waiting: Mutex<Vec<PendingAttempt>>,
    submitted: Condvar,
}

impl Batcher {
    /// Submits to `cluster`; batches lie below `folder`.
    pub fn new(cluster: Arc<dyn Cluster>, folder: PathBuf) -> Batcher {
        let (waiting, submitted) = (Mutex::default(), Condvar::new());
        Batcher { cluster, folder, waiting, submitted }
    }

    /// Submits an attempt, together with others arriving meanwhile. Passes the cluster's message to
    /// `say` while it accepts nothing.
    ///
    /// # Errors
    /// A permanent refusal, an hour without acceptance, or a stop.
    pub fn submit(
        &self,
        attempt: &Attempt,
        wants: &JobWants,
        stop: &dyn Fn() -> bool,
        say: &dyn Fn(&str),
    ) -> Result<()> {
        let (began, mut wait, mut last) = (Instant::now(), FIRST_WAIT, String::new());
        let mut wants = wants.clone();
        loop {
            match self.submit_once(attempt, &wants)? {
                Ok(()) => return Ok(()),
                // The last nodes that could take it have seen deaths too.
                Err(Refused::Never(_)) if !wants.exclude.is_empty() => {
                    say(&format!("no other node than {} takes it", wants.exclude.join(", ")));
                    wants.exclude.clear();
                }
                Err(Refused::Never(words)) => {
                    let name = self.cluster.name();
                    return Err(Error::failed(format!("{name} refuses its job: {words}")));
                }
                Err(Refused::NotNow(words)) if began.elapsed() > PATIENCE => {
                    let name = self.cluster.name();
                    return Err(Error::failed(format!("{name} took no job for an hour: {words}")));
                }
                Err(Refused::NotNow(words)) => {
                    if words != last {
                        say(&format!("waits for {}: {words}", self.cluster.name()));
                        last = words;
                    }
                    pause(wait, stop)?;
                    wait = (wait * 2).min(LONGEST_WAIT);
                }
            }
        }
    }

    /// One round: the first thread collects the others' attempts and submits for all.
    fn submit_once(&self, attempt: &Attempt, wants: &JobWants) -> Result<SubmitOutcome> {
        let outcome = Arc::new(Mutex::new(None));
        let mut waiting = self.waiting();
        let is_first = waiting.is_empty();
        waiting.push(PendingAttempt {
            attempt: attempt.clone(),
            wants: wants.clone(),
            outcome: Arc::clone(&outcome),
        });
        if is_first {
            drop(waiting);
            let all = self.collected();
            self.submit_all(all);
            self.submitted.notify_all();
            waiting = self.waiting();
        }
        loop {
            if let Some(outcome) = take(&outcome) {
                return Ok(outcome);
            }
            let waited = self.submitted.wait_timeout(waiting, COLLECT);
            waiting = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The attempts that wait once no more come: the many shares of a stage take longer to write
    /// down than one interval.
    fn collected(&self) -> Vec<PendingAttempt> {
        let mut count = 0;
        for _ in 0..MOST_COLLECTS {
            std::thread::sleep(COLLECT);
            let waiting = self.waiting().len();
            if waiting <= count.max(1) {
                break;
            }
            count = waiting;
        }
        std::mem::take(&mut *self.waiting())
    }

    fn submit_all(&self, mut all: Vec<PendingAttempt>) {
        all.sort_by(|one, other| one.wants.cmp(&other.wants));
        let groups = all.chunk_by(|one, other| one.wants == other.wants);
        for group in groups.flat_map(|group| group.chunks(self.cluster.most_at_once().max(1))) {
            let outcome = self.submit_group(group);
            for one in group {
                *lock(&one.outcome) = Some(outcome.clone());
            }
        }
    }

    fn submit_group(&self, group: &[PendingAttempt]) -> SubmitOutcome {
        let batch = self.batch(group).map_err(|error| Refused::NotNow(error.to_string()))?;
        let id = self.cluster.submit(&batch)?;
        for (index, one) in (0..).zip(group) {
            // The job runs: that its id is not written down costs no more than a look by name.
            one.attempt.write_job(&job(&batch, index, Some(id.clone()))).ok();
        }
        Ok(())
    }

    /// Writes the batch down before submitting: after a lost answer its job is found by name.
    fn batch(&self, group: &[PendingAttempt]) -> Result<JobArray> {
        let attempts: Vec<PathBuf> =
            group.iter().map(|one| one.attempt.folder().to_path_buf()).collect();
        let name = files::name(&format!("{attempts:?}"));
        let folder = self.folder.join(&name);
        disk::create_folders(&folder)?;
        let batch = JobArray { name, folder, attempts, wants: group[0].wants.clone() };
        for (index, one) in (0..).zip(group) {
            one.attempt.write_job(&job(&batch, index, None))?;
        }
        Ok(batch)
    }

    /// Removes a published stage's job files, and the batch folder with its last job.
    pub fn forget(&self, job: &AttemptJob) {
        let folder = self.folder.join(&job.batch);
        for ending in ["out", "pid"] {
            disk::remove(&folder.join(format!("{}.{ending}", job.index))).ok();
        }
        let names = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        if !names.map(|entry| entry.file_name()).any(|name| name != "list" && name != "script.sh") {
            disk::remove(&folder).ok();
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<PendingAttempt>> {
        lock(&self.waiting)
    }
}

/// Sleeps, unless asked to stop.
fn pause(duration: Duration, stop: &dyn Fn() -> bool) -> Result<()> {
    let until = Instant::now() + duration;
    while Instant::now() < until {
        if stop() {
            return Err(Error::Stopped);
        }
        std::thread::sleep(POLL_INTERVAL);
    }
    Ok(())
}

fn take(outcome: &Mutex<Option<SubmitOutcome>>) -> Option<SubmitOutcome> {
    lock(outcome).take()
}

fn job(batch: &JobArray, index: u32, id: Option<JobId>) -> AttemptJob {
    AttemptJob { batch: batch.name.clone(), index, at_ms: crate::event::now_ms(), id }
}
