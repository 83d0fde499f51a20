//! Decides: workflows, the schedule, the runs and their tables.
//!
//! `workflow` reads the file; `plan` resolves it against the store; `execute` makes what must be
//! made and tells [`event`]s; a [`run`] is the folder where they are written down. What a stage does
//! lives in `voxflow-stages`, what is remembered in `voxflow-cache`, libtorch in `voxflow-worker`.

pub mod cli;
pub mod commands;
pub mod event;
pub mod exit;
pub mod home;
pub mod run;
pub mod workflow;
