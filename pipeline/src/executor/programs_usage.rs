//! Resources that the programs of a stage took together.

use crate::lock::lock;
use crate::machine::Usage;
use std::sync::Mutex;
use std::time::Instant;

/// Programs that ran for a stage, some of them at once.
#[derive(Debug, Default)]
pub struct ProgramsUsage(Mutex<Vec<ProgramRun>>);

#[derive(Clone, Copy, Debug)]
struct ProgramRun {
    began: Instant,
    ended: Instant,
    usage: Usage,
}

impl ProgramsUsage {
    /// Adds a program that ran from then until now.
    pub(super) fn add(&self, began: Instant, usage: Usage) {
        lock(&self.0).push(ProgramRun { began, ended: Instant::now(), usage });
    }

    /// The sum; `None` if no program ran. Its memory is the most that programs may have held
    /// together: each counts with its peak for all its time.
    pub(super) fn total(&self) -> Option<Usage> {
        let runs = lock(&self.0).clone();
        let sum = runs.iter().map(|run| run.usage).reduce(|one, other| Usage {
            cpu_seconds: one.cpu_seconds + other.cpu_seconds,
            peak_rss_bytes: 0,
            read_bytes: one.read_bytes + other.read_bytes,
            written_bytes: one.written_bytes + other.written_bytes,
        })?;
        Some(Usage { peak_rss_bytes: peak(&runs), ..sum })
    }
}

/// The largest sum of peaks of concurrent programs, reached when a program begins.
fn peak(runs: &[ProgramRun]) -> u64 {
    let peaks = runs.iter().map(|run| peak_at(run.began, runs).max(run.usage.peak_rss_bytes));
    peaks.max().unwrap_or(0)
}

fn peak_at(moment: Instant, runs: &[ProgramRun]) -> u64 {
    let there = runs.iter().filter(|run| run.began <= moment && moment < run.ended);
    there.map(|run| run.usage.peak_rss_bytes).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn times_add_up_and_memory_does_where_programs_ran_at_once() {
        let programs = ProgramsUsage::default();
        assert_eq!(programs.total(), None);
        let start = Instant::now();
        let run = |from: u64, to: u64, peak: u64| ProgramRun {
            began: start + Duration::from_secs(from),
            ended: start + Duration::from_secs(to),
            usage: Usage {
                cpu_seconds: 1.5,
                peak_rss_bytes: peak,
                read_bytes: 10,
                written_bytes: 1,
            },
        };
        *lock(&programs.0) = vec![run(0, 10, 100), run(5, 15, 50), run(10, 20, 70), run(30, 30, 9)];
        let total = programs.total().unwrap();
        assert_eq!((total.cpu_seconds, total.read_bytes, total.written_bytes), (6.0, 40, 4));
        assert_eq!(total.peak_rss_bytes, 150);
    }
}
