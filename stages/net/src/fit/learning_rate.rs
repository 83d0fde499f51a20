//! The learning rate of each step: the base rate times the schedule's factor.

use super::training_length::TrainingLength;
use voxflow_stages::kinds::train::Train;

/// The learning rate over a training.
pub struct LearningRate<'a> {
    params: &'a Train,
    steps_per_epoch: u64,
}

impl<'a> LearningRate<'a> {
    /// The learning rate of a training with this many steps per epoch.
    pub fn new(params: &'a Train, steps_per_epoch: u64) -> LearningRate<'a> {
        LearningRate { params, steps_per_epoch }
    }

    /// The rate of a step, counted from 0.
    pub fn at(&self, step: u64, length: &TrainingLength) -> f64 {
        let (schedule, each) = (&self.params.schedule, self.steps_per_epoch);
        let factor = if length.is_open() {
            let decay = length.decay_epochs();
            let decay = decay.map(|epochs| self.steps(epochs.start)..self.steps(epochs.end));
            schedule.open_factor(step, each, decay.as_ref())
        } else {
            schedule.factor(step, each, length.at_most())
        };
        self.params.learning_rate * factor
    }

    /// The rate of the last of `steps` steps.
    pub fn of_last(&self, steps: u64, length: &TrainingLength) -> f64 {
        self.at(steps.saturating_sub(1), length)
    }

    /// Optimizer steps in this many epochs.
    pub fn steps(&self, epochs: u32) -> u64 {
        self.steps_per_epoch * u64::from(epochs)
    }
}
