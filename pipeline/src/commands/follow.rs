//! `voxflow show --follow`: shows a run from another shell like its own terminal.
//!
//! Reads only the run's folder: the growing journal and the progress file. The run is unaware of
//! followers.

use crate::console::{Console, Verbosity};
use crate::error::{Error, Exit, Result};
use crate::event::{Event, Fact, Observer};
use crate::globals::{Globals, LogFormat};
use crate::heartbeat;
use crate::journal::JsonLines;
use crate::liveness;
use crate::outcome::RunOutcome;
use crate::runs::StoredRun;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::time::Duration;
use voxflow_stages::{Message, Progress};

/// Polling interval.
const PAUSE: Duration = Duration::from_millis(200);

/// Replays the run's events, follows until its end, and returns the run's exit code.
pub(super) fn follow(run: &StoredRun, globals: &Globals) -> Result<Exit> {
    let mut observer: Box<dyn Observer> = match globals.log_format {
        LogFormat::Json => Box::new(JsonLines),
        LogFormat::Text => Box::new(Console::stderr(Verbosity::of(globals))),
    };
    let mut tail = JournalTail::open(run.folder.file("events.jsonl"))?;
    let mut seen = BTreeMap::new();
    loop {
        // Asked before reading: what a run wrote before it ended is then read below.
        let is_alive = liveness::is_locked(&tail.path);
        for event in tail.news()? {
            observer.observe(&event)?;
            if let Fact::RunFinished { outcome, .. } = event.fact {
                return Ok(exit(outcome));
            }
        }
        if !is_alive {
            return Err(Error::Failed(format!(
                "the process of run '{}' is gone: the same 'voxflow run' continues its work",
                run.record.run
            )));
        }
        for event in beats(run, &mut seen) {
            observer.observe(&event)?;
        }
        std::thread::sleep(PAUSE);
    }
}

fn exit(outcome: RunOutcome) -> Exit {
    match outcome {
        RunOutcome::Failed => Exit::Failed,
        RunOutcome::Interrupted => Exit::Interrupted,
        RunOutcome::Done | RunOutcome::Running => Exit::Done,
    }
}

/// New progress, as the events omitted from the journal.
fn beats(run: &StoredRun, seen: &mut BTreeMap<String, Progress>) -> Vec<Event> {
    let now = heartbeat::read(run.folder.path());
    let fresh = now.iter().filter(|(stage, progress)| seen.get(*stage) != Some(progress));
    let events = fresh.map(|(stage, progress)| Event {
        at_ms: crate::event::now_ms(),
        fact: Fact::StageSaid {
            stage: stage.clone(),
            replayed: false,
            message: Message::Progress(progress.clone()),
        },
    });
    let events = events.collect();
    *seen = now;
    events
}

/// Reads a growing journal.
struct JournalTail {
    path: PathBuf,
    lines: BufReader<File>,
    /// Incomplete last line.
    begun: Vec<u8>,
}

impl JournalTail {
    fn open(path: PathBuf) -> Result<JournalTail> {
        let file = File::open(&path).map_err(Error::io("open", &path))?;
        Ok(JournalTail { path, lines: BufReader::new(file), begun: vec![] })
    }

    /// Events written since the last call.
    fn news(&mut self) -> Result<Vec<Event>> {
        let mut events = vec![];
        loop {
            self.lines.read_until(b'\n', &mut self.begun).map_err(Error::io("read", &self.path))?;
            if !self.begun.ends_with(b"\n") {
                return Ok(events);
            }
            match serde_json::from_slice(&self.begun) {
                Ok(event) => events.push(event),
                Err(error) => tracing::warn!(
                    "'{}': a line is damaged and passed over: {error}",
                    self.path.display()
                ),
            }
            self.begun.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal;
    use std::io::Write;

    #[test]
    fn a_line_is_an_event_only_once_it_is_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("events.jsonl");
        let line = journal::line(&Event { at_ms: 1, fact: Fact::Stopping }).expect("a line");
        let (first, second) = line.split_at(9);
        let mut file = File::create(&path).expect("a journal");
        file.write_all(format!("{line}{first}").as_bytes()).expect("writes");
        let mut tail = JournalTail::open(path).expect("opens");
        assert_eq!(tail.news().expect("reads").len(), 1);
        assert_eq!(tail.news().expect("reads").len(), 0);
        file.write_all(format!("{second}torn\n{line}").as_bytes()).expect("writes");
        assert_eq!(tail.news().expect("reads").len(), 2, "the torn line is passed over");
    }
}
