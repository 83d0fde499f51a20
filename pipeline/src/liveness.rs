//! Liveness: does a run recorded as "running" still have a process?
//!
//! On this host the journal's lock decides. Locks from other hosts may be invisible; the age of the
//! last written file decides instead.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// A run on another host without writes for this long counts as dead.
const PATIENCE: Duration = Duration::from_secs(3600);

/// Files a living run updates.
const SIGNS: [&str; 3] = ["progress.json", "events.jsonl", "run.json"];

#[derive(Clone, Debug, PartialEq)]
pub enum Liveness {
    /// Holds the journal's lock.
    Alive,
    /// Possibly alive on another host; time since its last write.
    Unseen(Duration),
    /// Ended without recording an outcome.
    Gone,
}

/// Judges the run in `folder`, started on `host` (empty if unknown).
pub fn judge(folder: &Path, host: &str, this_host: &str) -> Liveness {
    if is_locked(&folder.join("events.jsonl")) {
        return Liveness::Alive;
    }
    if host.is_empty() || host == this_host {
        return Liveness::Gone;
    }
    let last = SIGNS
        .iter()
        .filter_map(|name| folder.join(name).metadata().and_then(|meta| meta.modified()).ok())
        .max();
    // A clock that is ahead of this one's is a fresh sign.
    let age = last.map(|at| SystemTime::now().duration_since(at).unwrap_or_default());
    match age {
        Some(age) if age <= PATIENCE => Liveness::Unseen(age),
        _ => Liveness::Gone,
    }
}

/// True if a living process holds the journal's lock.
pub fn is_locked(journal: &Path) -> bool {
    let lock = File::open(journal).map(|file| file.try_lock_shared());
    matches!(lock, Ok(Err(TryLockError::WouldBlock)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_life_and_only_another_hosts_run_is_judged_by_its_last_sign() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("events.jsonl");
        let journal = File::create(&path).expect("a journal");
        journal.try_lock().expect("a lock");
        assert_eq!(judge(folder.path(), "here", "here"), Liveness::Alive);
        assert_eq!(judge(folder.path(), "there", "here"), Liveness::Alive);
        drop(journal);
        assert_eq!(judge(folder.path(), "here", "here"), Liveness::Gone);
        assert!(matches!(judge(folder.path(), "there", "here"), Liveness::Unseen(_)));
        let old = SystemTime::now() - 2 * PATIENCE;
        let file = File::options().write(true).open(&path).expect("opens");
        file.set_modified(old).expect("sets the time");
        assert_eq!(judge(folder.path(), "there", "here"), Liveness::Gone);
    }
}
