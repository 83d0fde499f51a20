//! A training's way into checkpoints and back. All ranks agree on the batch before which one is
//! written, and on its contents; rank 0 writes.

use super::Fit;
use super::result::KeptState;
use super::state::{Position, Session, TrainingState};
use super::step_log::LogState;
use crate::checkpoint::Checkpoint;
use crate::device;
use voxflow_stages::{Error, Message, Result};

/// Words on which ranks agree before a batch; the largest holds.
const SAVE: u64 = 1;
const STOP: u64 = 2;

impl Fit<'_> {
    /// Writes a checkpoint if time or a stop asks for one; the error of a stop afterwards.
    pub(super) fn checkpoint_if_due(&mut self) -> Result<()> {
        // Ranks hear a signal, and see a clock, at different times: they agree on every batch.
        let is_overdue = self.ranks.is_first() && self.checkpointer.is_overdue();
        let own = if self.cx.stopping() { STOP } else { u64::from(is_overdue) * SAVE };
        match self.ranks.max(own)? {
            STOP => {
                self.save()?;
                self.checkpointer.wait()?;
                Err(Error::Stopped)
            }
            SAVE => self.save(),
            _ => Ok(()),
        }
    }

    /// Waits for all steps, then starts to write a checkpoint, once all ranks were seen to have the
    /// same weights.
    pub(super) fn save(&mut self) -> Result<()> {
        self.log.fetch()?;
        self.share_statistics()?;
        let mut tensors = self.model.snapshot();
        tensors.extend(self.stepper.snapshot());
        self.ranks.check_equal(self.position.step, &tensors)?;
        if !self.ranks.is_first() {
            return Ok(());
        }
        let state = self.state();
        tensors.extend(self.selection.snapshot());
        tensors.extend(self.kept.iter().flat_map(KeptState::snapshot));
        self.checkpointer.save(&state, tensors)
    }

    /// Everything except tensors. Waits for the device.
    pub(super) fn state(&self) -> TrainingState {
        let log = self.log.state().clone();
        TrainingState {
            epoch: self.position.epoch,
            batch: self.position.batch,
            step: self.position.step,
            epoch_stats: log.epoch_stats,
            metrics: log.metrics,
            latest_dice: self.selection.latest(),
            best: self.selection.best(),
            loss_scale: self.stepper.loss_scale(),
            train_seconds: log.train_seconds,
            validate_seconds: log.validate_seconds,
            sessions: self.checkpointer.sessions().to_vec(),
            length: self.length.snapshot(),
            device_room: self.room,
            kept: self.kept.as_ref().map(|kept| Box::new(kept.state.clone())),
        }
    }

    /// Restores the newest valid checkpoint, or begins after the training that this one extends, if
    /// any. Begins a session.
    pub(super) fn resume(&mut self, extended: Option<Checkpoint<TrainingState>>) -> Result<()> {
        let mut earlier = vec![];
        if let Some(Checkpoint { state, tensors }) = self.checkpointer.newest(self.cx) {
            let TrainingState { epoch, batch, step, .. } = state;
            self.model.restore(&tensors)?;
            self.selection.restore(state.latest_dice, state.best, &tensors);
            self.stepper.restore(&state.loss_scale, &tensors)?;
            self.length.restore(state.length);
            let kept = state.kept.filter(|_| self.ranks.is_first());
            self.kept = kept.map(|kept| KeptState::restored(*kept, &tensors));
            self.room = self.room.map(|room| room.resumed(state.device_room));
            self.position = Position { epoch, batch, step };
            let log = LogState {
                epoch_stats: state.epoch_stats,
                metrics: state.metrics,
                train_seconds: state.train_seconds,
                validate_seconds: state.validate_seconds,
            };
            self.log.restore(self.cx, log);
            self.cx.tell(Message::Resumed { epoch, step });
            earlier = state.sessions;
        } else if let Some(extended) = extended {
            self.extend(extended)?;
        }
        let session = Session {
            from_step: self.position.step,
            device: self.info.name.clone(),
            threads: self.cx.threads() * self.ranks.count(),
            libtorch: device::LIBTORCH.into(),
            voxflow: env!("CARGO_PKG_VERSION").into(),
            ranks: self.ranks.count(),
            backend: self.ranks.backend(),
        };
        self.checkpointer.begin_session(earlier, session);
        self.check_same_start()
    }

    /// Errors unless all ranks begin at the same step with the same weights.
    fn check_same_start(&self) -> Result<()> {
        if self.ranks.connection().is_none() {
            return Ok(());
        }
        let step = self.position.step;
        if self.ranks.max(step)? != step {
            return Err(Error::failed(format!(
                "training: another rank found a later checkpoint than that of step {step}; \
                 run again"
            )));
        }
        self.ranks.check_equal(step, &self.model.snapshot())
    }
}
