//! The journal: `events.jsonl`, all events except progress, as JSON lines.
//!
//! Locked while the run lives: other processes can distinguish running from dead runs.

use crate::error::{Error, Result};
use crate::event::{Event, Fact, Observer};
use crate::outcome::Outcome;
use crate::secret;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use voxflow_cache::disk::FileWriter;
use voxflow_stages::Message;

/// Longest time stage messages stay buffered.
const PATIENCE: Duration = Duration::from_secs(1);

/// Writes events as they arrive. Stage messages and reused stages are buffered up to a second; all
/// other events are flushed at once.
pub struct Journal {
    path: PathBuf,
    out: BufWriter<FileWriter>,
    flushed: Instant,
}

impl Journal {
    /// Opens the journal in a run's folder.
    pub fn open(path: &Path) -> Result<Journal> {
        let file = FileWriter::append(path)?;
        // Without the lock (on a file system that has none) followers take the run for dead; it
        // runs all the same.
        if let Err(error) = file.file().try_lock() {
            tracing::debug!("'{}': {error}", path.display());
        }
        Ok(Journal { path: path.to_path_buf(), out: BufWriter::new(file), flushed: Instant::now() })
    }
}

impl Observer for Journal {
    fn observe(&mut self, event: &Event) -> Result<()> {
        if !matches!(&event.fact, Fact::StageSaid { message: Message::Progress(_), .. }) {
            let line = line(event)?;
            self.out.write_all(line.as_bytes()).map_err(Error::io("write", &self.path))?;
        }
        if is_news(&event.fact) || self.flushed.elapsed() >= PATIENCE {
            self.out.flush().map_err(Error::io("write", &self.path))?;
            self.flushed = Instant::now();
        }
        Ok(())
    }
}

/// True for events to flush immediately: the next event may be far away. Reused stages follow each
/// other quickly.
fn is_news(fact: &Fact) -> bool {
    match fact {
        Fact::StageSaid { .. } => false,
        Fact::StageFinished(finished) => finished.outcome != Outcome::Reused,
        _ => true,
    }
}

/// Event as a JSON line with credentials removed.
pub fn line(event: &Event) -> Result<String> {
    let mut text = serde_json::to_string(event).map_err(malformed)?;
    if secret::may_hold(&text) {
        let value = serde_json::from_str(&text).map_err(malformed)?;
        text = serde_json::to_string(&secret::strip_value(&value)).map_err(malformed)?;
    }
    text.push('\n');
    Ok(text)
}

fn malformed(error: serde_json::Error) -> Error {
    Error::Failed(format!("event: {error}"))
}

/// Writes events except progress to stderr as JSON lines.
pub struct JsonLines;

impl Observer for JsonLines {
    /// A closed stderr is ignored: it must not end a long run.
    fn observe(&mut self, event: &Event) -> Result<()> {
        let _gone = std::io::stderr().write_all(line(event)?.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_is_being_written_as_long_as_its_writer_lives() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("events.jsonl");
        assert!(!crate::liveness::is_locked(&path));
        let journal = Journal::open(&path).expect("opens");
        assert!(crate::liveness::is_locked(&path));
        drop(journal);
        assert!(!crate::liveness::is_locked(&path));
    }
}
