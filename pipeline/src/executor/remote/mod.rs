//! Stages made by the jobs of a cluster. Each attempt is a folder in the store ([`attempt`]) that a
//! job fills and closes by a verdict ([`verdict`]); the verdict is the truth, and the cluster's own
//! state tells of deaths only. [`batch`] submits, [`view`] asks the queue, [`retry`] decides.
//!
//! Attempts survive this program: whoever wants the same stage later takes a good verdict, follows
//! a living job, and uses the items and checkpoints of a dead one.

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
pub mod slurm;
pub(crate) mod stored;
pub mod verdict;
mod view;

pub use jobs::{Remote, cluster_of, wants};
