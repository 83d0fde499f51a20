//! Data-parallel training: several processes of one machine ("ranks") train one model, each on its
//! share of every batch. Gradients are added up over the ranks, and all ranks take the same step.
//!
//! `launcher` starts the processes, `watchdog` notices those that die or hang, `process_group` has
//! barriers and small agreements over shared memory, and a `communicator` adds tensors up: by NCCL
//! on GPUs, by shared memory on the processor.

pub mod communicator;
mod connection;
mod differentiable_sum;
mod futex;
mod gradient_reducer;
mod launcher;
mod nccl;
mod nccl_library;
pub mod process_group;
mod ranks;
mod shared_memory;
pub mod shared_region;
mod watchdog;

pub use connection::Connection;
pub use differentiable_sum::differentiable_sum;
pub use gradient_reducer::GradientReducer;
pub use launcher::{RANK, RankArguments, launch};
pub use ranks::Ranks;
pub use watchdog::{Children, Watchdog};
