//! Global flags: home, store, verbosity.

use crate::home::Home;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// Heading under which commands list these, after their own.
const HEADING: &str = "Global options";

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = HEADING)]
pub struct Globals {
    /// Folder for runs and, unless --store is given, the store
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "VOXFLOW_HOME",
        default_value = ".voxflow"
    )]
    pub home: PathBuf,
    /// Folder for the store, to share it between homes
    #[arg(long, global = true, value_name = "DIR", env = "VOXFLOW_STORE")]
    pub store: Option<PathBuf>,
    /// Read-only store, or home, in which results are looked up that the own store lacks; several
    /// are asked in order. Never written to
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "VOXFLOW_LOWER_STORE",
        value_delimiter = ':'
    )]
    pub lower_store: Vec<PathBuf>,
    /// Print only warnings and errors
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// Print more details
    #[arg(long, short, global = true, conflicts_with = "quiet")]
    pub verbose: bool,
    /// Format for log lines on stderr
    #[arg(long, global = true, value_enum, default_value_t)]
    pub log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Readable text
    #[default]
    Text,
    /// One JSON object per line: the run's events
    Json,
}

impl Globals {
    pub fn home(&self) -> Home {
        Home::new(&self.home, self.store.as_deref()).over(self.lower_store.clone())
    }
}
