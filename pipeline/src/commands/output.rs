//! The flags by which `compare` and `sweep` are told the form of their tables and where these go.

use super::{answer_bytes, answer_data};
use crate::console::terminal_width;
use crate::error::{Error, Result};
use crate::tables;
use crate::text_table::{TableFormat, TextTable, pretty};
use clap::{Args, ValueEnum};
use std::io::IsTerminal;
use std::path::PathBuf;
use voxflow_cache::disk;

/// The form of a comparison.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ComparisonFormat {
    /// A table for people.
    #[default]
    Text,
    /// A Markdown table.
    Markdown,
    /// Comma-separated values, numbers in full.
    Csv,
    /// JSON, numbers in full.
    Json,
    /// A Parquet file.
    Parquet,
    /// A page with curves laid over each other.
    Html,
}

/// The form, and where it goes.
#[derive(Clone, Debug, Default, Args)]
pub struct OutputArgs {
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    pub format: ComparisonFormat,
    /// Write it to this file instead of stdout
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

impl OutputArgs {
    /// True if people read it: they get short names and few digits.
    pub fn is_for_people(&self) -> bool {
        matches!(self.format, ComparisonFormat::Text | ComparisonFormat::Markdown)
    }

    /// The form of sheets for people.
    pub fn style(&self) -> TableFormat {
        if self.format == ComparisonFormat::Markdown {
            TableFormat::Markdown
        } else {
            TableFormat::Text
        }
    }

    /// The width that a table has room in.
    pub fn width(&self) -> Option<u16> {
        if self.out.is_some() { None } else { terminal_width() }
    }

    /// Delivers words.
    pub fn deliver(&self, text: &str) -> Result<()> {
        match &self.out {
            Some(path) => Ok(disk::write(path, text.as_bytes())?),
            None => answer_data(text),
        }
    }

    /// Delivers a sheet for programs: CSV, JSON or Parquet.
    pub fn deliver_full(&self, sheet: &TextTable) -> Result<()> {
        match self.format {
            ComparisonFormat::Csv => self.deliver(&sheet.csv()),
            ComparisonFormat::Parquet => self.deliver_parquet(sheet),
            _ => self.deliver(&pretty(&sheet.json())),
        }
    }

    /// Delivers a sheet as a Parquet file; not to a terminal.
    pub fn deliver_parquet(&self, sheet: &TextTable) -> Result<()> {
        let bytes = tables::parquet(sheet)?;
        match &self.out {
            Some(path) => Ok(disk::write(path, &bytes)?),
            None if std::io::stdout().is_terminal() => Err(Error::usage(
                "--format parquet: is not for a terminal: name a file with '--out FILE'",
            )),
            None => answer_bytes(&bytes),
        }
    }
}
