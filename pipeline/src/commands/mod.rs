//! Commands: a file each, with a flag struct and `run(&self, &Globals) -> Result<Exit>`. Only
//! commands print: data to stdout, messages to stderr.
#![allow(clippy::print_stdout, clippy::print_stderr)]

pub mod cache;
pub mod check;
pub mod compare;
pub mod complete;
pub mod completions;
mod data_check;
pub mod demo;
pub mod doctor;
pub mod exec_args;
pub mod export;
mod folder_scan;
mod follow;
pub mod import;
pub mod kinds;
pub mod launch;
pub mod man;
mod model;
pub mod new;
pub mod output;
pub mod pack;
pub mod params;
pub mod path;
pub mod place_args;
pub mod plan;
mod plan_total;
pub mod predict;
pub mod report;
pub mod reproduce;
pub mod rm;
pub mod run;
pub mod runs;
pub mod show;
pub mod site;
mod standalone;
pub mod stop;
pub mod supervise;
pub mod sweep;
mod sweep_page;
pub mod tag;
pub mod task;
pub mod unknown_flag;
pub mod view;
pub mod workflow_args;

use crate::error::{Error, Result};
use crate::printable::printable;
use clap::ValueEnum;
use std::io::{IsTerminal, Write};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum AnswerFormat {
    /// Readable text
    #[default]
    Text,
    /// JSON
    Json,
}

/// Prints an error.
pub fn complain(error: &Error) {
    tell(&format!("error: {}", crate::secret::strip(&error.to_string())));
}

/// Prints a message to stderr; a closed terminal is ignored.
pub fn tell(words: &str) {
    let _gone = writeln!(std::io::stderr(), "{}", printable(words));
}

/// Prints text to stdout; a closed pipe (`voxflow runs | head`) is no error.
pub fn answer(text: &str) -> Result<()> {
    answer_bytes(printable(text).as_bytes())
}

/// Prints data (paths, CSV) to stdout: verbatim into pipes and files, escaped on terminals.
pub fn answer_data(text: &str) -> Result<()> {
    match std::io::stdout().is_terminal() {
        true => answer(text),
        false => answer_bytes(text.as_bytes()),
    }
}

fn answer_bytes(bytes: &[u8]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::io("write", "stdout")(error))
        }
        _ => Ok(()),
    }
}
