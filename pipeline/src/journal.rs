//! The journal: `events.jsonl`, every event of a run but passing progress, one JSON line each.
//!
//! It is locked while its run lives, so that others can tell a running run from one whose process
//! died.

use crate::error::{Error, Result};
use crate::event::{Event, Fact, Observer};
use crate::outcome::Outcome;
use crate::secret;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use voxflow_cache::disk::FileWriter;
use voxflow_stages::Message;

/// Longest time that messages of stages stay in memory.
const PATIENCE: Duration = Duration::from_secs(1);

/// Writes events as they come. What a stage says, and that one was reused, is written in blocks or
/// after a second, everything else at once.
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

/// True if a fact may be the last for a while: what is reused is so in a moment, and others follow.
fn is_news(fact: &Fact) -> bool {
    match fact {
        Fact::StageSaid { .. } => false,
        Fact::StageFinished(finished) => finished.outcome != Outcome::Reused,
        _ => true,
    }
}

/// An event as a line of JSON without credentials.
pub fn line(event: &Event) -> Result<String> {
    let trouble = |error: serde_json::Error| Error::Failed(format!("event: {error}"));
    let mut text = serde_json::to_string(event).map_err(trouble)?;
    if secret::may_hold(&text) {
        let value = serde_json::from_str(&text).map_err(trouble)?;
        text = serde_json::to_string(&secret::strip_value(&value)).map_err(trouble)?;
    }
    text.push('\n');
    Ok(text)
}

/// Writes every event but passing progress to stderr as a JSON line, for programs.
pub struct JsonLines;

impl Observer for JsonLines {
    /// A reader that went away must not end a run of hours.
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
