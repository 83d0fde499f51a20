//! The folder of an attempt: all that a node is given and gives back. It lies in the store, so that
//! files become blobs by a rename.
//!
//! ```text
//! attempts/ab/<fingerprint>/
//!   stage-<16 hex>.json          the stage's task, shared by its attempts
//!   <attempt>/
//!     task.json                  the assignment, written by the orchestrator
//!     job.json                   batch and index; the job's id once it is known
//!     start-<restart>-<8 hex>/   made by each process that begins on it
//!       started.json             host and job
//!       said.jsonl               messages of the stage; synced every two seconds: the beat
//!       log.txt                  the worker's log
//!       files/                   the artifact
//!       items/<fingerprint>/     files/ and item.json, written last
//!       verdict.json             the end, by a rename, closed by its own digest
//! ```

use super::files::{Closed, chance, write_whole};
use super::verdict::{ItemMade, Verdict};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use voxflow_cache::{Digest, Fingerprint, disk};
use voxflow_stages::protocol::Build;
use voxflow_stages::{Error, Result, Task, Trouble};

/// A node's assignment: everything but the stage's task, whose inputs may be many thousand files.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Assignment {
    /// Build of the submitting program.
    pub sender: Build,
    /// The stage's task, as [`TaskFile::write`] named it.
    pub task: TaskFile,
    /// Threads of the task in this attempt.
    pub threads: usize,
    /// Processes of the task in this attempt that train together.
    pub ranks: usize,
    pub store: PathBuf,
    /// Graphics cards for the stage.
    pub gpus: usize,
    /// The job's memory in bytes.
    #[serde(default)]
    pub memory: u64,
    /// Longest wait in seconds for files written by other machines.
    pub patience: u64,
    /// Folder on the node's own disk for copies of what a GPU stage reads; may begin with a
    /// variable of the node: `$TMPDIR`.
    #[serde(default)]
    pub scratch: Option<String>,
    /// Set for jobs making only a share of the items.
    pub shard: Option<Shard>,
}

/// Name of the file with a stage's task, beside its attempts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskFile(String);

impl TaskFile {
    /// Writes a task down once for all attempts that have it.
    ///
    /// # Errors
    /// I/O errors.
    pub fn write(store: &Path, task: &Task) -> Result<TaskFile> {
        let folder = of_stage(store, &task.recipe.fingerprint());
        let text = serde_json::to_vec(task).trouble_at(&folder)?;
        let name = format!("stage-{}.json", &Digest::of(&text).to_hex()[..16]);
        disk::create_folders(&folder)?;
        disk::write_whole(&folder.join(&name), &text)?;
        Ok(TaskFile(name))
    }
}

/// A share of a stage's items: those of cases whose name hashes to `index` modulo `count`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// Counted from 0.
    pub index: u64,
    pub count: u64,
}

impl Shard {
    /// True if a case's items belong to this share. The name is known before any recipe is made.
    pub fn has(self, case: &str) -> bool {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&Digest::of(case.as_bytes()).as_bytes()[..8]);
        u64::from_le_bytes(bytes) % self.count.max(1) == self.index
    }
}

/// An attempt's cluster job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptJob {
    /// Batch name, equal to the job's name.
    pub batch: String,
    /// Index in the batch.
    pub index: u32,
    /// Submission time, milliseconds since 1970.
    #[serde(default)]
    pub at_ms: i64,
    /// Job id, once the cluster has reported it.
    pub id: Option<String>,
}

/// Facts about a process working on an attempt.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Started {
    pub host: String,
    /// Job id as seen by the process.
    pub job: Option<String>,
    /// Milliseconds since 1970 by the node's clock.
    pub at_ms: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attempt {
    folder: PathBuf,
}

/// Folder for a process working on an attempt.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Start {
    folder: PathBuf,
}

/// Folder for all attempts at a stage.
pub fn of_stage(store: &Path, fingerprint: &Fingerprint) -> PathBuf {
    let hex = fingerprint.to_hex();
    store.join("attempts").join(&hex[..2]).join(hex)
}

impl Attempt {
    pub fn at(folder: &Path) -> Attempt {
        Attempt { folder: folder.to_path_buf() }
    }

    /// Creates an attempt at a stage.
    ///
    /// # Errors
    /// I/O errors.
    pub fn create(stage: &Fingerprint, assignment: &Assignment) -> Result<Attempt> {
        let folder = of_stage(&assignment.store, stage).join(chance());
        disk::create_folders(&folder)?;
        write_whole(&folder.join("task.json"), assignment)?;
        Ok(Attempt { folder })
    }

    /// All attempts at a stage, unordered.
    pub fn list(store: &Path, fingerprint: &Fingerprint) -> Result<Vec<Attempt>> {
        let folders = subfolders(&of_stage(store, fingerprint), "")?;
        Ok(folders.into_iter().map(|folder| Attempt { folder }).collect())
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn assignment(&self) -> Result<Assignment> {
        read_json(&self.folder.join("task.json"))
    }

    /// The stage's task, with the threads and processes of this attempt.
    pub fn task(&self, assignment: &Assignment) -> Result<Task> {
        let stage = self.folder.parent().unwrap_or(&self.folder);
        let task: Task = read_json(&stage.join(&assignment.task.0))?;
        Ok(Task { threads: assignment.threads, ranks: assignment.ranks, ..task })
    }

    /// The job, if one was ever submitted.
    pub fn job(&self) -> Option<AttemptJob> {
        read_json(&self.folder.join("job.json")).ok()
    }

    pub fn write_job(&self, job: &AttemptJob) -> Result<()> {
        write_whole(&self.folder.join("job.json"), job)
    }

    /// Processes that worked on it, earliest first.
    pub fn starts(&self) -> Result<Vec<Start>> {
        let mut folders = subfolders(&self.folder, "start-")?;
        folders.sort();
        Ok(folders.into_iter().map(|folder| Start { folder }).collect())
    }

    /// First successful verdict with its start.
    pub fn good(&self) -> Result<Option<(Start, Verdict)>> {
        let mut starts = self.starts()?.into_iter();
        Ok(starts.find_map(|start| {
            let verdict = start.verdict()?;
            verdict.is_good().then_some((start, verdict))
        }))
    }

    /// Makes a start the stage's owner; earlier processes stop when they notice.
    pub fn take_stage(start: &Start) -> Result<()> {
        Ok(disk::write_whole(&Attempt::owner_file(start), start.name().as_bytes())?)
    }

    /// File naming the stage's owner: the latest start.
    pub fn owner_file(start: &Start) -> PathBuf {
        let stage = start.folder.ancestors().nth(2).unwrap_or(&start.folder);
        stage.join("owner")
    }

    /// Creates a folder for a new process; `restart` is the cluster's restart count.
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
    pub fn attempt(&self) -> Attempt {
        Attempt::at(self.folder.parent().unwrap_or(&self.folder))
    }

    pub fn name(&self) -> String {
        self.folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    pub fn said(&self) -> PathBuf {
        self.folder.join("said.jsonl")
    }

    pub fn log(&self) -> PathBuf {
        self.folder.join("log.txt")
    }

    pub fn files(&self) -> PathBuf {
        self.folder.join("files")
    }

    pub fn items(&self) -> PathBuf {
        self.folder.join("items")
    }

    pub fn item(&self, fingerprint: &Fingerprint) -> PathBuf {
        self.items().join(fingerprint.to_hex())
    }

    pub fn started(&self) -> Option<Started> {
        read_json(&self.folder.join("started.json")).ok()
    }

    pub fn write_started(&self, started: &Started) -> Result<()> {
        write_whole(&self.folder.join("started.json"), started)
    }

    /// Time of the last message by the file system's clock.
    pub fn last_beat(&self) -> Option<SystemTime> {
        fs::metadata(self.said()).and_then(|facts| facts.modified()).ok()
    }

    /// The verdict, if present and intact.
    pub fn verdict(&self) -> Option<Verdict> {
        Closed::read(&self.folder.join("verdict.json"))
    }

    /// Ends the start with a verdict.
    pub fn write_verdict(&self, verdict: &Verdict) -> Result<()> {
        Closed::write(&self.folder.join("verdict.json"), verdict)
    }

    /// Item folders, complete or not, named by fingerprint.
    pub fn item_folders(&self) -> Vec<PathBuf> {
        subfolders(&self.items(), "").unwrap_or_default()
    }

    /// Complete items with their file folders.
    pub fn items_made(&self) -> Vec<(PathBuf, ItemMade)> {
        self.item_folders().iter().filter_map(|folder| item_in(folder)).collect()
    }
}

/// The item in a folder, if complete.
pub fn item_in(folder: &Path) -> Option<(PathBuf, ItemMade)> {
    Closed::read(&folder.join("item.json")).map(|item| (folder.join("files"), item))
}

/// Removes attempts and batches unchanged for `age`; returns their number.
///
/// # Errors
/// I/O errors.
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

/// Latest change in a folder, its files, and files one level below.
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

/// Subfolders with a name prefix; empty if the folder is missing.
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

    #[test]
    fn every_case_belongs_to_one_shard() {
        for number in 0..50 {
            let case = format!("case_{number:03}");
            let of = (0..7).filter(|&index| Shard { index, count: 7 }.has(&case)).count();
            assert_eq!(of, 1);
        }
    }
}
