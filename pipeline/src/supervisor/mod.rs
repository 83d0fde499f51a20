//! The process between this program and a program of the person's own, `voxflow supervise`.
//!
//! It adopts whatever the program starts, even processes that left its process group, keeps the
//! limits, and ends everything: when the program has ended, when a limit is reached, when asked,
//! and when the other end of its standard input closes, as it does when voxflow dies. Its last word
//! goes there: an [`Ending`] as JSON.
//!
//! SIGTERM asks the program to stop, SIGTSTP suspends and SIGCONT continues it.

mod descendants;

use crate::error::{Error, Result};
use crate::executor::process_group::die_with_parent;
use descendants::{Process, descendants};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use signal_hook::consts::{SIGCONT, SIGTERM, SIGTSTP};
use signal_hook::iterator::Signals;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus, Stdio};
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

/// Limits of the program and of all that it starts.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub time: Option<Duration>,
    /// Bytes.
    pub memory: Option<u64>,
    pub processes: u64,
}

/// Runs the program to its end, and says on the line how it ended.
pub fn run(words: &[String], bounds: &Bounds) -> Result<()> {
    let signals = Signals::new([SIGTERM, SIGTSTP, SIGCONT]);
    let signals = signals.map_err(|error| broken("signals cannot be caught", &error))?;
    let mut line = line().map_err(|error| broken("standard input is no socket", &error))?;
    adopt_orphans().map_err(|error| broken("processes cannot be adopted", &error))?;
    let ending = match start(words) {
        Err(error) => Some(Ending::NotStarted(reason(words, &error))),
        Ok(group) => Supervision::new(group, bounds, signals, &mut line).watch(),
    };
    if let Some(ending) = ending {
        let text = serde_json::to_vec(&ending).unwrap_or_default();
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

/// Has orphans below this process become its children.
fn adopt_orphans() -> io::Result<()> {
    // SAFETY: sets a flag of this process.
    match unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Starts the program as the leader of its own process group.
fn start(words: &[String]) -> io::Result<Pid> {
    let (program, arguments) = words.split_first().ok_or(ErrorKind::InvalidInput)?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).process_group(0);
    die_with_parent(&mut command);
    let child = command.spawn()?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    pid.ok_or_else(|| ErrorKind::InvalidData.into())
}

fn reason(words: &[String], error: &io::Error) -> String {
    let program = words.first().map(String::as_str).unwrap_or_default();
    match error.kind() {
        ErrorKind::NotFound if program.contains('/') => format!("'{program}' is not there"),
        ErrorKind::NotFound => format!("'{program}' is not found on the PATH"),
        ErrorKind::PermissionDenied => format!("'{program}' is not executable"),
        _ => format!("'{program}': {error}"),
    }
}

struct Supervision<'a> {
    group: Pid,
    bounds: &'a Bounds,
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
        signals: Signals,
        line: &'a mut UnixStream,
    ) -> Supervision<'a> {
        let now = Instant::now();
        Supervision {
            group,
            bounds,
            signals,
            line,
            worked: Duration::ZERO,
            resumed: Some(now),
            asked: None,
            ended: None,
            looked: now,
        }
    }

    /// Waits for the end; `None` if nobody is there to hear of it.
    fn watch(mut self) -> Option<Ending> {
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
                    self.signal(Signal::STOP);
                }
                SIGCONT => {
                    self.resumed = self.resumed.or_else(|| Some(Instant::now()));
                    self.signal(Signal::CONT);
                }
                _ => {
                    self.asked = self.asked.or_else(|| Some(Instant::now()));
                    self.signal(Signal::TERM);
                }
            }
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
        if let Some((_, at)) = self.ended
            && at.elapsed() > LEAVING
        {
            let left = descendants();
            let is_good = self.own_ending() == Ending::Exited(0) && !left.is_empty();
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
        let processes = descendants();
        self.looked = Instant::now();
        if processes.len() as u64 > self.bounds.processes {
            return Some(Ending::ProcessLimit);
        }
        let exceeds = |limit| descendants::exceed_memory(&processes, limit);
        self.bounds.memory.is_some_and(exceeds).then_some(Ending::MemoryLimit)
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
