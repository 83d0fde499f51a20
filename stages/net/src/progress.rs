//! Throughput and remaining time of a training, shown a few times per second at most.

use std::time::{Duration, Instant};
use voxflow_stages::{Context, Progress};

/// Counts the steps and patches of this process.
pub struct Throughput {
    begun: Instant,
    steps: u64,
    patches: u64,
    last_shown: Option<Instant>,
    excluded: Duration,
}

/// The figures of a progress line.
pub struct ProgressSnapshot {
    /// Optimizer steps: done, and those of all epochs.
    pub steps: (u64, u64),
    /// Epochs: the current one from 1, all.
    pub epochs: (u32, Total),
    /// Mean loss of the epoch so far.
    pub loss: f64,
    /// The latest validation loss.
    pub validation_loss: Option<f64>,
    /// Validation Dice: latest, best.
    pub dice: (Option<f64>, Option<f64>),
    /// Learning rate of the last step.
    pub learning_rate: f64,
}

/// The number of epochs of a training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Total {
    /// So many.
    Known(u32),
    /// Not decided yet: so many, or fewer.
    AtMost(u32),
}

impl Total {
    /// So many, or fewer.
    pub fn epochs(self) -> u32 {
        match self {
            Total::Known(epochs) | Total::AtMost(epochs) => epochs,
        }
    }

    /// The epoch `now` among these: "3/20", or "3, at most 20".
    fn place(self, now: u32) -> String {
        match self {
            Total::Known(epochs) => format!("{now}/{epochs}"),
            Total::AtMost(epochs) => format!("{now}, at most {epochs}"),
        }
    }
}

impl Throughput {
    const BETWEEN: Duration = Duration::from_millis(400);

    /// Starts counting now.
    pub fn new() -> Throughput {
        Throughput {
            begun: Instant::now(),
            steps: 0,
            patches: 0,
            last_shown: None,
            excluded: Duration::ZERO,
        }
    }

    /// Counts the patches of a batch.
    pub fn add_patches(&mut self, patches: u64) {
        self.patches += patches;
    }

    /// Counts a step.
    pub fn add_step(&mut self) {
        self.steps += 1;
    }

    /// Counts time that was not spent on steps (validation).
    pub fn exclude(&mut self, time: Duration) {
        self.excluded += time;
    }

    /// Patches per second of training time.
    pub fn patches_per_second(&self) -> f64 {
        self.patches as f64
            / (self.begun.elapsed().saturating_sub(self.excluded)).as_secs_f64().max(1e-9)
    }

    /// True if enough time has passed since the last progress line.
    pub fn is_due(&self) -> bool {
        self.last_shown.is_none_or(|last_shown| last_shown.elapsed() >= Self::BETWEEN)
    }

    /// Shows a progress line.
    pub fn show(&mut self, cx: &Context, snapshot: &ProgressSnapshot) {
        self.last_shown = Some(Instant::now());
        let (done, total) = snapshot.steps;
        let each = self.begun.elapsed().as_secs_f64() / self.steps.max(1) as f64;
        let (epoch, all) = snapshot.epochs;
        let mut numbers = vec![("epoch".to_string(), all.place(epoch))];
        numbers.push(("loss".into(), format!("{:.4}", snapshot.loss)));
        let validation_loss = snapshot.validation_loss;
        numbers.extend(validation_loss.map(|loss| ("val_loss".into(), format!("{loss:.4}"))));
        numbers.extend(snapshot.dice.0.map(|dice| ("dice".into(), format!("{dice:.4}"))));
        numbers.extend(snapshot.dice.1.map(|dice| ("best".into(), format!("{dice:.4}"))));
        numbers.push(("lr".into(), format!("{:.2e}", snapshot.learning_rate)));
        numbers.push(("patches/s".into(), format!("{:.1}", self.patches_per_second())));
        let left = clock(each * total.saturating_sub(done) as f64);
        let (left, total) = match all {
            Total::Known(_) => (left, Some(total)),
            Total::AtMost(_) => (format!("at most {left}"), None),
        };
        numbers.push(("left".into(), left));
        cx.progress(Progress { done, total, unit: "steps".into(), numbers });
    }
}

impl Default for Throughput {
    fn default() -> Self {
        Throughput::new()
    }
}

/// Seconds as "1:02:03" or "2:03".
fn clock(seconds: f64) -> String {
    let seconds = seconds.round() as u64;
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{rest:02}")
    } else {
        format!("{minutes}:{rest:02}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_end_is_told_as_the_most_that_it_may_be() {
        assert_eq!(Total::Known(20).place(3), "3/20");
        assert_eq!(Total::AtMost(1000).place(37), "37, at most 1000");
    }

    #[test]
    fn time_left_reads_as_a_clock() {
        assert_eq!(clock(62.4), "1:02");
        assert_eq!(clock(3723.0), "1:02:03");
    }
}
