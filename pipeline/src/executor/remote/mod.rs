//! Stages as cluster jobs. Each attempt is a folder in the store ([`attempt`]), filled by a job and
//! closed with a verdict ([`verdict`]). Only the verdict counts; the cluster's job state merely
//! reveals deaths. [`batch`] submits, [`view`] queries the queue, [`retry`] decides.
//!
//! Attempts survive this program: a later run takes a successful verdict over, follows a living
//! job, or continues from a dead attempt's items and checkpoints.

pub mod attempt;
mod batch;
mod census;
pub mod children;
pub mod cluster;
pub mod files;
mod follow;
mod jobs;
mod making;
mod relay;
mod retry;
mod share_progress;
pub mod slurm;
pub(crate) mod stored;
pub mod verdict;
mod view;

pub use jobs::{Remote, cluster_of, wants};
