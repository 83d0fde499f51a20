//! Signals: the first SIGINT or SIGTERM asks to stop, the second ends everything at once. SIGHUP
//! and the warnings of batch systems only ever ask. Signals that whoever started this program has
//! ignored stay so (`nohup`). What suspends this program suspends its workers too, and continues
//! them with it.

use crate::error::{Error, Exit, Result};
use rustix::process::{Pid, Signal, kill_process_group};
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGTERM};
use signal_hook::consts::{SIGTSTP, SIGTTIN, SIGTTOU, SIGUSR1, SIGUSR2, SIGXCPU};
use std::collections::BTreeSet;
use std::process::Child;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Always caught.
const ALWAYS: [i32; 3] = [SIGINT, SIGTERM, SIGCONT];
/// These ask, however often they come: a closed terminal sends more than one, a limit of processor
/// time one a second, and batch systems warn by the others before they end a job.
const ASKING: [i32; 4] = [SIGHUP, SIGXCPU, SIGUSR1, SIGUSR2];
/// A terminal suspends by SIGTSTP, or by the others when a program in the background writes to it
/// or reads from it.
const SUSPENDING: [i32; 3] = [SIGTSTP, SIGTTIN, SIGTTOU];

/// True if the run was asked to stop, and the workers that must hear of it. Clones share it.
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
        let others = ASKING.into_iter().chain(SUSPENDING);
        let caught = ALWAYS.into_iter().chain(others.filter(|signal| !is_ignored(*signal)));
        let mut signals = signal_hook::iterator::Signals::new(caught)
            .map_err(|error| Error::Failed(format!("signals: cannot be caught: {error}")))?;
        let stop = self.clone();
        let listen = move || signals.forever().for_each(|signal| stop.hear(signal));
        let thread = std::thread::Builder::new().name("signals".into()).spawn(listen);
        thread
            .map(|_| ())
            .map_err(|error| Error::Failed(format!("signals: cannot start a thread: {error}")))
    }

    fn hear(&self, signal: i32) {
        match signal {
            SIGCONT => self.signal_workers(Signal::CONT),
            _ if SUSPENDING.contains(&signal) => self.suspend(),
            _ if ASKING.contains(&signal) => self.ask(),
            _ if self.is_asked() => {
                self.signal_workers(Signal::KILL);
                signal_hook::low_level::exit(Exit::Interrupted.code().into());
            }
            _ => self.ask(),
        }
    }

    /// Stands still with all workers and their children until SIGCONT. By SIGSTOP, which reaches
    /// groups that a terminal's signal would pass over. Under the lock, so that no worker begins
    /// meanwhile.
    fn suspend(&self) {
        let workers = self.workers();
        workers.iter().for_each(|pid| signal_group(*pid, Signal::STOP));
        rustix::process::kill_process(rustix::process::getpid(), Signal::STOP).ok();
    }

    /// Asks everything to stop, workers by SIGTERM.
    pub fn ask(&self) {
        self.inner.asked.store(true, Ordering::SeqCst);
        self.signal_workers(Signal::TERM);
    }

    /// True if a stop was asked for.
    pub fn is_asked(&self) -> bool {
        self.inner.asked.load(Ordering::SeqCst)
    }

    /// Starts a worker, the leader of its own process group, while no signal is passed on. One that
    /// comes late is told at once.
    pub fn start_worker<E>(&self, start: impl FnOnce() -> Result<Child, E>) -> Result<Child, E> {
        let mut workers = self.workers();
        let child = start()?;
        if let Ok(pid) = i32::try_from(child.id()) {
            workers.insert(pid);
            if self.is_asked() {
                signal_group(pid, Signal::TERM);
            }
        }
        Ok(child)
    }

    /// Ends a worker that is not to go on.
    pub fn end_worker(&self, pid: i32) {
        if self.workers().contains(&pid) {
            signal_group(pid, Signal::KILL);
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

/// True if this process was started with the signal ignored, as `nohup` does with SIGHUP.
fn is_ignored(signal: i32) -> bool {
    // SAFETY: asks only, and zeros are a valid sigaction.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &raw mut action) == 0
            && action.sa_sigaction == libc::SIG_IGN
    }
}
