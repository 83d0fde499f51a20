//! Flags of every command: home, store, and how much is printed.

use crate::home::Home;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// Flags of every command.
#[derive(Clone, Debug, Args)]
pub struct Globals {
    /// Folder for runs and, unless --store says otherwise, the store
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "VOXFLOW_HOME",
        default_value = ".voxflow"
    )]
    pub home: PathBuf,
    /// Folder of the store, to share one between homes
    #[arg(long, global = true, value_name = "DIR", env = "VOXFLOW_STORE")]
    pub store: Option<PathBuf>,
    /// Say nothing but warnings and errors
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// Say more
    #[arg(long, short, global = true, conflicts_with = "quiet")]
    pub verbose: bool,
    /// Form of log lines on stderr
    #[arg(long, global = true, value_enum, default_value_t)]
    pub log_format: LogFormat,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line: the run's events.
    Json,
}

impl Globals {
    /// The home these flags name.
    pub fn home(&self) -> Home {
        Home::new(&self.home, self.store.as_deref())
    }
}
