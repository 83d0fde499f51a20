//! Starting the ranks: one process each, since libtorch's random generator, switches and threads
//! are global to a process, a crash should not take unsent messages along, and NCCL is used most
//! with a process a GPU.
//!
//! Rank 0 is the engine's worker. It makes the shared memory and starts the other ranks as the same
//! program on the same task; they die with rank 0.

use super::process_group::ProcessGroup;
use super::shared_region::{SLOT, SharedRegion};
use super::watchdog::Children;
use std::ffi::OsString;
use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use voxflow_stages::{Error, Result};

/// The argument before a rank's own arguments.
pub const RANK: &str = "--rank";

/// Arguments for a rank's process, after the task file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RankArguments {
    /// Its rank.
    pub rank: usize,
    /// The shared memory's descriptor.
    pub memory: RawFd,
    /// Its device: "cpu" or "cuda:N".
    pub device: String,
}

impl RankArguments {
    /// The arguments after [`RANK`]; `None` unless they are complete.
    pub fn read(arguments: &[OsString]) -> Option<RankArguments> {
        let [rank, memory, device] = arguments else { return None };
        Some(RankArguments {
            rank: rank.to_str()?.parse::<u16>().ok()?.into(),
            memory: memory.to_str()?.parse::<u16>().ok()?.into(),
            device: device.to_str()?.to_string(),
        })
    }

    fn write(&self) -> [String; 4] {
        [RANK.into(), self.rank.to_string(), self.memory.to_string(), self.device.clone()]
    }

    /// Joins rank 0's group with `ranks` members.
    pub fn join(&self, ranks: usize) -> Result<ProcessGroup> {
        if self.rank == 0 || self.rank >= ranks {
            return Err(Error::failed(format!("rank {} of {ranks} cannot join", self.rank)));
        }
        // SAFETY: rank 0 left this descriptor open for this process, which uses it here alone.
        let file = unsafe { File::from_raw_fd(self.memory) };
        Ok(ProcessGroup::new(SharedRegion::open(&file, ranks)?, self.rank))
    }
}

/// Starts a rank for each device but the first, on a task file. This process is rank 0.
pub fn launch(task: &Path, devices: &[String]) -> Result<(ProcessGroup, Children)> {
    let (region, file) = SharedRegion::create(devices.len(), SLOT)?;
    let (children, memory) = (Children::default(), file.as_raw_fd());
    for (rank, device) in devices.iter().enumerate().skip(1) {
        let arguments = RankArguments { rank, memory, device: device.clone() };
        let program = std::env::current_exe().map_err(Error::io("find", "voxflow-worker"))?;
        let child = start(&program, task, &arguments).map_err(Error::io("start", &program))?;
        children.add(rank, child);
    }
    Ok((ProcessGroup::new(region, 0), children))
}

/// Standard error is shared with rank 0; a rank says nothing else.
fn start(program: &Path, task: &Path, arguments: &RankArguments) -> std::io::Result<Child> {
    let mut command = Command::new(program);
    command.arg(task).args(arguments.write()).stdin(Stdio::null()).stdout(Stdio::null());
    let (memory, parent) = (arguments.memory, std::process::id());
    // SAFETY: between fork and exec only system calls on integers are made.
    unsafe {
        command.pre_exec(move || {
            let kept = libc::fcntl(memory, libc::F_SETFD, 0);
            let bound = libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            // The parent may have died before the line above.
            let is_alone = libc::getppid() as u32 != parent;
            if kept < 0 || bound < 0 || is_alone {
                return Err(std::io::ErrorKind::NotFound.into());
            }
            Ok(())
        });
    }
    command.spawn()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_read_as_they_were_written() {
        let arguments = RankArguments { rank: 3, memory: 7, device: "cuda:3".into() };
        let written = arguments.write().map(OsString::from);
        assert_eq!(written[0], RANK);
        assert_eq!(RankArguments::read(&written[1..]), Some(arguments));
        assert_eq!(RankArguments::read(&written[2..]), None);
    }
}
