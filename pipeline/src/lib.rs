//! Decides: workflows, the schedule, runs and their tables.
//!
//! `workflow` reads the file; `plan` compares it with the store; `execute` makes missing artifacts
//! and emits [`event`]s, recorded in a [`run`] folder. Stages live in `voxflow-stages`, storage in
//! `voxflow-cache`, libtorch in `voxflow-worker`.
#![cfg_attr(not(test), deny(clippy::disallowed_methods))]
// A program, not a library: comments give contracts, and names say the rest.
#![allow(missing_docs)]

pub mod annotation;
mod busy_clock;
pub mod checksums;
pub mod cli;
pub mod commands;
pub mod console;
pub mod containers;
pub mod device;
pub mod disk_space;
mod doctor;
mod earlier_runs;
pub mod error;
pub mod event;
pub mod exec_options;
pub mod execute;
pub mod executor;
pub mod explain;
mod forecast;
mod foreseen;
pub mod globals;
pub mod gpus;
pub mod heartbeat;
pub mod home;
pub mod humanize;
pub mod job;
pub mod job_facts;
pub mod journal;
pub mod labelled_cases;
mod libtorch;
pub mod liveness;
pub mod lock;
pub mod log;
pub mod machine;
pub mod markdown;
pub mod moved_cases;
pub mod node;
pub mod outcome;
pub mod outputs;
pub mod own_files;
mod packed_scripts;
mod packs;
pub mod parse_size;
pub mod plan;
pub mod planner;
pub mod printable;
pub mod reads;
pub mod reference;
pub mod report;
pub mod resources;
pub mod run;
pub mod run_set;
pub mod run_tracker;
pub mod runs;
pub mod schedule;
pub mod secret;
pub mod selection;
pub mod site;
pub mod stage_job;
pub mod statistics;
pub mod stop;
pub mod store_homes;
pub mod supervisor;
pub mod tables;
pub mod text_table;
pub mod warnings;
pub mod workflow;
