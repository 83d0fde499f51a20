//! Interface to a cluster; everything specific to a batch system is behind it.

use crate::humanize;
use crate::resources::Resources;
use std::path::PathBuf;
use std::time::Duration;

/// Job id in the cluster's notation.
pub type JobId = String;

/// A submission: an array with one job per attempt.
#[derive(Clone, Debug)]
pub struct JobArray {
    /// Name of batch and job: `vf-<8 hex>`. A cluster that lost its state may reuse ids, never
    /// names.
    pub name: String,
    /// Folder for script, attempt list and output.
    pub folder: PathBuf,
    /// Attempt folders by array index.
    pub attempts: Vec<PathBuf>,
    /// Resources per job.
    pub wants: JobWants,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct JobWants {
    /// Cores, memory and graphics cards.
    pub resources: Resources,
    /// Time limit.
    pub time: Option<Duration>,
    /// Partition or queue.
    pub partition: Option<String>,
    /// Excluded nodes.
    pub exclude: Vec<String>,
}

/// "8 cores, 32.0 GiB, 1 GPU, at most 4 h 00 min, partition gpu".
impl std::fmt::Display for JobWants {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let Resources { cpus, memory, gpus, .. } = self.resources;
        let cores = humanize::count(cpus.max(1), "core");
        // As people write it in a site file: 16G is 16 GiB.
        write!(f, "{cores}, {:.1} GiB", memory as f64 / f64::from(1 << 30))?;
        if gpus > 0 {
            write!(f, ", {}", humanize::count(gpus, "GPU"))?;
        }
        if let Some(time) = self.time {
            write!(f, ", at most {}", humanize::duration(time.as_secs_f64()))?;
        }
        self.partition.as_ref().map_or(Ok(()), |name| write!(f, ", partition {name}"))
    }
}

/// A refused submission, with the cluster's message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Permanent.
    Never(String),
    /// Temporary.
    NotNow(String),
}

impl Refused {
    /// The cluster's message.
    pub fn words(&self) -> &str {
        match self {
            Refused::Never(words) | Refused::NotNow(words) => words,
        }
    }
}

/// The cluster did not answer; its error message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Silent(pub String);

/// A job's status in the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobStatus {
    /// Batch name.
    pub batch: String,
    /// Index in the batch.
    pub index: u32,
    /// Id including the array index, in the cluster's notation.
    pub job: JobId,
    pub state: JobState,
    /// The cluster's reason.
    pub why: String,
    /// Empty before start.
    pub node: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobState {
    /// Waits for resources.
    Waiting,
    /// Waits for something that will not happen by itself.
    Held,
    Running,
    Over(Ended),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Exit code 0.
    Completed,
    /// Another exit code, or a signal.
    Failed,
    OutOfMemory,
    /// Killed at its time limit.
    Timeout,
    /// Its node failed, or it was preempted.
    NodeFailed,
    /// A node could not launch it; it stays in the queue, held.
    LaunchFailed,
    /// Cancelled by a user or administrator.
    Cancelled,
    /// Unknown to the cluster.
    Unknown,
}

pub trait Cluster: Send + Sync {
    /// Name in messages: "slurm".
    fn name(&self) -> &'static str;

    /// Maximum jobs per submission.
    fn most_at_once(&self) -> usize;

    /// Checks if a job with these demands would be accepted, without submitting.
    ///
    /// # Errors
    /// The cluster's message if it would be refused.
    fn test(&self, _wants: &JobWants) -> Result<String, String> {
        Ok("taken".into())
    }

    fn submit(&self, batch: &JobArray) -> Result<JobId, Refused>;

    /// All jobs submitted by this program and present in the queue.
    fn look(&self) -> Result<Vec<JobStatus>, Silent>;

    /// Finished jobs from accounting; empty without accounting.
    fn past(&self, batches: &[String]) -> Result<Vec<JobStatus>, Silent>;

    fn cancel(&self, jobs: &[JobId]) -> Result<(), Silent>;

    /// Minimum time between two queries.
    fn look_interval(&self) -> Duration;
}
