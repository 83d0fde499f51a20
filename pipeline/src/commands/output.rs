//! Output flags shared by `compare` and `sweep`.

use super::{answer_bytes, answer_data};
use crate::console::terminal_width;
use crate::error::{Error, Result};
use crate::tables;
use crate::text_table::{TableFormat, TextTable, pretty};
use clap::{Args, ValueEnum};
use std::io::IsTerminal;
use std::path::PathBuf;
use voxflow_cache::disk;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ComparisonFormat {
    /// Table for terminals
    #[default]
    Text,
    /// Markdown table
    Markdown,
    /// Comma-separated values, numbers in full
    Csv,
    /// JSON, numbers in full
    Json,
    /// Parquet file
    Parquet,
    /// Page with overlaid curves
    Html,
}

#[derive(Clone, Debug, Default, Args)]
pub struct OutputArgs {
    /// Output format
    #[arg(long, value_enum, default_value_t)]
    pub format: ComparisonFormat,
    /// Write to this file instead of stdout
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

impl OutputArgs {
    /// True for formats with short names and rounded numbers.
    pub fn is_for_people(&self) -> bool {
        matches!(self.format, ComparisonFormat::Text | ComparisonFormat::Markdown)
    }

    /// Table format for reading.
    pub fn style(&self) -> TableFormat {
        if self.format == ComparisonFormat::Markdown {
            TableFormat::Markdown
        } else {
            TableFormat::Text
        }
    }

    /// Available width; `None` for files.
    pub fn width(&self) -> Option<u16> {
        if self.out.is_some() { None } else { terminal_width() }
    }

    /// Writes text to the file or stdout.
    pub fn deliver(&self, text: &str) -> Result<()> {
        match &self.out {
            Some(path) => Ok(disk::write(path, text.as_bytes())?),
            None => answer_data(text),
        }
    }

    /// Writes a table with full precision: CSV, JSON or Parquet.
    pub fn deliver_full(&self, sheet: &TextTable) -> Result<()> {
        match self.format {
            ComparisonFormat::Csv => self.deliver(&sheet.csv()),
            ComparisonFormat::Parquet => self.deliver_parquet(sheet),
            _ => self.deliver(&pretty(&sheet.json())),
        }
    }

    /// Writes a table as Parquet; refuses terminals.
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
