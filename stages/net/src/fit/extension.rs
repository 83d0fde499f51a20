//! A finished training goes on (`extend`): the state kept for this, and the start from it.
//!
//! The kept state is that of a longer training after the same epoch. So a validation that
//! only the end asked for is left out, and metric rows, times and sessions stay with the training
//! that they are of. Where validation decides the end, it is the state after the last epoch before
//! the learning rate falls, and a longer training decides anew from there.

use super::Fit;
use super::result::KeptState;
use super::state::{Position, TrainingState};
use crate::checkpoint::Checkpoint;
use voxflow_stages::kinds::train::BestBy;
use voxflow_stages::model::{DecayPhase, DecayReason};
use voxflow_stages::{Error, Result};

impl Fit<'_> {
    /// Keeps the state after the last of a known number of epochs, before the validation that only
    /// the end asks for.
    pub(super) fn keep_state_before_end(&mut self) {
        let epoch = self.position.epoch;
        let is_end = self.length.last_epoch() == Some(epoch);
        if is_end && !self.length.is_open() && !self.selection.is_due(epoch, None) {
            self.keep_state();
        }
    }

    /// Keeps the state as it is now, if the parameters ask for it.
    pub(super) fn keep_state(&mut self) {
        self.kept = self.state_to_keep();
    }

    /// The state to keep at the end of the training.
    pub(super) fn take_kept_state(&mut self) -> Option<KeptState> {
        self.kept.take().or_else(|| self.state_to_keep())
    }

    /// The state now, on rank 0, if the parameters ask for it.
    fn state_to_keep(&self) -> Option<KeptState> {
        if !self.params.keep_state || !self.ranks.is_first() {
            return None;
        }
        let state = TrainingState {
            metrics: vec![],
            latest_dice: None,
            train_seconds: 0.0,
            validate_seconds: 0.0,
            sessions: vec![],
            device_room: None,
            length: self.length.undecided(),
            kept: None,
            ..self.state()
        };
        let mut tensors = self.model.snapshot();
        tensors.extend(self.stepper.snapshot());
        tensors.extend(self.selection.snapshot());
        Some(KeptState { state, tensors })
    }

    /// Begins after a finished training.
    pub(super) fn extend(&mut self, extended: Checkpoint<TrainingState>) -> Result<()> {
        let Checkpoint { state, tensors } = extended;
        self.check_extension(&state)?;
        if !self.model.has_average_in(&tensors) {
            return Err(Error::failed(
                "training: the one to extend has no moving average of its weights; leave 'ema' out",
            ));
        }
        self.model.restore(&tensors)?;
        let scale = state.loss_scale.in_precision(self.params.precision);
        self.stepper.extend(&scale, &tensors)?;
        if self.params.best_by == BestBy::Dice {
            self.selection.restore(None, state.best, &tensors);
        }
        let TrainingState { epoch, step, length, .. } = state;
        self.length.extend(length);
        if self.selection.patience_exceeded(epoch, None) {
            return Err(Error::failed(format!(
                "training: 'stop_after' would end it at once, since the one to extend has not \
                 improved from its best epoch to its last, {epoch}; raise it or leave it out"
            )));
        }
        self.position = Position { epoch, batch: 0, step };
        self.cx.info(format!("goes on after epoch {epoch}, step {step}, of a finished training"));
        let decided = self.decide();
        self.warn_of_decision();
        self.log.add_rows(self.cx, decided.into_iter().collect());
        Ok(())
    }

    /// Warns if the rule for the end leaves no epoch before the learning rate falls.
    fn warn_of_decision(&self) {
        let Some(DecayPhase { from_epoch, reason, .. }) = self.length.decay() else { return };
        let way_out = match reason {
            DecayReason::Plateau => format!("raise 'epochs.at_least' above {from_epoch}"),
            DecayReason::Limit => "raise 'epochs.at_most'".to_string(),
        };
        self.cx.warn(format!(
            "the learning rate falls at once, from epoch {from_epoch} on, where that of the \
             training to extend fell or ended; to go on before, {way_out}"
        ));
    }

    /// Errors if the training after this state has no epoch to do, or counts other steps.
    fn check_extension(&self, state: &TrainingState) -> Result<()> {
        let (epoch, all) = (state.epoch, self.length.at_most());
        if epoch >= all {
            let key = if self.length.is_open() { "epochs.at_most" } else { "epochs" };
            return Err(Error::failed(format!(
                "training: the one to extend has done {epoch} epochs already, and '{key}', which \
                 counts them too, is {all}; raise it"
            )));
        }
        if state.step != self.learning_rate.steps(epoch) {
            return Err(Error::failed(format!(
                "training: the one to extend took {} steps in {epoch} epochs, and here they are \
                 {}; give the same number of training cases, and the same 'volumes_per_step', \
                 'keep_last_batch', 'steps_per_epoch' and 'accumulate'",
                state.step,
                self.learning_rate.steps(epoch)
            )));
        }
        Ok(())
    }
}
