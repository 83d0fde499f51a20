//! Time during which at least one stage of a run is being made.
//!
//! A run of a sweep queues for long behind the others, which does not count.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

#[derive(Debug, Default)]
pub struct BusyClock {
    working: BTreeSet<usize>,
    since: Option<Instant>,
    total: Duration,
}

impl BusyClock {
    /// A stage begins or resumes.
    pub fn begin(&mut self, stage: usize, now: Instant) {
        if self.working.insert(stage) {
            self.since.get_or_insert(now);
        }
    }

    /// A stage ends or waits; ignored for stages that do not work.
    pub fn pause(&mut self, stage: usize, now: Instant) {
        if self.working.remove(&stage)
            && self.working.is_empty()
            && let Some(since) = self.since.take()
        {
            self.total += now.duration_since(since);
        }
    }

    pub fn total(&self) -> Duration {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_stages_count_once_and_waiting_counts_nothing() {
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let mut clock = BusyClock::default();
        clock.begin(1, at(0));
        clock.begin(2, at(2));
        clock.pause(1, at(5));
        clock.pause(2, at(7));
        clock.pause(2, at(9));
        assert_eq!(clock.total(), Duration::from_secs(7));
        clock.begin(3, at(100));
        clock.begin(3, at(101));
        clock.pause(3, at(103));
        assert_eq!(clock.total(), Duration::from_secs(10));
    }
}
