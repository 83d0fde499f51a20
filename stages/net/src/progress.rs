//! How fast a training goes and when it will be done; told a few times a second at most.

use std::time::{Duration, Instant};
use voxflow_stages::{Context, Progress};

/// The pace of this process's part of a training.
pub struct Pace {
    begun: Instant,
    steps: u64,
    patches: u64,
    told: Option<Instant>,
    aside: Duration,
}

/// What is worth showing.
pub struct Shown {
    /// Optimizer steps done and in all.
    pub steps: (u64, u64),
    /// The epoch in hand, from 1, and all.
    pub epochs: (u32, u32),
    /// Mean loss of the epoch so far.
    pub loss: f64,
    /// The newest and the best validation Dice.
    pub dice: (Option<f64>, Option<f64>),
    /// The learning rate.
    pub rate: f64,
}

impl Pace {
    const BETWEEN: Duration = Duration::from_millis(400);

    /// A pace that begins now.
    pub fn new() -> Pace {
        Pace { begun: Instant::now(), steps: 0, patches: 0, told: None, aside: Duration::ZERO }
    }

    /// Counts the patches of a batch.
    pub fn batch(&mut self, patches: u64) {
        self.patches += patches;
    }

    /// Counts a step.
    pub fn step(&mut self) {
        self.steps += 1;
    }

    /// Counts time that was not spent on steps (validation).
    pub fn aside(&mut self, time: Duration) {
        self.aside += time;
    }

    /// Patches per second of training time.
    pub fn patches_per_second(&self) -> f64 {
        self.patches as f64
            / (self.begun.elapsed().saturating_sub(self.aside)).as_secs_f64().max(1e-9)
    }

    /// Whether it is time to tell.
    pub fn is_due(&self) -> bool {
        self.told.is_none_or(|told| told.elapsed() >= Self::BETWEEN)
    }

    /// Tells.
    pub fn tell(&mut self, cx: &Context, shown: &Shown) {
        self.told = Some(Instant::now());
        let (done, total) = shown.steps;
        let each = self.begun.elapsed().as_secs_f64() / self.steps.max(1) as f64;
        let mut numbers =
            vec![("epoch".to_string(), format!("{}/{}", shown.epochs.0, shown.epochs.1))];
        numbers.push(("loss".into(), format!("{:.4}", shown.loss)));
        numbers.extend(shown.dice.0.map(|dice| ("dice".into(), format!("{dice:.4}"))));
        numbers.extend(shown.dice.1.map(|dice| ("best".into(), format!("{dice:.4}"))));
        numbers.push(("lr".into(), format!("{:.2e}", shown.rate)));
        numbers.push(("patches/s".into(), format!("{:.1}", self.patches_per_second())));
        numbers.push(("left".into(), clock(each * total.saturating_sub(done) as f64)));
        cx.progress(Progress { done, total: Some(total), unit: "steps".into(), numbers });
    }
}

impl Default for Pace {
    fn default() -> Self {
        Pace::new()
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

/// The largest memory this process has held, in bytes, as the kernel counts it.
pub fn peak_memory_bytes() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim()
        .trim_end_matches("kB")
        .trim()
        .parse::<f64>()
        .ok()
        .map(|kibibytes| kibibytes * 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_left_reads_as_a_clock() {
        assert_eq!(clock(62.4), "1:02");
        assert_eq!(clock(3723.0), "1:02:03");
    }
}
