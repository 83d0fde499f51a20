//! Follows attempts at a stage until one succeeds.

use super::attempt::{Attempt, AttemptJob, Shard, Start};
use super::cluster::{Cluster, Ended, JobId, JobState, JobStatus, JobWants};
use super::making::RemoteMaking;
use super::relay::Listener;
use super::retry::{Evidence, RetryDecision, Tries};
use super::share_progress::ShareProgress;
use super::verdict::Verdict;
use crate::lock::lock;
use crate::own_files::ATTEMPTS;
use crate::site::OnStop;
use crate::stop::{Registration, Stoppable};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use voxflow_stages::{Error, Message, Result};

/// First and longest interval between checks of the attempt folder.
const FIRST_LOOK: Duration = Duration::from_millis(100);
const LONGEST_LOOK: Duration = Duration::from_secs(2);
/// Silence after which the cluster is queried more often.
const WORRY: Duration = Duration::from_secs(20);
/// Time a job may be held until users are told.
const SAY_HELD: Duration = Duration::from_secs(60);

/// Cancels an attempt's job on a stop.
struct JobHandle {
    cluster: Arc<dyn Cluster>,
    on_stop: OnStop,
    job: Mutex<Option<JobId>>,
}

impl JobHandle {
    fn cancel(&self) {
        let job = lock(&self.job).clone();
        if let Some(job) = job
            && let Err(silent) = self.cluster.cancel(&[job])
        {
            tracing::warn!("{}: {}", self.cluster.name(), silent.0);
        }
    }
}

impl Stoppable for JobHandle {
    fn ask(&self) {
        if self.on_stop == OnStop::Cancel {
            self.cancel();
        }
    }

    fn kill(&self) {
        self.cancel();
    }
}

pub(super) struct Follow<'a> {
    making: &'a RemoteMaking<'a>,
    share: Option<(Shard, &'a ShareProgress)>,
    tries: Tries,
    listener: Listener,
    said: String,
    held_since: Option<Instant>,
}

/// An attempt being followed.
struct FollowedAttempt {
    attempt: Attempt,
    job: AttemptJob,
    handle: Registration<JobHandle>,
    began: Instant,
    last_seen: Instant,
    /// Unfinished files with their times at the attempt's start.
    unfinished: Vec<(std::ffi::OsString, Option<std::time::SystemTime>)>,
}

impl<'a> Follow<'a> {
    /// Follows attempts at the whole stage.
    pub(super) fn of_stage(making: &'a RemoteMaking<'a>) -> Follow<'a> {
        let (tries, listener) = (Tries::default(), Listener::default());
        Follow { making, share: None, tries, listener, said: String::new(), held_since: None }
    }

    /// Follows attempts at a share of its items.
    pub(super) fn of_share(
        making: &'a RemoteMaking<'a>,
        shard: Shard,
        progress: &'a ShareProgress,
    ) -> Follow<'a> {
        Follow { share: Some((shard, progress)), ..Follow::of_stage(making) }
    }

    fn shard(&self) -> Option<Shard> {
        self.share.map(|(shard, _)| shard)
    }

    /// Relays what the job has said since the last look. A share's own progress counts the cases of
    /// other jobs too: the stage's progress is told instead.
    fn listen(&mut self, start: &Start) {
        let host = self.making.host;
        self.listener.hear(start, |message| match (self.share, message) {
            (Some(_), Message::Progress(_)) => {}
            (_, message) => host.tell(message),
        });
        let news = self
            .share
            .and_then(|(shard, progress)| progress.note(shard.index, self.listener.items_made()));
        news.into_iter().for_each(|progress| host.tell(Message::Progress(progress)));
    }

    /// Follows an attempt, and its retries, to a successful verdict.
    pub(super) fn until_good(
        &mut self,
        first: Attempt,
        wants: &mut JobWants,
    ) -> Result<(Start, Verdict)> {
        let mut watched = self.watch(first)?;
        let (mut interval, mut touched) = (FIRST_LOOK, 1);
        loop {
            let decision = self.step(&mut watched)?;
            if !matches!(decision, RetryDecision::Wait) {
                // Finished items survive a failure, and precede the stage that lists them.
                self.making.keep_items(&watched.attempt)?;
            }
            match decision {
                RetryDecision::Wait => {}
                RetryDecision::Take => match watched.attempt.good()? {
                    Some(good) if self.making.has_items_of(&good.1)? => return Ok(good),
                    Some(_) if touched == ATTEMPTS => return Err(written_meanwhile()),
                    Some(_) => {
                        touched += 1;
                        self.say("another attempt: files were written while its job read them");
                        watched = self.watch(self.making.submit(self.shard(), wants)?)?;
                    }
                    None => {}
                },
                RetryDecision::Fail(error) => return Err(error),
                RetryDecision::Again { why, more_memory } => {
                    watched = self.retry(&why, more_memory, wants)?;
                    interval = FIRST_LOOK;
                }
            }
            if self.making.stop.is_asked() {
                self.tell_of_stop(&watched);
                return Err(Error::Stopped);
            }
            std::thread::sleep(interval);
            interval = (interval * 2).min(LONGEST_LOOK);
        }
    }

    /// Submits another attempt, with more memory if that was short, on nodes without deaths.
    fn retry(
        &mut self,
        why: &str,
        more_memory: bool,
        wants: &mut JobWants,
    ) -> Result<FollowedAttempt> {
        self.say(&format!("another attempt: {why}"));
        if more_memory {
            let factor = self.making.shared.site.more_memory();
            wants.resources.memory = (wants.resources.memory as f64 * factor) as u64;
        }
        wants.exclude = self.tries.excluded();
        self.watch(self.making.submit(self.shard(), wants)?)
    }

    fn watch(&self, attempt: Attempt) -> Result<FollowedAttempt> {
        let job = attempt.job().unwrap_or_default();
        let shared = self.making.shared;
        let handle = JobHandle {
            cluster: Arc::clone(&shared.cluster),
            on_stop: shared.on_stop,
            job: Mutex::new(job.id.as_ref().map(|id| format!("{id}_{}", job.index))),
        };
        let handle = self.making.stop.start(|| Ok::<_, Error>(handle))?;
        let unfinished = listed(&self.making.order.task.unfinished);
        let (began, last_seen) = (Instant::now(), Instant::now());
        Ok(FollowedAttempt { attempt, job, handle, began, last_seen, unfinished })
    }

    fn tell_of_stop(&self, watched: &FollowedAttempt) {
        let words = match self.making.shared.on_stop {
            OnStop::Cancel => "its job is cancelled",
            OnStop::Leave => {
                "its job goes on; the same command takes it up, and 'voxflow stop' cancels it"
            }
        };
        let id = watched.job.id.clone().unwrap_or_default();
        self.making.say(&format!("{words} ({id})"));
    }

    /// Collects all evidence about an attempt and decides.
    fn step(&mut self, watched: &mut FollowedAttempt) -> Result<RetryDecision> {
        let starts = watched.attempt.starts()?;
        if let Some(start) = starts.last() {
            self.listen(start);
        }
        let good = starts.iter().find_map(|start| start.verdict().filter(Verdict::is_good));
        let last = starts.last().and_then(Start::verdict);
        let beat = starts.last().and_then(Start::last_beat);
        let silent_for = beat.map(|beat| beat.elapsed().unwrap_or_default());
        if good.is_some() {
            return Ok(RetryDecision::Take);
        }
        // A job that speaks regularly is alive: the queue is queried closely only after silence,
        // or after a verdict that was no success.
        let is_urgent = last.is_some()
            || silent_for.map_or(watched.began.elapsed() > WORRY, |silent| silent > WORRY);
        let found = self.making.shared.view.find(&watched.job, is_urgent);
        if let Some(words) = &found.silence {
            self.say(words);
        }
        if let Some(seen) = &found.seen {
            self.note_seen(watched, seen);
        }
        let output = self.making.shared.store.join("batches").join(&watched.job.batch);
        let output = end_of(&output.join(format!("{}.out", watched.job.index)));
        let evidence = Evidence {
            verdict: last.as_ref().map(|verdict| &verdict.end),
            has_started: !starts.is_empty(),
            silent_for,
            seen: found.seen.as_ref(),
            past: found.past.as_ref(),
            unseen_for: watched.last_seen.elapsed(),
            has_answered: found.answered.is_some_and(|answered| answered > watched.last_seen),
            output: &output,
            has_moved: listed(&self.making.order.task.unfinished) != watched.unfinished,
        };
        Ok(self.tries.decide(&evidence))
    }

    fn note_seen(&mut self, watched: &mut FollowedAttempt, seen: &JobStatus) {
        watched.last_seen = Instant::now();
        *lock(&watched.handle.job) = Some(seen.job.clone());
        self.say_state(seen);
        if seen.state == JobState::Over(Ended::LaunchFailed) {
            // It would stay in the queue for ever; another attempt takes its place.
            watched.handle.cancel();
        }
    }

    /// Reports each change in the job's state once.
    fn say_state(&mut self, seen: &JobStatus) {
        let why = if seen.why.is_empty() { String::new() } else { format!(" ({})", seen.why) };
        match seen.state {
            JobState::Waiting => self.say(&format!("queued as job {}{why}", seen.job)),
            JobState::Running => self.say(&format!("runs on {} as job {}", seen.node, seen.job)),
            JobState::Held => {
                let since = *self.held_since.get_or_insert_with(Instant::now);
                if since.elapsed() > SAY_HELD {
                    self.say(&format!("job {} will not start by itself{why}", seen.job));
                }
            }
            JobState::Over(_) => {}
        }
    }

    fn say(&mut self, words: &str) {
        if self.said != words && self.shard().is_none_or(|shard| shard.index == 0) {
            self.said = words.to_string();
            self.making.say(words);
        }
    }
}

/// Error after every job found its input files rewritten meanwhile.
fn written_meanwhile() -> Error {
    Error::failed("files were written while its jobs read them; run again once nobody writes them")
}

/// File names and times in a folder.
fn listed(folder: &Path) -> Vec<(std::ffi::OsString, Option<std::time::SystemTime>)> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut listed: Vec<_> = entries
        .map(|entry| (entry.file_name(), entry.metadata().and_then(|facts| facts.modified()).ok()))
        .collect();
    listed.sort();
    listed
}

/// The last 4 KiB of a file.
fn end_of(path: &Path) -> String {
    let text = std::fs::read(path).unwrap_or_default();
    String::from_utf8_lossy(&text[text.len().saturating_sub(1 << 12)..]).into_owned()
}
