//! Progress file for followers in other shells.
//!
//! Running stages' progress goes to `progress.json` in the run's folder, replaced at most once per
//! second and removed at the end. Purely informative: the journal records all facts.

use crate::error::Result;
use crate::event::{Event, Fact, Observer};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use voxflow_cache::disk;
use voxflow_stages::{Message, Progress};

const FILE: &str = "progress.json";
const BEAT: Duration = Duration::from_secs(1);

/// Writes the latest progress per running stage.
pub struct Heartbeat {
    folder: PathBuf,
    latest: BTreeMap<String, Progress>,
    beat: Option<Instant>,
}

impl Heartbeat {
    pub fn new(folder: &Path) -> Heartbeat {
        Heartbeat { folder: folder.to_path_buf(), latest: BTreeMap::new(), beat: None }
    }

    fn is_due(&self) -> bool {
        self.beat.is_none_or(|beat| beat.elapsed() >= BEAT)
    }

    fn write(&mut self) -> voxflow_cache::Result<()> {
        self.beat = Some(Instant::now());
        let text = serde_json::to_vec(&self.latest).unwrap_or_default();
        disk::replace(&self.folder.join(FILE), &text)
    }
}

impl Observer for Heartbeat {
    /// Write errors only reach the debug log: progress is not worth failing a run.
    fn observe(&mut self, event: &Event) -> Result<()> {
        let done = match &event.fact {
            Fact::StageSaid { stage, message: Message::Progress(progress), .. } => {
                self.latest.insert(stage.clone(), progress.clone());
                if self.is_due() { self.write() } else { Ok(()) }
            }
            Fact::StageFinished(finished) => {
                self.latest.remove(&finished.stage);
                Ok(())
            }
            Fact::RunFinished { .. } if self.beat.is_some() => {
                disk::remove(&self.folder.join(FILE))
            }
            _ => Ok(()),
        };
        if let Err(error) = done {
            tracing::debug!("{error}");
        }
        Ok(())
    }
}

/// Latest progress per running stage; empty without a progress file.
pub fn read(folder: &Path) -> BTreeMap<String, Progress> {
    let text = fs::read(folder.join(FILE)).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::{Outcome, RunOutcome};
    use crate::tables::recorded;

    #[test]
    fn the_last_progress_of_each_running_stage_is_there_until_the_run_ends() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut pulse = Heartbeat::new(folder.path());
        let mut tell = |fact: Fact| pulse.observe(&Event { at_ms: 0, fact }).expect("observes");
        let progress =
            |done| Progress { done, total: Some(9), unit: "cases".into(), numbers: vec![] };
        let said = |stage: &str, done| Fact::StageSaid {
            stage: stage.into(),
            replayed: false,
            message: Message::Progress(progress(done)),
        };
        assert!(read(folder.path()).is_empty());
        tell(said("volumes", 3));
        assert_eq!(read(folder.path()), BTreeMap::from([("volumes".to_string(), progress(3))]));
        tell(said("volumes", 4));
        assert_eq!(read(folder.path())["volumes"], progress(3), "at most once a second");
        tell(Fact::StageFinished(Box::new(recorded::finished(
            "volumes",
            "preprocess",
            Outcome::Made,
        ))));
        tell(Fact::RunFinished { outcome: RunOutcome::Done, seconds: 1.0 });
        assert!(!folder.path().join(FILE).exists());
    }
}
