//! The commands: one file each, a struct of its flags with `run(&self, &Globals) -> Result<Exit>`.
//! The only place that prints: data to stdout, words for people to stderr.
#![allow(clippy::print_stdout, clippy::print_stderr)]

pub mod cache;
pub mod check;
pub mod compare;
pub mod completions;
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
pub mod path;
pub mod plan;
pub mod predict;
pub mod report;
pub mod run;
pub mod runs;
pub mod show;
pub mod site;
mod standalone;
pub mod stop;
pub mod sweep;
pub mod task;
pub mod view;
pub mod workflow_args;

use crate::error::{Error, Result};
use crate::printable::printable;
use clap::ValueEnum;
use std::io::{IsTerminal, Write};

/// The form of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum AnswerFormat {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// Prints an error, once.
pub fn complain(error: &Error) {
    tell(&format!("error: {}", crate::secret::strip(&error.to_string())));
}

/// Says something to people. A terminal that is gone (a lost connection) hears nothing.
pub fn tell(words: &str) {
    let _gone = writeln!(std::io::stderr(), "{}", printable(words));
}

/// Writes text for people to stdout. A reader that has seen enough (`voxflow runs | head`) is no
/// error.
pub fn answer(text: &str) -> Result<()> {
    answer_bytes(printable(text).as_bytes())
}

/// Writes data (paths, CSV) to stdout: as they are for a program, printable on a terminal.
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
