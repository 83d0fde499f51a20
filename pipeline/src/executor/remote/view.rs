//! The cluster's queue, queried rarely and shared by all waiting stages.

use super::attempt::AttemptJob;
use super::cluster::{Cluster, JobStatus};
use crate::lock::lock;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Without changes the query interval grows up to this factor.
const SELDOM: u32 = 8;
/// Silence after which users are told.
const SAY_SILENCE: Duration = Duration::from_secs(300);

/// Cached view.
pub struct QueueView {
    cluster: Arc<dyn Cluster>,
    state: Mutex<Looked>,
}

#[derive(Default)]
struct Looked {
    jobs: HashMap<(String, u32), JobStatus>,
    /// Vanished jobs found in accounting.
    past: HashMap<(String, u32), JobStatus>,
    at: Option<Instant>,
    /// Last answered query.
    answered: Option<Instant>,
    began: Option<Instant>,
    silence: String,
    is_told: bool,
    /// Queries since the last change.
    quiet: u32,
}

/// A job's last known status.
#[derive(Clone, Debug, Default)]
pub struct LastSeen {
    /// In the queue.
    pub seen: Option<JobStatus>,
    /// In accounting.
    pub past: Option<JobStatus>,
    /// Time of the cluster's last answer.
    pub answered: Option<Instant>,
    /// Message about the cluster's silence, if due.
    pub silence: Option<String>,
}

impl QueueView {
    pub fn new(cluster: Arc<dyn Cluster>) -> QueueView {
        QueueView { cluster, state: Mutex::default() }
    }

    /// The job's status from a recent query. `is_urgent` queries as often as allowed, including
    /// accounting.
    pub fn find(&self, job: &AttemptJob, is_urgent: bool) -> LastSeen {
        let mut looked = lock(&self.state);
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

    /// Forces a fresh query next time.
    pub fn expire(&self) {
        let mut looked = lock(&self.state);
        looked.quiet = 0;
        looked.at = None;
    }
}
