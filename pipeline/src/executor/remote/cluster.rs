//! The boundary to a cluster: all that differs between engines.

use crate::humanize;
use crate::resources::Resources;
use std::path::PathBuf;
use std::time::Duration;

/// A job's id, as the cluster writes it.
pub type JobId = String;

/// One submission: an array of equal jobs, each of one attempt.
#[derive(Clone, Debug)]
pub struct JobArray {
    /// The name, also of the job: `vf-<8 hex>`. Ids may be given twice by a cluster that lost its
    /// memory; names are not.
    pub name: String,
    /// The folder for the script, the list and the output.
    pub folder: PathBuf,
    /// The folders of the attempts, by their place in the array.
    pub attempts: Vec<PathBuf>,
    /// Resources of each job.
    pub wants: JobWants,
}

/// Resources of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct JobWants {
    /// Cores, memory and cards.
    pub resources: Resources,
    /// Longest time.
    pub time: Option<Duration>,
    /// The partition or queue.
    pub partition: Option<String>,
    /// Nodes that are not to be used.
    pub exclude: Vec<String>,
}

/// "8 cores, 34 GB, 1 GPU, at most 4 h 00 min, partition gpu".
impl std::fmt::Display for JobWants {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let Resources { cpus, memory, gpus, .. } = self.resources;
        let cores = humanize::count(cpus.max(1), "core");
        write!(f, "{cores}, {}", humanize::bytes(memory))?;
        if gpus > 0 {
            write!(f, ", {}", humanize::count(gpus, "GPU"))?;
        }
        if let Some(time) = self.time {
            write!(f, ", at most {}", humanize::duration(time.as_secs_f64()))?;
        }
        self.partition.as_ref().map_or(Ok(()), |name| write!(f, ", partition {name}"))
    }
}

/// A refusal of a submission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It will never be taken: the cluster's words.
    Never(String),
    /// Not now: the cluster's words.
    NotNow(String),
}

impl Refused {
    /// The cluster's words.
    pub fn words(&self) -> &str {
        match self {
            Refused::Never(words) | Refused::NotNow(words) => words,
        }
    }
}

/// No answer of a cluster, in its words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Silent(pub String);

/// A job as the cluster sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobStatus {
    /// The batch's name.
    pub batch: String,
    /// The place in the batch.
    pub index: u32,
    /// The id, with the place as the cluster writes it.
    pub job: JobId,
    /// The state.
    pub state: JobState,
    /// The cluster's reason, for people.
    pub why: String,
    /// The node, where there is one.
    pub node: String,
}

/// The state of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobState {
    /// It waits for resources.
    Waiting,
    /// It waits for what will not come by itself.
    Held,
    /// It runs.
    Running,
    /// It is over.
    Over(Ended),
}

/// The end of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With exit code 0.
    Completed,
    /// With another exit code or a signal.
    Failed,
    /// For lack of memory.
    OutOfMemory,
    /// At its time limit.
    Timeout,
    /// With its node, or for others of higher priority.
    NodeFailed,
    /// By somebody.
    Cancelled,
    /// In a way that the cluster does not tell.
    Unknown,
}

/// A cluster.
pub trait Cluster: Send + Sync {
    /// Its name for people: "slurm".
    fn name(&self) -> &'static str;

    /// The most jobs of one submission.
    fn most_at_once(&self) -> usize;

    /// Asks whether a job of such wants would be taken, without submitting one.
    ///
    /// # Errors
    /// The cluster's words where it would not.
    fn test(&self, _wants: &JobWants) -> Result<String, String> {
        Ok("taken".into())
    }

    /// Submits an array.
    fn submit(&self, batch: &JobArray) -> Result<JobId, Refused>;

    /// All jobs of this program that the cluster knows now.
    fn look(&self) -> Result<Vec<JobStatus>, Silent>;

    /// Jobs that it knew before, from its accounting; empty where there is none.
    fn past(&self, batches: &[String]) -> Result<Vec<JobStatus>, Silent>;

    /// Ends jobs.
    fn cancel(&self, jobs: &[JobId]) -> Result<(), Silent>;

    /// Least time between two looks.
    fn look_interval(&self) -> Duration;
}
