//! The journal: `events.jsonl`, every event of a run but passing progress, one JSON line each.

use crate::event::{Event, Fact, Observer};
use crate::exit::{Error, Result};
use crate::secret;
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use voxflow_cache::fault;
use voxflow_stages::Message;

/// Writes events as they come. What a stage says is written in blocks, everything else at once.
pub struct Journal {
    path: PathBuf,
    out: BufWriter<File>,
}

impl Journal {
    /// Opens the journal in a run's folder.
    pub fn open(path: &Path) -> Result<Journal> {
        let file = OpenOptions::new().create(true).append(true).open(path).map_err(Error::io("open", path))?;
        Ok(Journal { path: path.to_path_buf(), out: BufWriter::new(file) })
    }
}

impl Observer for Journal {
    fn observe(&mut self, event: &Event) -> Result<()> {
        if matches!(&event.fact, Fact::StageSaid { message: Message::Progress(_), .. }) {
            return Ok(());
        }
        let line = line(event)?;
        fault::pass().and_then(|()| self.out.write_all(line.as_bytes())).map_err(Error::io("write", &self.path))?;
        if !matches!(event.fact, Fact::StageSaid { .. }) {
            self.out.flush().map_err(Error::io("write", &self.path))?;
        }
        Ok(())
    }
}

/// An event as a line of JSON without credentials.
pub fn line(event: &Event) -> Result<String> {
    let text = serde_json::to_string(event).map_err(|error| Error::Failed(format!("event: {error}")))?;
    let mut text = if secret::may_hold(&text) { secret::strip(&text) } else { text };
    text.push('\n');
    Ok(text)
}

/// Writes every event but passing progress to stderr as a JSON line, for programs.
pub struct JsonLines;

impl Observer for JsonLines {
    fn observe(&mut self, event: &Event) -> Result<()> {
        let written = std::io::stderr().write_all(line(event)?.as_bytes());
        written.map_err(Error::io("write", "stderr"))
    }
}
