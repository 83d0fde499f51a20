//! The folder of an attempt: all that a node is given and gives back. It lies in the store, so that
//! files become blobs by a rename.
//!
//! ```text
//! attempts/ab/<fingerprint>/<attempt>/
//!   task.json                    the assignment, written by the orchestrator
//!   job.json                     batch and index; the job's id once it is known
//!   start-<restart>-<8 hex>/     made by each process that begins on it
//!     started.json               host and job
//!     said.jsonl                 messages of the stage; synced every two seconds: the beat
//!     log.txt                    the worker's log
//!     files/                     the artifact
//!     items/<fingerprint>/       files/ and item.json, written last
//!     verdict.json               the end, by a rename, closed by its own digest
//! ```

use super::files::{Closed, chance, write_whole};
use super::verdict::{ItemMade, Verdict};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use voxflow_cache::{Fingerprint, disk};
use voxflow_stages::protocol::Build;
use voxflow_stages::{Error, Result, Task, Trouble};

/// The work of a node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Assignment {
    /// The program that wrote it.
    pub sender: Build,
    /// The stage.
    pub task: Task,
    /// The store's folder.
    pub store: PathBuf,
    /// Graphics cards of the stage.
    pub gpus: usize,
    /// Memory of the job in bytes.
    #[serde(default)]
    pub memory: u64,
    /// Longest wait in seconds for files that other machines wrote.
    pub patience: u64,
    /// Folder on the node's own disk for copies of what a GPU stage reads; may begin with a
    /// variable of the node: `$TMPDIR`.
    #[serde(default)]
    pub scratch: Option<String>,
    /// The share of the stage's items, where only items are wanted.
    pub shard: Option<Shard>,
}

/// A share of a stage's items: those whose fingerprint is `index` modulo `count`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// The share, from 0.
    pub index: u64,
    /// The number of shares.
    pub count: u64,
}

impl Shard {
    /// True if the item belongs to this share.
    pub fn has(self, item: &Fingerprint) -> bool {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&item.as_bytes()[..8]);
        u64::from_le_bytes(bytes) % self.count.max(1) == self.index
    }
}

/// The job of an attempt.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptJob {
    /// The batch's name, which is the job's.
    pub batch: String,
    /// The place in the batch.
    pub index: u32,
    /// Milliseconds since 1970 when it was submitted.
    #[serde(default)]
    pub at_ms: i64,
    /// The job's id, once the cluster has told it.
    pub id: Option<String>,
}

/// Facts of a process that began on an attempt.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Started {
    /// The machine.
    pub host: String,
    /// The job's id as the process sees it.
    pub job: Option<String>,
    /// Milliseconds since 1970 by the node's clock.
    pub at_ms: i64,
}

/// An attempt at a stage.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attempt {
    folder: PathBuf,
}

/// The folder of one process that began on an attempt.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Start {
    folder: PathBuf,
}

/// The folder of all attempts at a stage.
pub fn of_stage(store: &Path, fingerprint: &Fingerprint) -> PathBuf {
    let hex = fingerprint.to_hex();
    store.join("attempts").join(&hex[..2]).join(hex)
}

impl Attempt {
    /// The attempt in this folder.
    pub fn at(folder: &Path) -> Attempt {
        Attempt { folder: folder.to_path_buf() }
    }

    /// A new attempt at a stage.
    ///
    /// # Errors
    /// An input/output error.
    pub fn create(assignment: &Assignment) -> Result<Attempt> {
        let parent = of_stage(&assignment.store, &assignment.task.recipe.fingerprint());
        let folder = parent.join(chance());
        disk::create_folders(&folder)?;
        write_whole(&folder.join("task.json"), assignment)?;
        Ok(Attempt { folder })
    }

    /// All attempts at a stage, in no order.
    pub fn list(store: &Path, fingerprint: &Fingerprint) -> Result<Vec<Attempt>> {
        let folders = subfolders(&of_stage(store, fingerprint), "")?;
        Ok(folders.into_iter().map(|folder| Attempt { folder }).collect())
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The assignment.
    pub fn assignment(&self) -> Result<Assignment> {
        read_json(&self.folder.join("task.json"))
    }

    /// The job, if one was ever asked for.
    pub fn job(&self) -> Option<AttemptJob> {
        read_json(&self.folder.join("job.json")).ok()
    }

    /// Writes the job down.
    pub fn write_job(&self, job: &AttemptJob) -> Result<()> {
        write_whole(&self.folder.join("job.json"), job)
    }

    /// The processes that began on it, the first start first.
    pub fn starts(&self) -> Result<Vec<Start>> {
        let mut folders = subfolders(&self.folder, "start-")?;
        folders.sort();
        Ok(folders.into_iter().map(|folder| Start { folder }).collect())
    }

    /// The first good verdict that made something, and its start.
    pub fn good(&self) -> Result<Option<(Start, Verdict)>> {
        let mut starts = self.starts()?.into_iter();
        Ok(starts.find_map(|start| {
            let verdict = start.verdict()?;
            verdict.is_good().then_some((start, verdict))
        }))
    }

    /// Makes a start the owner of its stage: processes that began earlier stop when they see it.
    pub fn take_stage(start: &Start) -> Result<()> {
        Ok(disk::write_whole(&Attempt::owner_file(start), start.name().as_bytes())?)
    }

    /// The file that names the owner of a stage: the start that began last.
    pub fn owner_file(start: &Start) -> PathBuf {
        let stage = start.folder.ancestors().nth(2).unwrap_or(&start.folder);
        stage.join("owner")
    }

    /// A folder for a process that begins. Restarts of a job are counted by the cluster.
    pub fn start(&self, restart: u32) -> Result<Start> {
        let folder = self.folder.join(format!("start-{restart:03}-{}", chance()));
        disk::create_folder(&folder)?;
        let start = Start { folder };
        for folder in [start.files(), start.items()] {
            disk::create_folder(&folder)?;
        }
        Ok(start)
    }
}

impl Start {
    /// Its attempt.
    pub fn attempt(&self) -> Attempt {
        Attempt::at(self.folder.parent().unwrap_or(&self.folder))
    }

    /// Its name.
    pub fn name(&self) -> String {
        self.folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// The messages.
    pub fn said(&self) -> PathBuf {
        self.folder.join("said.jsonl")
    }

    /// The worker's log.
    pub fn log(&self) -> PathBuf {
        self.folder.join("log.txt")
    }

    /// The artifact's files.
    pub fn files(&self) -> PathBuf {
        self.folder.join("files")
    }

    /// The folder of items.
    pub fn items(&self) -> PathBuf {
        self.folder.join("items")
    }

    /// The folder of an item.
    pub fn item(&self, fingerprint: &Fingerprint) -> PathBuf {
        self.items().join(fingerprint.to_hex())
    }

    /// Facts of the process.
    pub fn started(&self) -> Option<Started> {
        read_json(&self.folder.join("started.json")).ok()
    }

    /// Writes facts of the process.
    pub fn write_started(&self, started: &Started) -> Result<()> {
        write_whole(&self.folder.join("started.json"), started)
    }

    /// The time of the last message by the file system's clock.
    pub fn last_beat(&self) -> Option<SystemTime> {
        fs::metadata(self.said()).and_then(|facts| facts.modified()).ok()
    }

    /// The verdict, if it is there and whole.
    pub fn verdict(&self) -> Option<Verdict> {
        Closed::read(&self.folder.join("verdict.json"))
    }

    /// Ends the start.
    pub fn write_verdict(&self, verdict: &Verdict) -> Result<()> {
        Closed::write(&self.folder.join("verdict.json"), verdict)
    }

    /// The folders of its items, whole or not, each named by its fingerprint.
    pub fn item_folders(&self) -> Vec<PathBuf> {
        subfolders(&self.items(), "").unwrap_or_default()
    }

    /// The whole items that it made, with their folders of files.
    pub fn items_made(&self) -> Vec<(PathBuf, ItemMade)> {
        self.item_folders().iter().filter_map(|folder| item_in(folder)).collect()
    }
}

/// The item in a folder, if it is whole.
pub fn item_in(folder: &Path) -> Option<(PathBuf, ItemMade)> {
    Closed::read(&folder.join("item.json")).map(|item| (folder.join("files"), item))
}

/// Removes attempts and batches of which nothing was heard for so long. Returns how many.
///
/// # Errors
/// An input/output error.
pub fn remove_old(store: &Path, age: Duration) -> Result<u64> {
    let mut removed = 0;
    for prefix in subfolders(&store.join("attempts"), "")? {
        for stage in subfolders(&prefix, "")? {
            removed += remove_each(subfolders(&stage, "")?, age)?;
            if subfolders(&stage, "")?.is_empty() {
                remove(&stage)?;
            }
        }
    }
    removed += remove_each(subfolders(&store.join("batches"), "")?, age)?;
    Ok(removed)
}

fn remove_each(folders: Vec<PathBuf>, age: Duration) -> Result<u64> {
    let mut removed = 0;
    for folder in folders {
        if newest(&folder).is_some_and(|last| last.elapsed().is_ok_and(|quiet| quiet > age)) {
            remove(&folder)?;
            removed += 1;
        }
    }
    Ok(removed)
}

fn remove(folder: &Path) -> Result<()> {
    Ok(disk::remove(folder)?)
}

/// The last change of a folder, of the files in it, and of those one level below.
fn newest(folder: &Path) -> Option<SystemTime> {
    let own = fs::metadata(folder).and_then(|facts| facts.modified()).ok();
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let below = entries.flat_map(|entry| {
        let own = entry.metadata().and_then(|facts| facts.modified()).ok();
        let inner = fs::read_dir(entry.path()).into_iter().flatten().flatten();
        let inner = inner.filter_map(|entry| entry.metadata().ok()?.modified().ok()).max();
        [own, inner]
    });
    below.chain([own]).flatten().max()
}

/// The folders below one whose names begin so; none where it is not there.
fn subfolders(folder: &Path, prefix: &str) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
        Err(error) => return Err(Error::io("list", folder)(error)),
    };
    let mut found = vec![];
    for entry in entries {
        let entry = entry.map_err(Error::io("list", folder))?;
        let is_named = entry.file_name().to_string_lossy().starts_with(prefix);
        if is_named && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read(path).map_err(Error::io("read", path))?;
    serde_json::from_slice(&text).trouble_at(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use voxflow_cache::Digest;

    #[test]
    fn every_item_belongs_to_one_shard() {
        for seed in 0..50u8 {
            let item = Fingerprint::from_bytes(*Digest::of(&[seed]).as_bytes());
            let of = (0..7).filter(|&index| Shard { index, count: 7 }.has(&item)).count();
            assert_eq!(of, 1);
        }
    }
}
