//! A run in progress: sends events to its observers and updates its record.

use crate::busy_clock::BusyClock;
use crate::checksums;
use crate::error::Result;
use crate::event::{Event, Fact, Finished, Observer, now_ms};
use crate::outcome::{Outcome, RunOutcome};
use crate::outputs;
use crate::plan::Plan;
use crate::planner::StageDecision;
use crate::run::{RunFolder, RunRecord};
use crate::stage_job::Record;
use crate::{secret, warnings};
use std::sync::Arc;
use std::time::{Duration, Instant};
use voxflow_cache::{Entry, Recipe, Store};
use voxflow_stages::{Message, Progress};

/// Time for writing `run.json` granted unconditionally. The record lists every stage; with
/// thousands, rewriting it per stage would dominate.
const FREE: Duration = Duration::from_millis(100);
/// Additional writing time as a fraction of elapsed time: 1/20.
const SHARE: u32 = 20;

pub struct RunTracker {
    /// Decisions stay as planned; entries are filled in during the run.
    pub plan: Plan,
    folder: RunFolder,
    record: RunRecord,
    observers: Vec<Box<dyn Observer>>,
    began: Option<Instant>,
    /// True for the only run; of several, each counts the time of its own stages.
    alone: bool,
    busy: BusyClock,
    began_at_ms: Vec<Option<i64>>,
    failed: bool,
    /// True once a stage is left out since another failed or the run was stopped.
    cut_off: bool,
    /// True if it runs alone with nothing to make.
    settled: bool,
    /// Number of unfinished stages.
    open: usize,
    /// Set at the end.
    ended: Option<RunOutcome>,
    reasons: Vec<Option<String>>,
    /// Warnings per stage.
    warnings: Vec<Vec<String>>,
    /// (made, reused) items per stage.
    items: Vec<(u64, u64)>,
    /// Position per stage, as "epoch 6/200".
    positions: Vec<Option<String>>,
    created: Instant,
    /// Total time spent writing `run.json`.
    writing: Duration,
    /// True if `run.json` lags behind `record`.
    stale: bool,
}

impl RunTracker {
    pub fn new(
        plan: Plan,
        folder: RunFolder,
        record: RunRecord,
        observers: Vec<Box<dyn Observer>>,
    ) -> RunTracker {
        let count = plan.steps.len();
        RunTracker {
            plan,
            folder,
            record,
            observers,
            began: None,
            alone: true,
            busy: BusyClock::default(),
            ended: None,
            began_at_ms: vec![None; count],
            failed: false,
            cut_off: false,
            settled: false,
            open: count,
            reasons: vec![None; count],
            warnings: vec![vec![]; count],
            items: vec![(0, 0); count],
            positions: vec![None; count],
            created: Instant::now(),
            writing: Duration::ZERO,
            stale: false,
        }
    }

    pub fn folder(&self) -> &RunFolder {
        &self.folder
    }

    /// True if any stage was made.
    pub fn has_made(&self) -> bool {
        self.record.stages.iter().any(|stage| stage.outcome == Some(Outcome::Made))
    }

    /// Sends an event to all observers.
    pub fn tell(&mut self, fact: Fact) -> Result<()> {
        let event = Event { at_ms: now_ms(), fact };
        self.observers.iter_mut().try_for_each(|observer| observer.observe(&event))
    }

    /// Starts the run and writes `run.json`. A lone run with nothing to make ends too quickly for
    /// readers: its record is written once, at the end.
    pub fn begin(&mut self, alone: bool) -> Result<()> {
        self.alone = alone;
        self.settled = alone && !(0..self.plan.steps.len()).any(|index| self.plan.is_open(index));
        if !self.settled {
            self.folder.write_record(&self.record)?;
        }
        let fact = Fact::RunStarted {
            run: self.folder.id(),
            workflow: self.plan.workflow.name.clone(),
            folder: self.folder.path().to_path_buf(),
            stages: self.plan.planned(),
        };
        self.tell(fact)
    }

    /// Marks the first stage's start; the wall time of a lone run counts from here.
    pub fn go(&mut self) {
        if self.began.is_none() {
            self.began = Some(Instant::now());
            self.record.started_at_ms = now_ms();
        }
    }

    /// Records a stage's start.
    pub fn stage_began(
        &mut self,
        index: usize,
        recipe: &Recipe,
        settled: &StageDecision,
    ) -> Result<()> {
        let StageDecision::Make { reason, .. } = settled else { return Ok(()) };
        self.busy.begin(index, Instant::now());
        self.began_at_ms[index] = Some(now_ms());
        self.reasons[index] = Some(reason.clone());
        // Told before the work, so that gc knows what an unfinished training needs.
        let row = &mut self.record.stages[index];
        (row.recipe, row.fingerprint) = (Some(recipe.clone()), Some(recipe.fingerprint()));
        self.stale = true;
        self.keep_record()?;
        let stage = self.stage_id(index);
        self.tell(Fact::StageStarted {
            stage,
            fingerprint: recipe.fingerprint(),
            reason: reason.clone(),
        })
    }

    /// Tells that a stage waits for another process or run that makes the same.
    pub fn stage_waiting(&mut self, index: usize) -> Result<()> {
        self.busy.pause(index, Instant::now());
        let stage = self.stage_id(index);
        self.tell(Fact::StageWaiting { stage })
    }

    /// Records the end of a stage's wait.
    pub fn stage_resumes(&mut self, index: usize) {
        self.busy.begin(index, Instant::now());
    }

    /// Forwards a stage's message, without credentials.
    pub fn stage_said(&mut self, index: usize, message: Message) -> Result<()> {
        if let Message::Item { made, .. } = &message {
            let (items_made, items_reused) = &mut self.items[index];
            *(if *made { items_made } else { items_reused }) += 1;
        }
        if let Message::Progress(progress) = &message {
            self.positions[index] = Some(position(progress));
        }
        let message = match message {
            Message::Warning { words } => {
                let words = secret::strip(&words);
                self.warnings[index].push(words.clone());
                Message::Warning { words }
            }
            Message::Info { words } => Message::Info { words: secret::strip(&words) },
            other => other,
        };
        let stage = self.stage_id(index);
        self.tell(Fact::StageSaid { stage, replayed: false, message })
    }

    /// Records a finished stage; reused stages replay metrics and warnings.
    pub fn stage_done(&mut self, index: usize, done: Done, store: &Store) -> Result<()> {
        let Done { entry, outcome, note, seconds } = done;
        let record = Record::of(&entry);
        let stage = self.stage_id(index);
        if outcome == Outcome::Reused {
            self.warnings[index].extend(record.warnings);
            let warnings = warnings::grouped(&self.warnings[index]);
            let warnings = warnings.into_iter().map(|words| Message::Warning { words });
            for message in record.metrics.into_iter().map(Message::Metric).chain(warnings) {
                self.tell(Fact::StageSaid { stage: stage.clone(), replayed: true, message })?;
            }
        }
        if !self.settled {
            outputs::link(&self.folder, &stage, &entry.artifact, store)?;
        }
        let why_begun = self.reasons[index].take();
        let reason = if outcome == Outcome::Reused { note } else { why_begun };
        let finished = Finished {
            fingerprint: Some(entry.fingerprint),
            made_in_seconds: Some(entry.seconds),
            cpu_seconds: record.maker.cpu_seconds,
            peak_rss_bytes: record.maker.peak_rss_bytes,
            read_bytes: record.maker.read_bytes,
            written_bytes: record.maker.written_bytes,
            device: Some(record.maker.device.clone()),
            job: record.maker.job.clone(),
            ..self.finished(index, outcome, reason, seconds)
        };
        let row = &mut self.record.stages[index];
        row.maker = serde_json::to_value(&record.maker).unwrap_or_default();
        row.recipe = Some(entry.recipe.clone());
        row.digest = Some(entry.artifact.digest());
        row.artifact = Some(entry.artifact.clone());
        self.plan.steps[index].entry = Some(entry);
        self.close(index, finished)
    }

    pub fn stage_failed(&mut self, index: usize, error: &str, seconds: f64) -> Result<()> {
        self.failed = true;
        let reason = self.reasons[index].take();
        let error = Some(secret::strip(error));
        let finished = Finished { error, ..self.finished(index, Outcome::Failed, reason, seconds) };
        self.close(index, finished)
    }

    /// Records a stage that stopped while being made.
    pub fn stage_interrupted(&mut self, index: usize, seconds: f64) -> Result<()> {
        let at = self.positions[index].take().map(|at| format!("at {at}; "));
        let reason = format!("{}what was finished is kept", at.unwrap_or_default());
        let finished = self.finished(index, Outcome::Interrupted, Some(reason), seconds);
        self.close(index, finished)
    }

    /// Records a stage that another's failure, or a stop, leaves no turn for.
    pub fn stage_cut_off(&mut self, index: usize, reason: &str) -> Result<()> {
        self.cut_off = true;
        self.stage_skipped(index, reason.to_string(), 0.0)
    }

    /// Records a stage that was not attempted.
    pub fn stage_skipped(&mut self, index: usize, reason: String, seconds: f64) -> Result<()> {
        let finished = self.finished(index, Outcome::Skipped, Some(reason), seconds);
        self.close(index, finished)
    }

    /// Writes `run.json` if outdated and within the time budget.
    pub fn keep_record(&mut self) -> Result<()> {
        if self.stale && self.writing <= FREE + self.created.elapsed() / SHARE {
            let began = Instant::now();
            self.folder.write_record(&self.record)?;
            self.writing += began.elapsed();
            self.stale = false;
        }
        Ok(())
    }

    /// True if every stage has ended.
    pub fn is_over(&self) -> bool {
        self.open == 0
    }

    /// True after [`Fact::RunFinished`].
    pub fn has_ended(&self) -> bool {
        self.ended.is_some()
    }

    /// Ends the run (only once) and writes checksums.
    pub fn end(&mut self, stopped: bool, store: &Store) -> Result<RunOutcome> {
        if let Some(outcome) = self.ended {
            return Ok(outcome);
        }
        if self.settled {
            self.link_all(store)?;
        }
        let outcome = match (self.failed, stopped || self.cut_off) {
            (true, _) => RunOutcome::Failed,
            (false, true) => RunOutcome::Interrupted,
            (false, false) => RunOutcome::Done,
        };
        let seconds = match self.began {
            Some(began) if self.alone => began.elapsed().as_secs_f64(),
            Some(_) => self.busy.total().as_secs_f64(),
            None => 0.0,
        };
        self.record.outcome = outcome;
        self.record.seconds = Some(seconds);
        self.folder.write_record(&self.record)?;
        self.ended = Some(outcome);
        self.tell(Fact::RunFinished { outcome, seconds })?;
        self.observers.iter_mut().for_each(|observer| observer.recorded(&self.record));
        checksums::write(self.folder.path())?;
        Ok(outcome)
    }

    /// Links outputs in one go for runs with nothing to make.
    fn link_all(&self, store: &Store) -> Result<()> {
        let over = self.record.stages.iter().filter(|row| row.outcome == Some(Outcome::Reused));
        let stages: Vec<_> =
            over.filter_map(|row| Some((row.stage.as_str(), row.artifact.as_ref()?))).collect();
        if stages.is_empty() { Ok(()) } else { outputs::link_all(&self.folder, &stages, store) }
    }

    fn stage_id(&self, index: usize) -> String {
        self.plan.workflow.stages[index].id.clone()
    }

    fn finished(
        &self,
        index: usize,
        outcome: Outcome,
        reason: Option<String>,
        seconds: f64,
    ) -> Finished {
        Finished {
            stage: self.stage_id(index),
            kind: self.plan.workflow.stages[index].kind.name.to_string(),
            outcome,
            fingerprint: self.plan.steps[index].recipe.as_ref().map(Recipe::fingerprint),
            reason,
            error: None,
            items_made: self.items[index].0,
            items_reused: self.items[index].1,
            started_at_ms: self.began_at_ms[index],
            seconds,
            made_in_seconds: None,
            cpu_seconds: None,
            peak_rss_bytes: None,
            read_bytes: None,
            written_bytes: None,
            device: None,
            job: None,
        }
    }

    fn close(&mut self, index: usize, finished: Finished) -> Result<()> {
        self.busy.pause(index, Instant::now());
        let row = &mut self.record.stages[index];
        self.open -= usize::from(row.outcome.is_none());
        row.outcome = Some(finished.outcome);
        row.reason.clone_from(&finished.reason);
        row.error.clone_from(&finished.error);
        row.warnings = warnings::grouped(&self.warnings[index]);
        row.fingerprint = finished.fingerprint;
        row.seconds = finished.seconds;
        row.made_in_seconds = finished.made_in_seconds;
        row.recipe = row.recipe.take().or_else(|| self.plan.steps[index].recipe.clone());
        self.stale |= matches!(finished.outcome, Outcome::Made | Outcome::Failed);
        self.keep_record()?;
        self.tell(Fact::StageFinished(Box::new(finished)))
    }
}

/// "epoch 6/200", else "38 of 200 steps".
fn position(progress: &Progress) -> String {
    let epoch = progress.numbers.iter().find(|(name, _)| name == "epoch");
    match (epoch, progress.total) {
        (Some((_, epoch)), _) => format!("epoch {epoch}"),
        (None, Some(total)) => format!("{} of {total} {}", progress.done, progress.unit),
        (None, None) => format!("{} {}", progress.done, progress.unit),
    }
}

/// A finished stage.
pub struct Done {
    pub entry: Arc<Entry>,
    /// Made or reused.
    pub outcome: Outcome,
    /// Remark on reuse.
    pub note: Option<String>,
    /// Wall time in this run.
    pub seconds: f64,
}

impl Done {
    pub fn reused(entry: Arc<Entry>, note: Option<String>) -> Done {
        Done { entry, outcome: Outcome::Reused, note, seconds: 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_the_epoch_or_the_count() {
        let mut progress =
            Progress { done: 38, total: Some(200), unit: "steps".into(), numbers: vec![] };
        assert_eq!(position(&progress), "38 of 200 steps");
        progress.numbers = vec![("epoch".into(), "6/40".into())];
        assert_eq!(position(&progress), "epoch 6/40");
    }
}
