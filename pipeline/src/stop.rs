//! Stopping: the first SIGINT or SIGTERM asks, the second ends everything at once.

use crate::exit::{Error, Exit, Result};
use rustix::process::{Pid, Signal, kill_process_group};
use signal_hook::consts::{SIGINT, SIGTERM};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Whether the run was asked to stop, and the workers that must hear of it. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    asked: AtomicBool,
    workers: Mutex<BTreeSet<i32>>,
}

impl Stop {
    /// Begins to listen for signals. To be called once in a process.
    pub fn listen(&self) -> Result<()> {
        let stop = self.clone();
        let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])
            .map_err(|error| Error::Failed(format!("signals: cannot be caught: {error}")))?;
        let listen = move || {
            for _ in signals.forever() {
                if stop.is_asked() {
                    stop.signal_workers(Signal::KILL);
                    signal_hook::low_level::exit(Exit::Interrupted.code().into());
                }
                stop.ask();
            }
        };
        let thread = std::thread::Builder::new().name("signals".into()).spawn(listen);
        thread
            .map(|_| ())
            .map_err(|error| Error::Failed(format!("signals: cannot start a thread: {error}")))
    }

    /// Asks everything to stop, workers by SIGTERM.
    pub fn ask(&self) {
        self.inner.asked.store(true, Ordering::SeqCst);
        self.signal_workers(Signal::TERM);
    }

    /// Whether a stop was asked for.
    pub fn is_asked(&self) -> bool {
        self.inner.asked.load(Ordering::SeqCst)
    }

    /// Adds a worker, the leader of its own process group. One that comes late is told at once.
    pub fn add_worker(&self, pid: i32) {
        self.workers().insert(pid);
        if self.is_asked() {
            signal_group(pid, Signal::TERM);
        }
    }

    /// Runs `reap` while no signal can be sent, and forgets the worker if that returns something:
    /// its process id may then be somebody else's.
    pub fn reap<T>(&self, pid: i32, reap: impl FnOnce() -> Option<T>) -> Option<T> {
        let mut workers = self.workers();
        let reaped = reap()?;
        workers.remove(&pid);
        Some(reaped)
    }

    fn signal_workers(&self, signal: Signal) {
        self.workers().iter().for_each(|pid| signal_group(*pid, signal));
    }

    fn workers(&self) -> MutexGuard<'_, BTreeSet<i32>> {
        self.inner.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells a process group. One that is gone needs nothing.
fn signal_group(pid: i32, signal: Signal) {
    if let Some(group) = Pid::from_raw(pid) {
        kill_process_group(group, signal).ok();
    }
}
