//! Checkpoint files of a training: written on another thread, the newest two kept, the newest valid
//! file read back. Their format is in `voxflow_stages::model::checkpoint`.

use crate::weights;
use serde::{Serialize, de::DeserializeOwned};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};
use tch::Tensor;
use voxflow_cache::{CHECKPOINT, disk};
use voxflow_stages::model::checkpoint::{join, split};
use voxflow_stages::{Error, Result, Trouble};

/// Extension during writing.
const PART: &str = "part";
/// A half-written file is a killed process's after this time without a write: one is written in
/// seconds.
const ABANDONED: Duration = Duration::from_secs(3600);
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

/// Writes a checkpoint as a file of an artifact.
pub fn write(path: &Path, state: &impl Serialize, tensors: &[(String, Tensor)]) -> Result<()> {
    let state = serde_json::to_vec(state).trouble("checkpoint")?;
    Ok(disk::write(path, &join(&state, &weights::pack(tensors)?))?)
}

fn store(folder: &Path, step: u64, state: &[u8], tensors: &[(String, Tensor)]) -> Result<()> {
    let bytes = join(state, &weights::pack(tensors)?);
    let path = folder.join(format!("step-{step:012}.{CHECKPOINT}"));
    // A name of its own: another living process may write the same step.
    let part = path.with_extension(format!("{}.{PART}", disk::unique()));
    disk::CHECKPOINT.write_by(&part, &path, &bytes, true)?;
    Ok(disk::CHECKPOINT_FOLDER.sync_folder(folder)?)
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

/// Removes all but the newest, and half-written files that nobody can be writing any more.
fn drop_older(folder: &Path) -> Result<()> {
    let mut old = files(folder, CHECKPOINT);
    let now = old.last().and_then(|newest| modified(newest));
    old.truncate(old.len().saturating_sub(KEPT));
    old.extend(files(folder, PART).into_iter().filter(|part| is_abandoned(part, now)));
    Ok(old.iter().try_for_each(|path| disk::CHECKPOINT.remove(path))?)
}

/// True if a half-written file was not written to for long before `now`, by the file system's
/// clock.
fn is_abandoned(part: &Path, now: Option<SystemTime>) -> bool {
    let age = modified(part).zip(now).and_then(|(then, now)| now.duration_since(then).ok());
    age.is_some_and(|age| age > ABANDONED)
}

fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

/// Reads a checkpoint. Errors if it is damaged.
pub fn read<S: DeserializeOwned>(path: &Path) -> Result<Checkpoint<S>> {
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
    fn what_a_killed_writer_left_half_written_goes_and_what_a_living_one_writes_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (old, young) = (folder.path().join("step-3.part"), folder.path().join("step-4.a.part"));
        [&old, &young].into_iter().for_each(|part| std::fs::write(part, "half").unwrap());
        let long_ago = SystemTime::now() - 2 * ABANDONED;
        std::fs::File::options().write(true).open(&old).unwrap().set_modified(long_ago).unwrap();
        checkpoint(folder.path(), 4);
        assert_eq!(files(folder.path(), CHECKPOINT).len(), 1);
        assert!(young.exists() && !old.exists());
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
