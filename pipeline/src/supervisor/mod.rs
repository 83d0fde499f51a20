//! The process between this program and a program of the person's own, `voxflow supervise`.
//!
//! It adopts whatever the program starts, even processes that left its process group, keeps the
//! limits, and ends everything: when the program has ended, when a limit is reached, when asked,
//! and when the other end of its standard input closes, as it does when voxflow dies. Its last word
//! goes there: a [`LastWord`] as JSON. A container that an engine's daemon keeps is none of the
//! processes below; it is ended by its name.
//!
//! SIGTERM asks the program to stop, SIGTSTP suspends and SIGCONT continues it.

mod descendants;
mod gauge;
mod start;
mod terms;

pub use terms::{Bounds, LastWord, Surroundings};

use crate::containers::kept::KeptContainer;
use crate::error::{Error, Result};
use crate::machine::Usage;
use descendants::{Process, descendants, tree};
use gauge::Gauge;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use signal_hook::consts::{SIGCONT, SIGTERM, SIGTSTP};
use signal_hook::iterator::Signals;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::{Duration, Instant};
use voxflow_stages::program::Ending;

/// Poll interval for ends, signals and the line.
const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// Poll interval for memory and processes, for which all of `/proc` is read.
const LIMITS_INTERVAL: Duration = Duration::from_millis(100);
/// Time that processes have to end after the program did.
const LEAVING: Duration = Duration::from_secs(2);
/// Time that a program has to stop when asked.
const STOPPING: Duration = Duration::from_secs(10);
/// Time after which a process that cannot be killed is given up.
const KILLING: Duration = Duration::from_secs(30);

/// Runs the program to its end, and says on the line how it ended.
pub fn run(words: &[String], bounds: &Bounds, surroundings: &Surroundings) -> Result<()> {
    let signals = Signals::new([SIGTERM, SIGTSTP, SIGCONT]);
    let signals = signals.map_err(|error| broken("signals cannot be caught", &error))?;
    let mut line = line().map_err(|error| broken("standard input is no socket", &error))?;
    start::adopt_orphans().map_err(|error| broken("processes cannot be adopted", &error))?;
    let last_word = match start::program(words) {
        Err(error) => {
            let ending = Ending::NotStarted(start::reason(words, &error));
            Some(LastWord { ending, usage: Usage::default() })
        }
        Ok(group) => {
            Supervision::new(group, bounds, surroundings, signals, &mut line).into_last_word()
        }
    };
    if let Some(last_word) = last_word {
        let text = serde_json::to_vec(&last_word).unwrap_or_default();
        line.set_nonblocking(false).and_then(|()| line.write_all(&text)).ok();
    }
    Ok(())
}

fn broken(what: &str, error: &io::Error) -> Error {
    Error::Failed(format!("supervise: {what}: {error}; only voxflow calls it"))
}

fn line() -> io::Result<UnixStream> {
    let line = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    line.peer_addr()?;
    line.set_nonblocking(true)?;
    Ok(line)
}

struct Supervision<'a> {
    group: Pid,
    bounds: &'a Bounds,
    surroundings: &'a Surroundings,
    /// The first process in the container that an engine keeps, once it is known.
    contained: Option<i32>,
    is_removed: bool,
    gauge: Gauge,
    signals: Signals,
    line: &'a mut UnixStream,
    /// Time in which the program was not suspended, up to `resumed`.
    worked: Duration,
    /// Start of the time since; `None` while it is suspended.
    resumed: Option<Instant>,
    asked: Option<Instant>,
    /// The program's own end.
    ended: Option<(ExitStatus, Instant)>,
    looked: Instant,
}

impl<'a> Supervision<'a> {
    fn new(
        group: Pid,
        bounds: &'a Bounds,
        surroundings: &'a Surroundings,
        signals: Signals,
        line: &'a mut UnixStream,
    ) -> Supervision<'a> {
        let now = Instant::now();
        Supervision {
            group,
            bounds,
            surroundings,
            contained: None,
            is_removed: false,
            gauge: Gauge::default(),
            signals,
            line,
            worked: Duration::ZERO,
            resumed: Some(now),
            asked: None,
            ended: None,
            looked: now,
        }
    }

    /// Waits for the end and removes a leftover container; `None` if the parent is gone.
    fn into_last_word(mut self) -> Option<LastWord> {
        let ending = self.watch();
        if ending != Some(Ending::Exited(0)) {
            self.remove_container();
        }
        let usage = self.gauge.usage(self.surroundings.is_contained);
        ending.map(|ending| LastWord { ending, usage })
    }

    fn watch(&mut self) -> Option<Ending> {
        loop {
            self.hear();
            if self.is_alone() {
                self.end_all();
                return None;
            }
            if !self.reap() {
                return Some(self.own_ending());
            }
            if let Some(ending) = self.overdue() {
                self.end_all();
                return Some(ending);
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    fn hear(&mut self) {
        let heard: Vec<i32> = self.signals.pending().collect();
        for signal in heard {
            match signal {
                SIGTSTP => {
                    self.worked = self.worked();
                    self.resumed = None;
                    match self.kept() {
                        Some(kept) => kept.suspend(),
                        None => self.signal(Signal::STOP),
                    }
                }
                SIGCONT => {
                    self.resumed = self.resumed.or_else(|| Some(Instant::now()));
                    match self.kept() {
                        Some(kept) => kept.resume(),
                        None => self.signal(Signal::CONT),
                    }
                }
                _ => {
                    self.asked = self.asked.or_else(|| Some(Instant::now()));
                    // The engine in the foreground passes it on.
                    self.signal(Signal::TERM);
                }
            }
        }
    }

    fn kept(&self) -> Option<&'a KeptContainer> {
        self.surroundings.kept.as_ref()
    }

    /// Removes the container that an engine keeps, once.
    fn remove_container(&mut self) {
        if !std::mem::replace(&mut self.is_removed, true) {
            self.kept().iter().for_each(|kept| kept.remove());
        }
    }

    fn worked(&self) -> Duration {
        self.worked + self.resumed.map_or(Duration::ZERO, |resumed| resumed.elapsed())
    }

    /// Signals the program's group, as long as its number cannot be another's.
    fn signal(&self, signal: Signal) {
        if self.ended.is_none() {
            kill_process_group(self.group, signal).ok();
        }
    }

    /// True if the other end of the line is closed.
    fn is_alone(&mut self) -> bool {
        match self.line.read(&mut [0; 16]) {
            Ok(count) => count == 0,
            Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
        }
    }

    /// Takes note of all children that have ended; false if no child is left.
    fn reap(&mut self) -> bool {
        loop {
            let mut status = 0;
            // SAFETY: the pointer is to a live value.
            let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
            if pid == self.group.as_raw_nonzero().get() {
                self.ended = Some((ExitStatus::from_raw(status), Instant::now()));
            }
            match pid {
                0 => return true,
                pid if pid < 0 => {
                    return io::Error::last_os_error().raw_os_error() != Some(libc::ECHILD);
                }
                _ => {}
            }
        }
    }

    /// The ending of a program that must not go on.
    fn overdue(&mut self) -> Option<Ending> {
        // Of a container nothing is left but the engine's own processes, which tidy up.
        let is_contained = self.surroundings.is_contained;
        let patience = if is_contained { KILLING } else { LEAVING };
        if let Some((_, at)) = self.ended
            && at.elapsed() > patience
        {
            let left = descendants();
            let is_good =
                self.own_ending() == Ending::Exited(0) && !left.is_empty() && !is_contained;
            return Some(if is_good { Ending::LeftBehind(names(left)) } else { self.own_ending() });
        }
        if self.asked.is_some_and(|asked| asked.elapsed() > STOPPING) {
            return Some(Ending::Stopped);
        }
        if self.bounds.time.is_some_and(|limit| self.worked() > limit) {
            return Some(Ending::TimeLimit);
        }
        if self.looked.elapsed() < LIMITS_INTERVAL {
            return None;
        }
        let processes = self.processes();
        self.looked = Instant::now();
        self.gauge.look(&processes);
        if processes.len() as u64 > self.bounds.processes {
            return Some(Ending::ProcessLimit);
        }
        let limit = self.bounds.memory?;
        gauge::exceed_memory(&processes, limit).then_some(Ending::MemoryLimit)
    }

    /// The program's processes: those below this one, or those in the container that an engine
    /// keeps.
    fn processes(&mut self) -> Vec<Process> {
        let below = descendants();
        let Some(kept) = self.kept() else { return below };
        if self.contained.is_none() && self.ended.is_none() {
            self.contained = kept.process();
        }
        let Some(first) = self.contained else { return vec![] };
        let processes = tree(first);
        if below.iter().all(|process| process.pid != first) {
            self.gauge.look_elsewhere(&processes);
        }
        processes
    }

    /// The ending by the program's own exit.
    fn own_ending(&self) -> Ending {
        let status = self.ended.map(|(status, _)| status).unwrap_or_default();
        match (self.asked, status.code(), status.signal()) {
            (Some(_), ..) => Ending::Stopped,
            (None, Some(code), _) => Ending::Exited(code),
            (None, None, signal) => Ending::Signalled(signal.unwrap_or_default()),
        }
    }

    /// Kills everything below this process. The group goes at once, before it can fork again.
    fn end_all(&mut self) {
        let began = Instant::now();
        self.signal(Signal::KILL);
        // Without its engine in the foreground nothing starts it anew.
        self.remove_container();
        while self.reap() && began.elapsed() < KILLING {
            for process in descendants() {
                Pid::from_raw(process.pid).map(|pid| kill_process(pid, Signal::KILL).ok());
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }
}

fn names(processes: Vec<Process>) -> Vec<String> {
    processes.into_iter().map(|process| process.name).collect()
}
