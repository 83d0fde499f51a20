//! The start of a program as the leader of its own process group, below a process that adopts
//! orphans.

use crate::executor::process_group::die_with_parent;
use rustix::process::Pid;
use std::io::{self, ErrorKind};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// Has orphans below this process become its children.
pub(super) fn adopt_orphans() -> io::Result<()> {
    // SAFETY: sets a flag of this process.
    match unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Starts the program as the leader of its own process group.
pub(super) fn program(words: &[String]) -> io::Result<Pid> {
    let (program, arguments) = words.split_first().ok_or(ErrorKind::InvalidInput)?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).process_group(0);
    die_with_parent(&mut command);
    let child = command.spawn()?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    pid.ok_or_else(|| ErrorKind::InvalidData.into())
}

pub(super) fn reason(words: &[String], error: &io::Error) -> String {
    let program = words.first().map(String::as_str).unwrap_or_default();
    match error.kind() {
        ErrorKind::NotFound if program.contains('/') => format!("'{program}' is not there"),
        ErrorKind::NotFound => format!("'{program}' is not found on the PATH"),
        ErrorKind::PermissionDenied => format!("'{program}' is not executable"),
        _ => format!("'{program}': {error}"),
    }
}
