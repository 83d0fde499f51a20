//! Decides: workflows, the schedule, the runs and their tables.
//!
//! `workflow` reads the file; `plan` resolves it against the store; `execute` makes what must be
//! made and tells [`event`]s; a [`run`] is the folder where they are written down. What a stage
//! does lives in `voxflow-stages`, what is remembered in `voxflow-cache`, libtorch in
//! `voxflow-worker`.

pub mod amount;
pub mod cli;
pub mod cohort;
pub mod commands;
pub mod console;
pub mod device;
pub mod event;
pub mod execute;
pub mod exit;
pub mod globals;
pub mod history;
pub mod home;
pub mod job;
pub mod journal;
pub mod labelled_cases;
pub mod live;
pub mod liveness;
pub mod log;
pub mod machine;
pub mod making;
pub mod markdown;
pub mod moved_cases;
pub mod outcome;
pub mod outputs;
pub mod own_files;
pub mod plan;
pub mod planner;
pub mod printable;
pub mod pulse;
pub mod reads;
pub mod recalls;
pub mod reference;
pub mod report;
pub mod run;
pub mod schedule;
pub mod seal;
pub mod secret;
pub mod sheet;
pub mod space;
pub mod stop;
pub mod store_homes;
pub mod tables;
pub mod warnings;
pub mod why;
pub mod wishes;
pub mod words;
pub mod worker;
pub mod workflow;
