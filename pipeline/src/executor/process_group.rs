//! A child process leading its own process group.

use crate::lock::lock;
use crate::machine::{Usage, usage_of};
use crate::stop::Stoppable;
use rustix::process::{Pid, Signal, kill_process_group};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

/// Has the kernel end a child with the thread that starts it.
pub(crate) fn die_with_parent(command: &mut Command) {
    let parent = rustix::process::getpid();
    // SAFETY: between fork and exec only two system calls are made, both safe there.
    unsafe {
        command.pre_exec(move || {
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
            // The parent may have died before the line above.
            if rustix::process::getppid() == Some(parent) {
                Ok(())
            } else {
                Err(std::io::ErrorKind::NotFound.into())
            }
        });
    }
}

/// Poll interval for the child's exit after its output ends.
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// Process group; empty once the leader is reaped, because its id may be reused.
pub(super) struct ChildGroup {
    leader: Mutex<Option<Pid>>,
}

impl ChildGroup {
    /// Group led by a child spawned as its own group's leader.
    pub(super) fn led_by(child: &Child) -> ChildGroup {
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        ChildGroup { leader: Mutex::new(pid) }
    }

    /// Waits for the leader; returns exit status and resource usage.
    pub(super) fn wait(&self) -> (ExitStatus, Usage) {
        loop {
            match self.try_wait() {
                Some(ended) => return ended,
                None => std::thread::sleep(POLL_INTERVAL),
            }
        }
    }

    /// Reaps the leader if it has ended. Holds the lock: no signal can hit a reused id.
    pub(super) fn try_wait(&self) -> Option<(ExitStatus, Usage)> {
        let mut leader = self.leader();
        let pid = leader.map_or(-1, |pid| pid.as_raw_nonzero().get());
        let mut status = 0;
        // SAFETY: both pointers are to live values, and zeros are a valid rusage.
        let (found, usage) = unsafe {
            let mut usage: libc::rusage = std::mem::zeroed();
            (libc::wait4(pid, &raw mut status, libc::WNOHANG, &raw mut usage), usage)
        };
        if found == 0 {
            return None;
        }
        *leader = None;
        Some((ExitStatus::from_raw(status), usage_of(&usage)))
    }

    /// Kills the group.
    pub(super) fn end(&self) {
        self.signal(Signal::KILL);
    }

    /// Signals the group, if it still exists.
    pub(super) fn signal(&self, signal: Signal) {
        if let Some(pid) = *self.leader() {
            kill_process_group(pid, signal).ok();
        }
    }

    fn leader(&self) -> MutexGuard<'_, Option<Pid>> {
        lock(&self.leader)
    }
}

impl Stoppable for ChildGroup {
    fn ask(&self) {
        self.signal(Signal::TERM);
    }

    fn suspend(&self) {
        self.signal(Signal::STOP);
    }

    fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn kill(&self) {
        self.end();
    }
}
