//! Checkpoints: everything a training needs to go on, in one file that ends in its own digest.
//!
//! Layout: a line of magic, the length of the JSON (8 bytes, little-endian), the JSON, the tensors as
//! safetensors, and the blake3 digest of all before it.

use crate::weights;
use serde::{Serialize, de::DeserializeOwned};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use tch::Tensor;
use voxflow_stages::{Error, Result, Trouble};

const MAGIC: &[u8] = b"voxflow checkpoint 1\n";
const KEPT: usize = 2;

/// A checkpoint read back.
pub struct Checkpoint<S> {
    /// What is not a tensor.
    pub state: S,
    /// The tensors, on the processor.
    pub tensors: BTreeMap<String, Tensor>,
}

/// Writes checkpoints into a folder, one at a time, on a thread of its own; keeps the two newest.
pub struct Writer {
    folder: PathBuf,
    writing: Option<JoinHandle<Result<()>>>,
}

impl Writer {
    /// A writer into `folder`, which exists.
    pub fn new(folder: &Path) -> Writer {
        Writer { folder: folder.to_path_buf(), writing: None }
    }

    /// Begins to write the checkpoint after `step`, once the one before is done. `tensors` must be
    /// copies: the training goes on meanwhile.
    pub fn begin(&mut self, step: u64, state: &impl Serialize, tensors: Vec<(String, Tensor)>) -> Result<()> {
        self.wait()?;
        let state = serde_json::to_vec(state).trouble("checkpoint")?;
        let folder = self.folder.clone();
        self.writing = Some(std::thread::spawn(move || {
            keep(&folder, step, &state, &tensors)?;
            drop_older(&folder)
        }));
        Ok(())
    }

    /// Waits until what was begun is on disk.
    pub fn wait(&mut self) -> Result<()> {
        match self.writing.take() {
            None => Ok(()),
            Some(thread) => thread.join().unwrap_or_else(|_| Err(Error::failed("the checkpoint writer panicked"))),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // An error here has nobody left to hear it: the training has already failed or stopped.
        let _ = self.wait();
    }
}

/// The newest valid checkpoint of a folder, with words about each that is not.
pub fn newest<S: DeserializeOwned>(folder: &Path) -> (Option<Checkpoint<S>>, Vec<String>) {
    let mut complaints = vec![];
    for path in files(folder).into_iter().rev() {
        match read(&path) {
            Ok(checkpoint) => return (Some(checkpoint), complaints),
            Err(error) => complaints.push(error.to_string()),
        }
    }
    (None, complaints)
}

fn keep(folder: &Path, step: u64, state: &[u8], tensors: &[(String, Tensor)]) -> Result<()> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend((state.len() as u64).to_le_bytes());
    bytes.extend(state);
    bytes.extend(weights::pack(tensors)?);
    let digest = blake3::hash(&bytes);
    bytes.extend(digest.as_bytes());
    let temporary = folder.join(format!("step-{step:012}.part"));
    let path = folder.join(format!("step-{step:012}.checkpoint"));
    let write = || {
        let mut file = std::fs::File::create(&temporary)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, &path)?;
        std::fs::File::open(folder)?.sync_all()
    };
    write().map_err(Error::io("write", &path))
}

/// The checkpoints of a folder, oldest first.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> =
        entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == "checkpoint")).collect();
    files.sort();
    files
}

fn drop_older(folder: &Path) -> Result<()> {
    let files = files(folder);
    let old = &files[..files.len().saturating_sub(KEPT)];
    old.iter().try_for_each(|path| std::fs::remove_file(path).map_err(Error::io("remove", path)))
}

fn read<S: DeserializeOwned>(path: &Path) -> Result<Checkpoint<S>> {
    let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
    let damaged = || Error::failed(format!("{}: checkpoint is damaged and left aside", path.display()));
    let (body, digest) = bytes.split_last_chunk::<32>().ok_or_else(damaged)?;
    if blake3::hash(body).as_bytes() != digest {
        return Err(damaged());
    }
    let body = body.strip_prefix(MAGIC).ok_or_else(damaged)?;
    let (length, body) = body.split_first_chunk::<8>().ok_or_else(damaged)?;
    let (state, tensors) = body.split_at_checked(u64::from_le_bytes(*length) as usize).ok_or_else(damaged)?;
    let state = serde_json::from_slice(state).trouble_at(path)?;
    Ok(Checkpoint { state, tensors: weights::unpack(tensors).trouble_at(path)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, step: u64) {
        let mut writer = Writer::new(folder);
        writer.begin(step, &step, vec![("a".into(), Tensor::from_slice(&[step as f32]))]).unwrap();
        writer.wait().unwrap();
    }

    #[test]
    fn the_newest_two_are_kept_and_a_damaged_one_is_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        (1..=3).for_each(|step| write(folder.path(), step));
        let names = files(folder.path());
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

    /// A digest of its own keeps chance out of a checkpoint; what is behind that door must hold all the same.
    #[test]
    fn no_mutant_of_a_checkpoint_with_a_right_digest_breaks_its_reader() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), 7);
        let path = files(folder.path()).remove(0);
        let whole = std::fs::read(&path).unwrap();
        let body = &whole[..whole.len() - 32];
        let mut draw = voxflow_stages::random::Draw::new(1, 0, 0, "checkpoint");
        for _ in 0..3000 {
            let mut mutant = body.to_vec();
            for _ in 0..1 + draw.below(4) {
                let at = draw.below(mutant.len() as u64) as usize;
                mutant[at] = if draw.below(2) == 0 { mutant[at] ^ 1 << draw.below(8) } else { draw.bits() as u8 };
            }
            mutant.truncate(if draw.below(4) == 0 { draw.below(mutant.len() as u64) as usize } else { mutant.len() });
            let digest = blake3::hash(&mutant);
            mutant.extend(digest.as_bytes());
            std::fs::write(&path, &mutant).unwrap();
            let (found, complaints) = newest::<u64>(folder.path());
            assert_eq!(usize::from(found.is_some()) + complaints.len(), 1);
        }
    }
}
