//! Signals: the first SIGINT or SIGTERM asks to stop, the second ends everything at once. SIGHUP
//! and the warnings of batch systems only ever ask. Signals that whoever started this program has
//! ignored stay so (`nohup`). A signal that suspends this program suspends the work that it has
//! started elsewhere, and continues it with it. That work registers as [`Stoppable`].

use crate::error::{Error, Exit, Result};
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGTERM};
use signal_hook::consts::{SIGTSTP, SIGTTIN, SIGTTOU, SIGUSR1, SIGUSR2, SIGXCPU};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Always caught.
const ALWAYS: [i32; 3] = [SIGINT, SIGTERM, SIGCONT];
/// These ask, however often they come: a closed terminal sends more than one, a limit of processor
/// time one a second, and batch systems warn by the others before they end a job.
const ASKING: [i32; 4] = [SIGHUP, SIGXCPU, SIGUSR1, SIGUSR2];
/// A terminal suspends by SIGTSTP, or by the others when a program in the background writes to it
/// or reads from it.
const SUSPENDING: [i32; 3] = [SIGTSTP, SIGTTIN, SIGTTOU];

/// Work outside of this process: a worker, a job.
pub trait Stoppable: Send + Sync {
    /// Asks it to keep finished work and end.
    fn ask(&self);
    /// Stops it for a while; does nothing where that is not possible.
    fn suspend(&self) {}
    /// Lets it go on.
    fn resume(&self) {}
    /// Ends it at once.
    fn kill(&self);
}

/// A request to stop, and the work that must hear of it. Clones share both.
#[derive(Clone, Default)]
pub struct Stop {
    inner: Arc<StopState>,
}

#[derive(Default)]
struct StopState {
    asked: AtomicBool,
    /// A batch system has warned of the end of a job's time.
    warned: AtomicBool,
    next: AtomicU64,
    work: Mutex<BTreeMap<u64, Arc<dyn Stoppable>>>,
}

/// Work that hears of stops until this is dropped.
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

    /// Stands still with all work until SIGCONT. By SIGSTOP, which reaches groups that a terminal's
    /// signal would pass over. Under the lock, so that nothing begins meanwhile.
    fn suspend(&self) {
        let work = self.work();
        work.values().for_each(|work| work.suspend());
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::STOP)
            .ok();
    }

    /// Asks everything to stop.
    pub fn ask(&self) {
        self.inner.asked.store(true, Ordering::SeqCst);
        self.each(|work| work.ask());
    }

    /// True if a stop was asked for.
    pub fn is_asked(&self) -> bool {
        self.inner.asked.load(Ordering::SeqCst)
    }

    /// True if a batch system has warned that the time of the job is nearly over.
    pub fn is_warned(&self) -> bool {
        self.inner.warned.load(Ordering::SeqCst)
    }

    /// Starts work while no signal is passed on. Work that begins after a stop is asked at once.
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
        self.inner.work.lock().unwrap_or_else(PoisonError::into_inner)
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
