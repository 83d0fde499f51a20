//! The terms of a supervisor: limits and surroundings of a program, and the word about its end.

use crate::containers::kept::KeptContainer;
use crate::machine::Usage;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use voxflow_stages::program::Ending;

/// Limits of the program and its descendants.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub time: Option<Duration>,
    /// Bytes.
    pub memory: Option<u64>,
    pub processes: u64,
}

/// The engine around the program, if it runs in a container.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    pub is_contained: bool,
    /// The container, if an engine keeps it.
    pub kept: Option<KeptContainer>,
}

/// A program's end, as told to the process that ordered it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LastWord {
    pub ending: Ending,
    pub usage: Usage,
}
