//! The learning rate over time, as a factor of the parameter `learning_rate`.

use super::epochs::MOST_DECAY_LAST;
use super::{Mistake, is_amount, is_fraction, mistake};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// The course of the learning rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ScheduleName {
    /// The same all the time.
    #[default]
    Constant,
    /// Times `factor` after every `every` units.
    Step,
    /// Half a cosine from 1 to 0.
    Cosine,
    /// (1 − t/T)^power.
    Polynomial,
}

/// Unit of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TimeUnit {
    /// Epochs: the rate changes after each epoch.
    #[default]
    Epochs,
    /// Optimizer steps.
    Steps,
}

/// Decay to 0 over the last part of the training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Decay {
    /// In a straight line.
    #[default]
    Linear,
    /// Along half a cosine.
    Cosine,
}

/// The learning rate over time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LearningRateSchedule {
    /// The course.
    pub name: ScheduleName,
    /// Unit for `every` and `warmup`, and for changes of the rate.
    pub unit: TimeUnit,
    /// Units between two steps down (for step).
    pub every: u32,
    /// The factor of a step down (for step).
    pub factor: f64,
    /// The exponent (for polynomial).
    pub power: f64,
    /// Units over which the rate rises in a straight line at the start; the course begins after
    /// them.
    pub warmup: u32,
    /// Final fraction of all steps over which the rate falls to 0, step by step; with
    /// `epochs: auto` too, in place of `epochs.decay`.
    pub decay_last: f64,
    /// Shape of the decay.
    pub decay: Decay,
}

impl Default for LearningRateSchedule {
    fn default() -> Self {
        LearningRateSchedule {
            name: ScheduleName::Constant,
            unit: TimeUnit::Epochs,
            every: 5000,
            factor: 0.1,
            power: 0.9,
            warmup: 0,
            decay_last: 0.0,
            decay: Decay::Linear,
        }
    }
}

impl LearningRateSchedule {
    /// The factor for optimizer step `step` (from 0) in a training over `epochs` epochs with
    /// `steps_per_epoch` each. The schedules equal StepLR, CosineAnnealingLR and PolynomialLR in
    /// `torch.optim.lr_scheduler` with T = units after warm-up.
    pub fn factor(&self, step: u64, steps_per_epoch: u64, epochs: u32) -> f64 {
        let all_steps = steps_per_epoch * u64::from(epochs);
        self.factor_of(step, steps_per_epoch, all_steps, self.last(step, all_steps))
    }

    /// The factor in a training without a known end: the course, times the fall to 0 over the steps
    /// of `decay` once they are known. The schedule must pass
    /// [`LearningRateSchedule::check_open_end`].
    pub fn open_factor(&self, step: u64, steps_per_epoch: u64, decay: Option<&Range<u64>>) -> f64 {
        let left = decay.map_or(1.0, |decay| {
            let steps = decay.end.saturating_sub(decay.start).max(1);
            decay.end.saturating_sub(step) as f64 / steps as f64
        });
        self.factor_of(step, steps_per_epoch, u64::MAX, self.fall(left))
    }

    /// Warm-up and course over `all_steps`, times `last`.
    fn factor_of(&self, step: u64, steps_per_epoch: u64, all_steps: u64, last: f64) -> f64 {
        let per_unit = if self.unit == TimeUnit::Epochs { steps_per_epoch.max(1) } else { 1 };
        let (now, all, warmup) =
            (step / per_unit, (all_steps / per_unit).max(1), u64::from(self.warmup));
        if now < warmup {
            return last * (now + 1) as f64 / (warmup + 1) as f64;
        }
        last * self.course(now - warmup, all.saturating_sub(warmup).max(1))
    }

    fn course(&self, now: u64, all: u64) -> f64 {
        let part = (now as f64 / all as f64).min(1.0);
        match self.name {
            ScheduleName::Constant => 1.0,
            ScheduleName::Step => {
                libm::pow(self.factor, (now / u64::from(self.every.max(1))) as f64)
            }
            ScheduleName::Cosine => (1.0 + libm::cos(std::f64::consts::PI * part)) / 2.0,
            ScheduleName::Polynomial => libm::pow(1.0 - part, self.power),
        }
    }

    /// The decay's factor: 1 before the final part, then falling to just above 0 at the last step.
    fn last(&self, step: u64, all_steps: u64) -> f64 {
        let left =
            all_steps.saturating_sub(step) as f64 / (all_steps as f64 * self.decay_last).max(1.0);
        if self.decay_last <= 0.0 { 1.0 } else { self.fall(left) }
    }

    /// The decay's factor when this share of it is left.
    fn fall(&self, left: f64) -> f64 {
        match (left >= 1.0, self.decay) {
            (true, _) => 1.0,
            (false, Decay::Linear) => left,
            (false, Decay::Cosine) => (1.0 - libm::cos(std::f64::consts::PI * left)) / 2.0,
        }
    }

    /// Mistakes in a training whose end is not known at its start.
    pub fn check_open_end(&self, path: &str) -> Vec<Mistake> {
        let needs_end = matches!(self.name, ScheduleName::Cosine | ScheduleName::Polynomial);
        [
            mistake(
                needs_end,
                format!("{path}.name"),
                "needs a number of epochs; with 'epochs: auto' the end is not known before, so \
                 set it to 'constant' or 'step': the rate falls to 0 by itself at the end",
            ),
            mistake(
                self.decay_last > MOST_DECAY_LAST && is_fraction(self.decay_last),
                format!("{path}.decay_last"),
                format!("must be at most {MOST_DECAY_LAST} with 'epochs: auto'"),
            ),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// Mistakes in the parameters; `path` is their place in the workflow.
    pub fn check(&self, path: &str) -> Vec<Mistake> {
        [
            mistake(self.every == 0, format!("{path}.every"), "must be at least 1"),
            mistake(!is_amount(self.factor), format!("{path}.factor"), "must not be negative"),
            mistake(!is_amount(self.power), format!("{path}.power"), "must not be negative"),
            mistake(
                !is_fraction(self.decay_last),
                format!("{path}.decay_last"),
                "must lie in 0 to 1",
            ),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_courses_pass_through_their_known_points() {
        let by = |name| LearningRateSchedule {
            name,
            every: 3,
            factor: 0.5,
            power: 2.0,
            ..LearningRateSchedule::default()
        };
        let at = |name, epoch: u64| by(name).factor(epoch * 4 + 3, 4, 10);
        assert_eq!([0, 2, 3, 6].map(|epoch| at(ScheduleName::Step, epoch)), [1.0, 1.0, 0.5, 0.25]);
        assert!((at(ScheduleName::Cosine, 5) - 0.5).abs() < 1e-12);
        assert!((at(ScheduleName::Polynomial, 5) - 0.25).abs() < 1e-12);
    }

    #[test]
    fn warm_up_rises_from_the_first_unit_and_the_last_part_falls_to_nearly_nothing() {
        let schedule = LearningRateSchedule {
            warmup: 3,
            decay_last: 0.5,
            unit: TimeUnit::Steps,
            ..LearningRateSchedule::default()
        };
        let factors: Vec<f64> = (0..10).map(|step| schedule.factor(step, 5, 2)).collect();
        assert_eq!(factors, [0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 0.8, 0.6, 0.4, 0.2]);
    }

    #[test]
    fn an_end_that_is_decided_late_gives_the_course_of_one_known_from_the_start() {
        for decay in [Decay::Linear, Decay::Cosine] {
            let known = LearningRateSchedule {
                name: ScheduleName::Step,
                every: 2,
                factor: 0.5,
                warmup: 1,
                decay_last: 0.5,
                decay,
                ..LearningRateSchedule::default()
            };
            for step in 0..40 {
                let decided = (step >= 20).then_some(20..40);
                let (open, wanted) =
                    (known.open_factor(step, 4, decided.as_ref()), known.factor(step, 4, 10));
                assert!((open - wanted).abs() < 1e-15, "step {step}: {open}, not {wanted}");
            }
        }
    }

    #[test]
    fn courses_that_need_an_end_are_refused_where_it_is_open() {
        let paths = |schedule: LearningRateSchedule| -> Vec<String> {
            schedule.check_open_end("schedule").into_iter().map(|(path, _)| path).collect()
        };
        let polynomial = LearningRateSchedule {
            name: ScheduleName::Polynomial,
            decay_last: 0.6,
            ..LearningRateSchedule::default()
        };
        assert_eq!(paths(polynomial), ["schedule.name", "schedule.decay_last"]);
        let half = LearningRateSchedule { decay_last: 0.5, ..LearningRateSchedule::default() };
        assert_eq!(paths(half), [""; 0]);
        assert_eq!(paths(LearningRateSchedule::default()), [""; 0]);
    }
}
