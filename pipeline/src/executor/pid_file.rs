//! A file that names a process of this machine by its number and the moment it began, so that
//! another process that got the same number later, or on another machine, is not taken for it.

use rustix::process::{Pid, Signal, kill_process_group};
use std::fs;
use std::path::{Path, PathBuf};
use voxflow_cache::disk;

/// The file.
pub(super) struct PidFile {
    path: PathBuf,
}

impl PidFile {
    /// At this path.
    pub(super) fn at(path: &Path) -> PidFile {
        PidFile { path: path.to_path_buf() }
    }

    /// Names a process that runs now.
    pub(super) fn write(&self, pid: u32) -> voxflow_cache::Result<()> {
        let began = began(pid).unwrap_or_default();
        let text = format!("{pid} {began} {}\n", crate::machine::host());
        disk::write(&self.path, text.as_bytes())
    }

    /// The process, if it still runs.
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

    /// Asks the process and its group to end.
    pub(super) fn terminate(&self) {
        if let Some(pid) = self.living() {
            kill_process_group(pid, Signal::TERM).ok();
        }
    }
}

/// The moment a process began in ticks since the machine did; `None` where it has ended, also
/// where nobody has reaped it yet.
fn began(pid: u32) -> Option<String> {
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
