//! The checkpoint schedule of a training, and its sessions.

use super::state::{Session, TrainingState};
use super::training_length::TrainingLength;
use crate::checkpoint::{self, Checkpoint, CheckpointWriter, longest_at_risk};
use crate::weights::NamedTensors;
use std::path::{Path, PathBuf};
use std::time::Instant;
use voxflow_stages::kinds::train::Train;
use voxflow_stages::{Context, Result};

/// Writes the checkpoints of a training and finds the newest one.
pub struct Checkpointer {
    folder: PathBuf,
    writer: CheckpointWriter,
    saved: Instant,
    /// Epochs between checkpoints.
    every: u32,
    sessions: Vec<Session>,
}

impl Checkpointer {
    /// Checkpoints in `folder`, which must exist.
    pub fn new(folder: &Path, params: &Train) -> Checkpointer {
        Checkpointer {
            folder: folder.to_path_buf(),
            writer: CheckpointWriter::new(folder),
            saved: Instant::now(),
            every: params.checkpoint_every,
            sessions: vec![],
        }
    }

    /// The newest valid checkpoint; warns about each that is damaged.
    pub fn newest(&self, cx: &Context) -> Option<Checkpoint<TrainingState>> {
        let (found, complaints) = checkpoint::newest(&self.folder);
        complaints.into_iter().for_each(|words| cx.warn(words));
        found
    }

    /// Begins this process's session, after those of a checkpoint.
    pub fn begin_session(&mut self, earlier: Vec<Session>, session: Session) {
        self.sessions = earlier;
        self.sessions.push(session);
    }

    /// The sessions so far, this process's last.
    pub fn sessions(&self) -> &[Session] {
        &self.sessions
    }

    /// True if a kill would cost more training than it may.
    pub fn is_overdue(&self) -> bool {
        self.saved.elapsed() >= longest_at_risk()
    }

    /// True if the parameters ask for a checkpoint after this many epochs; the end needs none.
    pub fn is_due_after(&self, epoch: u32, length: &TrainingLength) -> bool {
        epoch.is_multiple_of(self.every) && length.last_epoch() != Some(epoch)
    }

    /// Begins to write a checkpoint on another thread. `tensors` must be copies.
    pub fn save(&mut self, state: &TrainingState, tensors: NamedTensors) -> Result<()> {
        self.saved = Instant::now();
        self.writer.begin(state.step, state, tensors)
    }

    /// Waits until the last checkpoint is on disk.
    pub fn wait(&mut self) -> Result<()> {
        self.writer.wait()
    }
}
