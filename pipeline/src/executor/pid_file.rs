//! Identifies a local process by pid, start time and host: a reused pid, or one from another
//! machine, is not mistaken for it.

use rustix::process::{Pid, Signal, kill_process_group};
use std::fs;
use std::path::{Path, PathBuf};
use voxflow_cache::disk;

pub(super) struct PidFile {
    path: PathBuf,
}

impl PidFile {
    pub(super) fn at(path: &Path) -> PidFile {
        PidFile { path: path.to_path_buf() }
    }

    /// Records a running process.
    pub(super) fn write(&self, pid: u32) -> voxflow_cache::Result<()> {
        let began = began(pid).unwrap_or_default();
        let text = format!("{pid} {began} {}\n", crate::machine::host());
        disk::write(&self.path, text.as_bytes())
    }

    /// The recorded process, if still running.
    pub(super) fn living(&self) -> Option<Pid> {
        let text = fs::read_to_string(&self.path).ok()?;
        let words: Vec<&str> = text.split_whitespace().collect();
        let [pid, start, host] = words[..] else { return None };
        let pid: u32 = pid.parse().ok()?;
        if host != crate::machine::host() || began(pid)? != start {
            return None;
        }
        Pid::from_raw(i32::try_from(pid).ok()?)
    }

    /// Sends SIGTERM to the process group.
    pub(super) fn terminate(&self) {
        if let Some(pid) = self.living() {
            kill_process_group(pid, Signal::TERM).ok();
        }
    }
}

/// Start time in clock ticks since boot; `None` if ended, including zombies.
pub(crate) fn began(pid: u32) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    (fields.first() != Some(&"Z")).then(|| fields.get(19).map(|start| (*start).to_string()))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_number_and_its_beginning() {
        let folder = tempfile::tempdir().unwrap();
        let file = PidFile::at(&folder.path().join("7.pid"));
        assert!(file.living().is_none(), "no file");
        file.write(std::process::id()).unwrap();
        assert!(file.living().is_some());
        fs::write(&file.path, format!("{} 1 {}\n", std::process::id(), crate::machine::host()))
            .unwrap();
        assert!(file.living().is_none(), "another that got the number");
    }
}
