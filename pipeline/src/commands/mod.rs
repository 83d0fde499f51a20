//! The commands: one file each, a struct of its flags with `run(&self, &Globals) -> Result<Exit>`.
//! The only place that prints: data to stdout, words for people to stderr.
#![allow(clippy::print_stdout, clippy::print_stderr)]

pub mod check;
pub mod choice;
pub mod completions;
pub mod plan;
pub mod run;

use crate::exit::Error;

/// Prints an error, once.
pub fn complain(error: &Error) {
    eprintln!("error: {error}");
}
