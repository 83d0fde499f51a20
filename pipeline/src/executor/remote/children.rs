//! A cluster simulated by child processes on this machine, exercising remote execution without a
//! batch system. Children run in their own sessions and outlive this program, like jobs.

use super::attempt::Attempt;
use super::cluster::{Cluster, Ended, JobArray, JobId, JobState, JobStatus, Refused, Silent};
use crate::executor::pid_file::PidFile;
use crate::lock::lock;
use std::collections::VecDeque;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;
use voxflow_cache::disk::FileWriter;
use voxflow_stages::Error;

/// Limited number of child processes.
pub struct ChildJobs {
    /// Folder for batches.
    batches: PathBuf,
    most: usize,
    state: Mutex<Processes>,
}

#[derive(Default)]
struct Processes {
    queue: VecDeque<Queued>,
    running: Vec<(Queued, Child)>,
}

#[derive(Clone)]
struct Queued {
    batch: String,
    index: u32,
    folder: PathBuf,
    attempt: PathBuf,
}

impl ChildJobs {
    /// Runs at most `most` children; batches lie below `batches`.
    pub fn new(batches: PathBuf, most: usize) -> ChildJobs {
        ChildJobs { batches, most: most.max(1), state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, Processes> {
        lock(&self.state)
    }

    /// Reaps finished children and starts queued ones.
    fn go_on(&self, state: &mut Processes) {
        state.running.retain_mut(|(_, child)| !matches!(child.try_wait(), Ok(Some(_)) | Err(_)));
        while state.running.len() < self.most {
            let Some(next) = state.queue.pop_front() else { break };
            match spawn(&next) {
                Ok(child) => state.running.push((next, child)),
                Err(error) => tracing::warn!("{}: cannot be started: {error}", next.id()),
            }
        }
    }
}

impl Queued {
    fn id(&self) -> JobId {
        format!("{}_{}", self.batch, self.index)
    }

    fn pid_file(&self) -> PidFile {
        PidFile::at(&self.folder.join(format!("{}.pid", self.index)))
    }

    fn seen(&self, state: JobState) -> JobStatus {
        JobStatus {
            batch: self.batch.clone(),
            index: self.index,
            job: self.id(),
            state,
            why: String::new(),
            node: crate::machine::host(),
        }
    }
}

fn spawn(next: &Queued) -> voxflow_stages::Result<Child> {
    let out = FileWriter::create(&next.folder.join(format!("{}.out", next.index)))?.into_file();
    let program = std::env::current_exe().map_err(Error::io("find", "voxflow"))?;
    let also = out.try_clone().map_err(Error::io("open", &next.folder))?;
    let mut command = Command::new(&program);
    command.arg("task").arg(&next.attempt);
    command.stdin(Stdio::null()).stdout(also).stderr(out);
    // SAFETY: between fork and exec only one system call is made, safe there.
    unsafe {
        command.pre_exec(|| rustix::process::setsid().map(|_| ()).map_err(Into::into));
    }
    let child = command.spawn().map_err(Error::io("start", &program))?;
    next.pid_file().write(child.id())?;
    Ok(child)
}

/// Living children from all programs sharing this store, found through their pid files.
fn alive(batches: &Path) -> Vec<JobStatus> {
    let folders = fs::read_dir(batches).into_iter().flatten().flatten();
    let files =
        folders.flat_map(|batch| fs::read_dir(batch.path()).into_iter().flatten().flatten());
    files.filter_map(|file| seen(&file.path())).collect()
}

fn seen(file: &Path) -> Option<JobStatus> {
    let index = file.file_name()?.to_str()?.strip_suffix(".pid")?.parse().ok()?;
    let folder = file.parent()?.to_path_buf();
    let batch = folder.file_name()?.to_str()?.to_string();
    PidFile::at(file).living()?;
    let queued = Queued { batch, index, folder, attempt: PathBuf::new() };
    Some(queued.seen(JobState::Running))
}

impl Cluster for ChildJobs {
    fn name(&self) -> &'static str {
        "children"
    }

    fn most_at_once(&self) -> usize {
        1000
    }

    fn submit(&self, batch: &JobArray) -> Result<JobId, Refused> {
        let mut state = self.state();
        for (index, attempt) in (0..).zip(&batch.attempts) {
            let attempt = Attempt::at(attempt).folder().to_path_buf();
            let (name, folder) = (batch.name.clone(), batch.folder.clone());
            state.queue.push_back(Queued { batch: name, index, folder, attempt });
        }
        self.go_on(&mut state);
        Ok(batch.name.clone())
    }

    fn look(&self) -> Result<Vec<JobStatus>, Silent> {
        let mut state = self.state();
        self.go_on(&mut state);
        let mut found: Vec<JobStatus> =
            state.queue.iter().map(|queued| queued.seen(JobState::Waiting)).collect();
        found.extend(alive(&self.batches));
        Ok(found)
    }

    fn past(&self, batches: &[String]) -> Result<Vec<JobStatus>, Silent> {
        let mut over = vec![];
        for batch in batches {
            let files = fs::read_dir(self.batches.join(batch)).into_iter().flatten().flatten();
            over.extend(files.filter_map(|file| ended(&file.path())));
        }
        Ok(over)
    }

    fn cancel(&self, jobs: &[JobId]) -> Result<(), Silent> {
        let mut state = self.state();
        state.queue.retain(|queued| !jobs.contains(&queued.id()));
        for job in jobs {
            if let Some((batch, index)) = job.rsplit_once('_') {
                let file = self.batches.join(batch).join(format!("{index}.pid"));
                PidFile::at(&file).terminate();
            }
        }
        Ok(())
    }

    fn look_interval(&self) -> Duration {
        Duration::from_millis(500)
    }
}

/// A child that has ended.
fn ended(file: &Path) -> Option<JobStatus> {
    let index = file.file_name()?.to_str()?.strip_suffix(".pid")?.parse().ok()?;
    let folder = file.parent()?.to_path_buf();
    let batch = folder.file_name()?.to_str()?.to_string();
    if PidFile::at(file).living().is_some() {
        return None;
    }
    let queued = Queued { batch, index, folder, attempt: PathBuf::new() };
    Some(queued.seen(JobState::Over(Ended::Unknown)))
}
