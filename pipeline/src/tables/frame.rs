//! Typed columns in a Parquet file; the only file using polars. Eager API only: starting the lazy
//! engine takes longer than writing a run's tables.

use crate::text_table::{Cell, TextTable};
use polars::prelude::*;
use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;
use time::OffsetDateTime;
use voxflow_cache::disk;
use voxflow_stages::{Error, Result, Trouble};

/// Columns with equal length.
pub(super) struct Frame(DataFrame);

/// Builder for a frame.
#[derive(Default)]
pub(super) struct Columns(Vec<Column>);

impl Columns {
    pub fn text<'a>(
        mut self,
        name: &str,
        values: impl Iterator<Item = Option<&'a str>>,
    ) -> Columns {
        self.0.push(Column::new(name.into(), values.collect::<Vec<_>>()));
        self
    }

    pub fn small(mut self, name: &str, values: impl Iterator<Item = Option<u32>>) -> Columns {
        self.0.push(Column::new(name.into(), values.collect::<Vec<_>>()));
        self
    }

    pub fn count(mut self, name: &str, values: impl Iterator<Item = Option<u64>>) -> Columns {
        self.0.push(Column::new(name.into(), values.collect::<Vec<_>>()));
        self
    }

    pub fn number(mut self, name: &str, values: impl Iterator<Item = Option<f64>>) -> Columns {
        self.0.push(Column::new(name.into(), values.collect::<Vec<_>>()));
        self
    }

    pub fn flag(mut self, name: &str, values: impl Iterator<Item = bool>) -> Columns {
        self.0.push(Column::new(name.into(), values.collect::<Vec<_>>()));
        self
    }

    /// Adds UTC times with microsecond resolution.
    pub fn moment(
        mut self,
        name: &str,
        values: impl Iterator<Item = Option<OffsetDateTime>>,
    ) -> Columns {
        let micros: Vec<Option<i64>> = values.map(|moment| moment.map(microseconds)).collect();
        let column = Int64Chunked::new(name.into(), micros);
        self.0
            .push(column.into_datetime(TimeUnit::Microseconds, Some(TimeZone::UTC)).into_column());
        self
    }

    pub fn frame(self) -> Result<Frame> {
        DataFrame::new_infer_height(self.0).map(Frame).trouble("tables")
    }
}

impl Frame {
    /// Reads a file; a missing file gives an empty frame.
    pub fn read(path: &Path) -> Result<Frame> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Ok(Frame(DataFrame::empty()));
            }
            Err(error) => return Err(Error::io("read", path)(error)),
        };
        // A foreign or torn file must become an error, whatever the decoder thinks of it.
        let read = std::panic::catch_unwind(|| {
            ParquetReader::new(file).read_parallel(ParallelStrategy::None).finish()
        });
        match read {
            Ok(frame) => frame.map(Frame).trouble_at(path),
            Err(_) => {
                Err(Error::failed(format!("{}: is not a table that can be read", path.display())))
            }
        }
    }

    /// Converts a table.
    pub fn of(sheet: &TextTable) -> Result<Frame> {
        let columns =
            sheet.columns.iter().enumerate().fold(Columns::default(), |columns, (at, name)| {
                let cells = sheet.rows.iter().map(|row| &row[at]);
                let filled: Vec<&Cell> =
                    cells.clone().filter(|cell| **cell != Cell::Empty).collect();
                if !filled.is_empty()
                    && filled.iter().all(|cell| matches!(cell, Cell::Count(_) | Cell::Bytes(_)))
                {
                    return columns.count(name, cells.map(Cell::count));
                }
                if sheet.is_numeric(at) {
                    return columns.number(name, cells.map(Cell::number));
                }
                let words: Vec<Option<String>> =
                    cells.map(|cell| (*cell != Cell::Empty).then(|| cell.in_full())).collect();
                columns.text(name, words.iter().map(Option::as_deref))
            });
        columns.frame()
    }

    /// Serialises to Parquet.
    pub fn bytes(mut self) -> Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(16 << 10);
        let writer = ParquetWriter::new(&mut bytes)
            .with_compression(ParquetCompression::Snappy)
            .set_parallel(false);
        writer.finish(&mut self.0).trouble("tables")?;
        Ok(bytes)
    }

    /// Replaces a file atomically, without fsync.
    pub fn write(self, path: &Path) -> Result<()> {
        Ok(disk::replace(path, &self.bytes()?)?)
    }

    pub fn height(&self) -> usize {
        self.0.height()
    }

    /// Text column; nulls if missing.
    pub fn text(&self, name: &str) -> Result<Vec<Option<String>>> {
        self.column(name, &DataType::String, |column| {
            Ok(column.str()?.iter().map(|value| value.map(str::to_string)).collect())
        })
    }

    /// Count column; nulls if missing.
    pub fn count(&self, name: &str) -> Result<Vec<Option<u64>>> {
        self.column(name, &DataType::UInt64, |column| Ok(column.u64()?.iter().collect()))
    }

    /// Number column; nulls if missing.
    pub fn number(&self, name: &str) -> Result<Vec<Option<f64>>> {
        self.column(name, &DataType::Float64, |column| Ok(column.f64()?.iter().collect()))
    }

    /// Flag column; nulls if missing.
    pub fn flag(&self, name: &str) -> Result<Vec<Option<bool>>> {
        self.column(name, &DataType::Boolean, |column| Ok(column.bool()?.iter().collect()))
    }

    /// Time column; nulls if missing.
    pub fn moment(&self, name: &str) -> Result<Vec<Option<OffsetDateTime>>> {
        self.column(
            name,
            &DataType::Datetime(TimeUnit::Microseconds, Some(TimeZone::UTC)),
            |column| {
                let physical = column.to_physical_repr();
                Ok(physical.i64()?.iter().map(|value| value.and_then(moment)).collect())
            },
        )
    }

    fn column<T: Clone>(
        &self,
        name: &str,
        dtype: &DataType,
        values: impl Fn(&Column) -> PolarsResult<Vec<Option<T>>>,
    ) -> Result<Vec<Option<T>>> {
        match self.0.column(name) {
            Err(_) => Ok(vec![None; self.height()]),
            Ok(column) if column.dtype() == dtype => {
                values(column).trouble(format!("column '{name}'"))
            }
            Ok(column) => column
                .cast(dtype)
                .and_then(|column| values(&column))
                .trouble(format!("column '{name}'")),
        }
    }

    /// Column names and types, for tests.
    #[cfg(test)]
    pub fn schema(&self) -> String {
        let columns: Vec<String> = self
            .0
            .columns()
            .iter()
            .map(|column| format!("{} {}", column.name(), column.dtype()))
            .collect();
        columns.join(", ")
    }
}

/// Converts a table to Parquet: numbers as f64, counts as u64, everything else as text.
pub fn parquet(sheet: &TextTable) -> Result<Vec<u8>> {
    Frame::of(sheet)?.bytes()
}

fn microseconds(moment: OffsetDateTime) -> i64 {
    i64::try_from(moment.unix_timestamp_nanos().div_euclid(1000)).unwrap_or(i64::MAX)
}

fn moment(microseconds: i64) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(microseconds) * 1000).ok()
}
