//! The file system's clock: a server's clock on network file systems. File times are comparable
//! with this clock only.

use crate::artifact::FileStat;
use crate::disk;
use crate::error::{Error, Result};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Current time as the file system records it.
#[derive(Debug)]
pub(crate) struct Clock {
    /// A store file to touch; `None` selects this host's clock.
    file: Option<PathBuf>,
    /// Lead over this host's clock in nanoseconds; measured once, on demand.
    ahead_ns: OnceLock<i64>,
}

impl Clock {
    /// The file system's clock, measured by touching `file`.
    pub(crate) fn of(file: PathBuf) -> Clock {
        Clock { file: Some(file), ahead_ns: OnceLock::new() }
    }

    /// This host's clock.
    pub(crate) fn local() -> Clock {
        Clock { file: None, ahead_ns: OnceLock::new() }
    }

    /// Now, in nanoseconds since 1970.
    pub(crate) fn now_ns(&self) -> i64 {
        let ahead = self.ahead_ns.get_or_init(|| self.file.as_deref().map_or(0, ahead_ns));
        local_ns().saturating_add(*ahead)
    }

    /// Now.
    pub(crate) fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_nanos(self.now_ns().max(0) as u64)
    }

    /// Time since a change; zero for future times.
    pub(crate) fn age(&self, changed: SystemTime) -> Duration {
        self.now().duration_since(changed).unwrap_or_default()
    }
}

/// The server's lead in nanoseconds; 0 if the file cannot be touched.
fn ahead_ns(file: &Path) -> i64 {
    let before = local_ns();
    match touched_ns(file) {
        Ok(written) => written.saturating_sub(before.midpoint(local_ns())),
        Err(error) => {
            tracing::debug!("{error}; this host's clock is taken for the file system's");
            0
        }
    }
}

fn touched_ns(file: &Path) -> Result<i64> {
    let open = disk::open_lock(file)?;
    disk::touch(&open);
    Ok(FileStat::fresh(&open).map_err(Error::io("look at", file))?.mtime_ns)
}

fn local_ns() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_of_a_local_file_system_is_this_hosts() {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::of(folder.path().join("lock"));
        let apart = clock.now_ns().abs_diff(Clock::local().now_ns());
        assert!(apart < 100_000_000, "{apart} ns");
        assert!(folder.path().join("lock").exists(), "it was touched");
        let nowhere = Clock::of(folder.path().join("no/lock"));
        assert!(nowhere.now_ns().abs_diff(Clock::local().now_ns()) < 100_000_000);
    }

    #[test]
    fn ages_are_told_by_the_servers_clock() {
        let ahead = Duration::from_secs(300);
        let clock = Clock { file: None, ahead_ns: OnceLock::from(ahead.as_nanos() as i64) };
        let age = clock.age(SystemTime::now());
        assert!(age >= ahead && age < 2 * ahead, "{age:?}");
        assert_eq!(clock.age(SystemTime::now() + 2 * ahead), Duration::ZERO);
    }
}
