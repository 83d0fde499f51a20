//! Checkpoint files of a training: written on another thread, the newest two kept, the newest valid
//! file read back. Their format is in `voxflow_stages::model::checkpoint`.

use crate::weights;
use serde::{Serialize, de::DeserializeOwned};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;
use tch::Tensor;
use voxflow_cache::{CHECKPOINT, crash, fault, sharing};
use voxflow_stages::model::checkpoint::{join, split};
use voxflow_stages::{Error, Result, Trouble};

/// Extension during writing.
const PART: &str = "part";
/// Number of files to keep: if the newest is damaged, the other serves.
const KEPT: usize = 2;

/// The variable by which a test sets the milliseconds between checkpoints.
pub const VARIABLE: &str = "VOXFLOW_CHECKPOINT_MS";

/// Maximum training time lost to a kill. Debug builds read it from [`VARIABLE`].
pub fn longest_at_risk() -> Duration {
    const LONGEST: Duration = Duration::from_secs(300);
    if !cfg!(debug_assertions) {
        return LONGEST;
    }
    let set = std::env::var(VARIABLE).ok().and_then(|text| text.parse().ok());
    set.map_or(LONGEST, Duration::from_millis)
}

/// A checkpoint read back.
pub struct Checkpoint<S> {
    /// Everything except tensors.
    pub state: S,
    /// The tensors, on the processor.
    pub tensors: BTreeMap<String, Tensor>,
}

/// Writes checkpoints into a folder on another thread, one at a time; keeps the two newest.
pub struct CheckpointWriter {
    folder: PathBuf,
    writing: Option<JoinHandle<Result<()>>>,
}

impl CheckpointWriter {
    /// A writer into `folder`, which exists.
    pub fn new(folder: &Path) -> CheckpointWriter {
        CheckpointWriter { folder: folder.to_path_buf(), writing: None }
    }

    /// Begins to write the checkpoint after `step`, once the previous one is on disk. `tensors`
    /// must be copies, since the training goes on meanwhile.
    pub fn begin(
        &mut self,
        step: u64,
        state: &impl Serialize,
        tensors: Vec<(String, Tensor)>,
    ) -> Result<()> {
        self.wait()?;
        let state = serde_json::to_vec(state).trouble("checkpoint")?;
        let folder = self.folder.clone();
        self.writing = Some(std::thread::spawn(move || {
            store(&folder, step, &state, &tensors)?;
            drop_older(&folder)
        }));
        Ok(())
    }

    /// Waits until the last checkpoint is on disk; its error, if it failed.
    pub fn wait(&mut self) -> Result<()> {
        match self.writing.take() {
            None => Ok(()),
            Some(thread) => thread
                .join()
                .unwrap_or_else(|_| Err(Error::failed("the checkpoint writer panicked"))),
        }
    }
}

impl Drop for CheckpointWriter {
    fn drop(&mut self) {
        // The training has already failed or stopped, with an error of its own to report.
        let _ = self.wait();
    }
}

/// The newest valid checkpoint in a folder, and a message about each damaged file passed over.
pub fn newest<S: DeserializeOwned>(folder: &Path) -> (Option<Checkpoint<S>>, Vec<String>) {
    let mut complaints = vec![];
    for path in files(folder, CHECKPOINT).into_iter().rev() {
        match read(&path) {
            Ok(checkpoint) => return (Some(checkpoint), complaints),
            Err(error) => complaints.push(error.to_string()),
        }
    }
    (None, complaints)
}

fn store(folder: &Path, step: u64, state: &[u8], tensors: &[(String, Tensor)]) -> Result<()> {
    let bytes = join(state, &weights::pack(tensors)?);
    let path = folder.join(format!("step-{step:012}.{CHECKPOINT}"));
    let part = path.with_extension(PART);
    let written = write(&part, &path, &bytes).and_then(|()| sync(folder));
    if written.is_err() {
        // The disk may be full: free the space of the half-written file.
        let _ = std::fs::remove_file(&part);
    }
    written.map_err(Error::io("write", &path))
}

fn write(part: &Path, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    crash::at("checkpoint-before-write");
    let mut file = fault::pass().and_then(|()| File::create(part))?;
    sharing::share(part);
    let (first, second) = bytes.split_at(bytes.len() / 2);
    fault::pass().and_then(|()| file.write_all(first))?;
    crash::at("checkpoint-half-written");
    fault::pass().and_then(|()| file.write_all(second))?;
    crash::at("checkpoint-before-sync");
    fault::pass().and_then(|()| file.sync_all())?;
    crash::at("checkpoint-before-rename");
    fault::pass().and_then(|()| std::fs::rename(part, path))?;
    crash::at("checkpoint-after-rename");
    Ok(())
}

fn sync(folder: &Path) -> std::io::Result<()> {
    fault::pass().and_then(|()| File::open(folder)).and_then(|folder| folder.sync_all())
}

/// The files of a folder with this extension, oldest first.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let entries =
        std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|e| e == extension)).collect();
    files.sort();
    files
}

/// Removes all but the newest, and half-written files of a killed process.
fn drop_older(folder: &Path) -> Result<()> {
    let mut old = files(folder, CHECKPOINT);
    old.truncate(old.len().saturating_sub(KEPT));
    old.extend(files(folder, PART));
    old.iter().try_for_each(|path| std::fs::remove_file(path).map_err(Error::io("remove", path)))
}

fn read<S: DeserializeOwned>(path: &Path) -> Result<Checkpoint<S>> {
    let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
    let damaged =
        || Error::failed(format!("{}: checkpoint is damaged and left aside", path.display()));
    let (state, tensors) = split(&bytes).ok_or_else(damaged)?;
    let state = serde_json::from_slice(state).trouble_at(path)?;
    Ok(Checkpoint { state, tensors: weights::unpack(tensors).trouble_at(path)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint(folder: &Path, step: u64) {
        let mut writer = CheckpointWriter::new(folder);
        writer.begin(step, &step, vec![("a".into(), Tensor::from_slice(&[step as f32]))]).unwrap();
        writer.wait().unwrap();
    }

    #[test]
    fn the_newest_two_are_kept_and_a_damaged_one_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        (1..=3).for_each(|step| checkpoint(folder.path(), step));
        let names = files(folder.path(), CHECKPOINT);
        assert_eq!(names.len(), 2);
        let mut bytes = std::fs::read(&names[1]).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&names[1], bytes).unwrap();
        let (found, complaints) = newest::<u64>(folder.path());
        let found = found.unwrap();
        assert_eq!((found.state, found.tensors["a"].double_value(&[0])), (2, 2.0));
        assert_eq!(complaints.len(), 1);
    }

    #[test]
    fn what_a_killed_writer_left_half_written_goes_with_the_next_checkpoint() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("step-000000000003.part"), "half").unwrap();
        checkpoint(folder.path(), 4);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    /// A digest of its own keeps chance out of a checkpoint; what is behind that door must hold all
    /// the same.
    #[test]
    fn no_mutant_of_a_checkpoint_with_a_right_digest_breaks_its_reader() {
        let folder = tempfile::tempdir().unwrap();
        checkpoint(folder.path(), 7);
        let path = files(folder.path(), CHECKPOINT).remove(0);
        let whole = std::fs::read(&path).unwrap();
        let body = &whole[..whole.len() - 32];
        let mut draw = voxflow_stages::random::Draw::new(1, 0, 0, "checkpoint");
        for _ in 0..3000 {
            let mut mutant = body.to_vec();
            for _ in 0..1 + draw.below(4) {
                let at = draw.below(mutant.len() as u64) as usize;
                mutant[at] = if draw.below(2) == 0 {
                    mutant[at] ^ 1 << draw.below(8)
                } else {
                    draw.bits() as u8
                };
            }
            mutant.truncate(if draw.below(4) == 0 {
                draw.below(mutant.len() as u64) as usize
            } else {
                mutant.len()
            });
            voxflow_cache::hash::close(&mut mutant);
            std::fs::write(&path, &mutant).unwrap();
            let (found, complaints) = newest::<u64>(folder.path());
            assert_eq!(usize::from(found.is_some()) + complaints.len(), 1);
        }
    }
}
