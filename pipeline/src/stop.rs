//! Signal handling. The first SIGINT or SIGTERM requests a stop, the second ends the process at
//! once; SIGHUP and batch system warnings only request. Signals ignored at start stay ignored
//! (`nohup`). Suspending and continuing this program also applies to work started elsewhere,
//! registered as [`Stoppable`].

use crate::error::{Error, Exit, Result};
use crate::lock::lock;
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGTERM};
use signal_hook::consts::{SIGTSTP, SIGTTIN, SIGTTOU, SIGUSR1, SIGUSR2, SIGXCPU};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// Always handled.
const ALWAYS: [i32; 3] = [SIGINT, SIGTERM, SIGCONT];
/// Only request a stop, however often they arrive: closing a terminal sends several, CPU limits one
/// per second, batch systems warn before killing.
const ASKING: [i32; 4] = [SIGHUP, SIGXCPU, SIGUSR1, SIGUSR2];
/// Suspending: SIGTSTP by the user, the others on background terminal access.
const SUSPENDING: [i32; 3] = [SIGTSTP, SIGTTIN, SIGTTOU];

/// Work outside this process: a worker or a job.
pub trait Stoppable: Send + Sync {
    /// Asks for an orderly end; finished work is kept.
    fn ask(&self);
    /// Suspends; no-op if unsupported.
    fn suspend(&self) {}
    /// Continues.
    fn resume(&self) {}
    /// Ends at once.
    fn kill(&self);
}

/// Stop request plus work to notify. Clones share both.
#[derive(Clone, Default)]
pub struct Stop {
    inner: Arc<StopState>,
}

#[derive(Default)]
struct StopState {
    asked: AtomicBool,
    /// Set after a batch system's warning about the job's time limit.
    warned: AtomicBool,
    next: AtomicU64,
    work: Mutex<BTreeMap<u64, Arc<dyn Stoppable>>>,
}

/// Registered work; unregisters on drop.
pub struct Registration<T> {
    stop: Stop,
    id: u64,
    work: Arc<T>,
}

impl<T> std::ops::Deref for Registration<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.work
    }
}

impl<T> Drop for Registration<T> {
    fn drop(&mut self) {
        self.stop.work().remove(&self.id);
    }
}

impl Stop {
    /// Starts listening for signals. Call once per process.
    pub fn listen(&self) -> Result<()> {
        let others = ASKING.into_iter().chain(SUSPENDING);
        let caught = ALWAYS.into_iter().chain(others.filter(|signal| !is_ignored(*signal)));
        let mut signals = signal_hook::iterator::Signals::new(caught)
            .map_err(|error| Error::Failed(format!("signals: cannot be caught: {error}")))?;
        let stop = self.clone();
        let thread = std::thread::Builder::new()
            .name("signals".into())
            .spawn(move || signals.forever().for_each(|signal| stop.hear(signal)));
        thread
            .map(|_| ())
            .map_err(|error| Error::Failed(format!("signals: cannot start a thread: {error}")))
    }

    fn hear(&self, signal: i32) {
        match signal {
            SIGCONT => self.each(|work| work.resume()),
            _ if SUSPENDING.contains(&signal) => self.suspend(),
            _ if ASKING.contains(&signal) => {
                self.inner.warned.fetch_or(signal == SIGUSR1, Ordering::SeqCst);
                self.ask();
            }
            _ if self.is_asked() => {
                self.each(|work| work.kill());
                signal_hook::low_level::exit(Exit::Interrupted.code().into());
            }
            _ => self.ask(),
        }
    }

    /// Suspends all work, then this process. Uses SIGSTOP because terminal signals skip other
    /// process groups, and keeps the lock so that no work starts meanwhile.
    fn suspend(&self) {
        let work = self.work();
        work.values().for_each(|work| work.suspend());
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::STOP)
            .ok();
    }

    /// Requests a stop everywhere.
    pub fn ask(&self) {
        self.inner.asked.store(true, Ordering::SeqCst);
        self.each(|work| work.ask());
    }

    pub fn is_asked(&self) -> bool {
        self.inner.asked.load(Ordering::SeqCst)
    }

    /// True after a batch system's warning about the job's time limit.
    pub fn is_warned(&self) -> bool {
        self.inner.warned.load(Ordering::SeqCst)
    }

    /// Starts and registers work under the lock: no signal can slip between. Work starting after a
    /// stop request is asked at once.
    pub fn start<T: Stoppable + 'static, E>(
        &self,
        start: impl FnOnce() -> Result<T, E>,
    ) -> Result<Registration<T>, E> {
        let mut all = self.work();
        let work = Arc::new(start()?);
        let id = self.inner.next.fetch_add(1, Ordering::Relaxed);
        all.insert(id, Arc::<T>::clone(&work));
        if self.is_asked() {
            work.ask();
        }
        Ok(Registration { stop: self.clone(), id, work })
    }

    fn each(&self, tell: impl Fn(&dyn Stoppable)) {
        self.work().values().for_each(|work| tell(work.as_ref()));
    }

    fn work(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<dyn Stoppable>>> {
        lock(&self.inner.work)
    }
}

/// True if the signal was ignored at process start, as `nohup` does.
fn is_ignored(signal: i32) -> bool {
    // SAFETY: asks only, and zeros are a valid sigaction.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &raw mut action) == 0
            && action.sa_sigaction == libc::SIG_IGN
    }
}
