//! The watch over the ranks: a thread in each process. Its beat shows a running process; dead and
//! hung ranks are noticed, and a process whose own work cannot be woken any more is ended.

use super::process_group::ProcessGroup;
use signal_hook::consts::{SIGHUP, SIGTERM, SIGUSR1, SIGUSR2, SIGXCPU};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use voxflow_stages::Error;

/// Time between two looks.
const TICK: Duration = Duration::from_millis(50);

/// Time after a failure until the communicator is told to give up, and until the process ends
/// itself: by then the work should have heard about the failure and ended properly.
const ABORT_AFTER: Duration = Duration::from_secs(2);
const END_AFTER: Duration = Duration::from_secs(10);

/// Signals asking a worker to stop. They reach the whole process group, and kill a rank before it
/// listens to signals.
const ASKING: [i32; 5] = [SIGTERM, SIGHUP, SIGXCPU, SIGUSR1, SIGUSR2];

/// The variable for tests to set the longest silence, in milliseconds.
pub const SILENCE: &str = "VOXFLOW_RANK_SILENCE_MS";

/// The longest silence of a running rank. Debug builds read it from [`SILENCE`].
fn longest_silence() -> Duration {
    const LONGEST: Duration = Duration::from_secs(60);
    if !cfg!(debug_assertions) {
        return LONGEST;
    }
    let set = std::env::var(SILENCE).ok().and_then(|text| text.parse().ok());
    set.map_or(LONGEST, Duration::from_millis)
}

/// Processes started by this process, by rank.
#[derive(Clone, Default)]
pub struct Children(Arc<Mutex<Vec<(usize, Child)>>>);

impl Children {
    /// Adds a rank's process.
    pub fn add(&self, rank: usize, child: Child) {
        self.lock().push((rank, child));
    }

    /// Takes ended processes, with their statuses.
    fn take_ended(&self) -> Vec<(usize, ExitStatus)> {
        let mut ended = vec![];
        self.lock().retain_mut(|(rank, child)| match child.try_wait() {
            Ok(Some(status)) => {
                ended.push((*rank, status));
                false
            }
            _ => true,
        });
        ended
    }

    /// Waits until all ended, to have their usage counted; for `most` at the longest.
    pub fn wait(&self, most: Duration) {
        let began = Instant::now();
        while !self.lock().is_empty() && began.elapsed() < most {
            std::thread::sleep(Duration::from_millis(5));
            self.take_ended();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(usize, Child)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A rank's watch.
pub struct Watchdog {
    group: &'static ProcessGroup,
    children: Children,
    silence: Duration,
    /// Each rank's last beat, and the number of ticks since.
    beats: Vec<(u64, u32)>,
}

impl Watchdog {
    /// Starts the thread. `end` ends the process with a failure's error.
    pub fn start(
        group: &'static ProcessGroup,
        children: Children,
        end: impl FnOnce(&Error) + Send + 'static,
    ) {
        let beats = vec![(0, 0); group.ranks()];
        let mut watchdog = Watchdog { group, children, silence: longest_silence(), beats };
        std::thread::spawn(move || {
            let error = watchdog.watch();
            end(&error);
        });
    }

    /// Watches until the process should have ended after a failure.
    fn watch(&mut self) -> Error {
        let (mut failed, mut is_aborted) = (Duration::ZERO, false);
        loop {
            std::thread::sleep(TICK);
            self.group.cell(self.group.rank()).beat.fetch_add(1, Ordering::AcqRel);
            self.look_for_deaths();
            self.look_for_silence();
            let Some(error) = self.group.failure() else { continue };
            failed += TICK;
            if failed >= ABORT_AFTER && !is_aborted {
                is_aborted = true;
                self.group.abort();
            }
            if failed >= END_AFTER {
                return error;
            }
        }
    }

    fn look_for_deaths(&self) {
        for (rank, status) in self.children.take_ended() {
            if self.group.is_finished(rank) {
                continue;
            }
            match status.signal() {
                Some(signal) if ASKING.contains(&signal) => self.group.report_stop(rank),
                _ => self.group.report(rank, ending(status)),
            }
        }
    }

    /// Counts this thread's ticks, not time: if the whole machine slept, nobody was silent.
    fn look_for_silence(&mut self) {
        let own = self.group.rank();
        for rank in (0..self.group.ranks()).filter(|rank| *rank != own) {
            let beat = self.group.cell(rank).beat.load(Ordering::Acquire);
            let (last, ticks) = &mut self.beats[rank];
            *ticks = if beat == *last { *ticks + 1 } else { 0 };
            *last = beat;
            if TICK * *ticks >= self.silence && !self.group.is_finished(rank) {
                let seconds = self.silence.as_secs_f64();
                self.group.report(
                    rank,
                    format!(
                        "its process has not moved for {seconds} s (stopped, or stuck in the \
                         kernel); run again to go on from the last checkpoint"
                    ),
                );
            }
        }
    }
}

/// The words for a process without any.
fn ending(status: ExitStatus) -> String {
    const AGAIN: &str = "run again to go on from the last checkpoint";
    match (status.signal(), status.code()) {
        (Some(libc::SIGKILL), _) => format!(
            "it was killed (SIGKILL); most likely memory ran out: every rank needs its own, so \
             lower 'patch' or the number of ranks; {AGAIN}"
        ),
        (Some(signal), _) => format!("it died of signal {signal}; {AGAIN}"),
        (None, code) => format!("it ended with exit code {} and no word", code.unwrap_or(-1)),
    }
}
