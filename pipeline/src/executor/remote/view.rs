//! The cluster's queue, asked seldom and shared by all stages that wait.

use super::attempt::AttemptJob;
use super::cluster::{Cluster, JobStatus};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The cluster is asked less often the longer nothing changes, down to this share of the usual.
const SELDOM: u32 = 8;
/// Silence of a cluster until people are told.
const SAY_SILENCE: Duration = Duration::from_secs(300);

/// The queue as last seen.
pub struct QueueView {
    cluster: Arc<dyn Cluster>,
    state: Mutex<Looked>,
}

#[derive(Default)]
struct Looked {
    jobs: HashMap<(String, u32), JobStatus>,
    /// Jobs of the accounting, asked for once they had vanished.
    past: HashMap<(String, u32), JobStatus>,
    at: Option<Instant>,
    /// The last look that was answered.
    answered: Option<Instant>,
    began: Option<Instant>,
    silence: String,
    is_told: bool,
    /// Looks since something changed.
    quiet: u32,
}

/// A job as last seen.
#[derive(Clone, Debug, Default)]
pub struct LastSeen {
    /// In the queue.
    pub seen: Option<JobStatus>,
    /// In the accounting.
    pub past: Option<JobStatus>,
    /// The last answer of the cluster.
    pub answered: Option<Instant>,
    /// The cluster's silence, in words, where it is to be told now.
    pub silence: Option<String>,
}

impl QueueView {
    /// Of a cluster.
    pub fn new(cluster: Arc<dyn Cluster>) -> QueueView {
        QueueView { cluster, state: Mutex::default() }
    }

    /// The job, by a look that is not too old. With `is_urgent` the cluster is asked as often as
    /// it allows, and its accounting too.
    pub fn find(&self, job: &AttemptJob, is_urgent: bool) -> LastSeen {
        let mut looked = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        looked.began.get_or_insert_with(Instant::now);
        let interval = self.cluster.look_interval();
        let wait = if is_urgent { interval } else { interval * (1 + looked.quiet.min(SELDOM - 1)) };
        if looked.at.is_none_or(|at| at.elapsed() >= wait) {
            self.look(&mut looked);
        }
        let key = (job.batch.clone(), job.index);
        let seen = looked.jobs.get(&key).cloned();
        if seen.is_none() && is_urgent && !looked.past.contains_key(&key) {
            self.ask_past(&mut looked, &job.batch);
        }
        let silence = self.silence_to_tell(&mut looked);
        LastSeen { seen, past: looked.past.get(&key).cloned(), answered: looked.answered, silence }
    }

    fn look(&self, looked: &mut Looked) {
        looked.at = Some(Instant::now());
        match self.cluster.look() {
            Ok(seen) => {
                let jobs = seen.into_iter().map(|seen| ((seen.batch.clone(), seen.index), seen));
                let jobs: HashMap<_, _> = jobs.collect();
                looked.quiet = if jobs == looked.jobs { looked.quiet + 1 } else { 0 };
                looked.jobs = jobs;
                looked.answered = looked.at;
                looked.is_told = false;
            }
            Err(silent) => looked.silence = silent.0,
        }
    }

    fn ask_past(&self, looked: &mut Looked, batch: &str) {
        if let Ok(past) = self.cluster.past(&[batch.to_string()]) {
            let past = past.into_iter().map(|seen| ((seen.batch.clone(), seen.index), seen));
            looked.past.extend(past);
        }
    }

    fn silence_to_tell(&self, looked: &mut Looked) -> Option<String> {
        let since = looked.answered.or(looked.began)?;
        if looked.is_told || looked.silence.is_empty() || since.elapsed() < SAY_SILENCE {
            return None;
        }
        looked.is_told = true;
        Some(format!("{} does not answer: {}", self.cluster.name(), looked.silence))
    }

    /// Forgets the look, so that the next question is asked anew.
    pub fn expire(&self) {
        let mut looked = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        looked.quiet = 0;
        looked.at = None;
    }
}
