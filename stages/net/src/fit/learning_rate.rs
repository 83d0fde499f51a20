//! The learning rate of each step: the base rate times the schedule's factor.

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
    pub fn at(&self, step: u64) -> f64 {
        let factor = self.params.schedule.factor(step, self.steps_per_epoch, self.params.epochs);
        self.params.learning_rate * factor
    }

    /// The rate of the last of `steps` steps.
    pub fn of_last(&self, steps: u64) -> f64 {
        self.at(steps.saturating_sub(1))
    }

    /// Epochs of the whole training.
    pub fn epochs(&self) -> u32 {
        self.params.epochs
    }

    /// Optimizer steps of the whole training.
    pub fn total_steps(&self) -> u64 {
        self.steps_per_epoch * u64::from(self.params.epochs)
    }
}
