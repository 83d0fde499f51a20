//! The file into which a program writes its metrics: a JSON object a line, with the fields of
//! [`Metric`]. It is read while it grows.

use crate::error::{Error, Result};
use crate::record::Metric;
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::PathBuf;

pub(super) struct MetricsFile {
    path: PathBuf,
    /// Bytes read.
    read: u64,
    /// Lines read.
    lines: usize,
    /// Start of a line that is not written to its end.
    open: Vec<u8>,
}

impl MetricsFile {
    /// The file at `path`, which need not be there.
    pub(super) fn at(path: PathBuf) -> MetricsFile {
        MetricsFile { path, read: 0, lines: 0, open: vec![] }
    }

    /// The rows written since the last call.
    pub(super) fn new_rows(&mut self) -> Result<Vec<Metric>> {
        let mut text = std::mem::take(&mut self.open);
        self.read += self.read_to(&mut text)?;
        let end = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        self.open = text.split_off(end);
        let lines = text.split_inclusive(|byte| *byte == b'\n');
        lines.filter_map(|line| self.row(line).transpose()).collect()
    }

    /// The rows after the program's end, when a last line may lack its line break.
    pub(super) fn last_rows(&mut self) -> Result<Vec<Metric>> {
        let mut rows = self.new_rows()?;
        let line = std::mem::take(&mut self.open);
        rows.extend(self.row(&line)?);
        Ok(rows)
    }

    fn read_to(&self, text: &mut Vec<u8>) -> Result<u64> {
        let mut file = match File::open(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
            opened => opened.map_err(Error::io("open", &self.path))?,
        };
        let read = file.seek(SeekFrom::Start(self.read)).and_then(|_| file.read_to_end(text));
        Ok(read.map_err(Error::io("read", &self.path))? as u64)
    }

    /// The row of a line; `None` for an empty one.
    fn row(&mut self, line: &[u8]) -> Result<Option<Metric>> {
        self.lines += 1;
        let line = line.trim_ascii();
        if line.is_empty() {
            return Ok(None);
        }
        match serde_json::from_slice::<Metric>(line) {
            Ok(row) if !row.metric.is_empty() => Ok(Some(row)),
            Ok(_) => Err(self.refused(line, "it has no 'metric'")),
            Err(error) => Err(self.refused(line, &error.to_string())),
        }
    }

    fn refused(&self, line: &[u8], trouble: &str) -> Error {
        let text = String::from_utf8_lossy(line);
        let is_no_number = ["NaN", "Infinity"].iter().any(|word| text.contains(word));
        let way = match is_no_number {
            true => "JSON has no NaN and no Infinity: write null",
            false => r#"write an object a line, as {"metric": "dice", "value": 0.9}"#,
        };
        let shown: String = text.chars().take(80).collect();
        let number = self.lines;
        Error::failed(format!("line {number} of the metrics, '{shown}': {trouble}; {way}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::OpenOptions;
    use std::io::Write;

    #[test]
    fn rows_are_read_as_they_come_and_a_line_once_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let mut metrics = MetricsFile::at(path.clone());
        assert!(metrics.new_rows().unwrap().is_empty());
        let mut file = OpenOptions::new().create(true).append(true).open(&path).unwrap();
        let mut add = |text: &str| file.write_all(text.as_bytes()).unwrap();
        add("{\"metric\": \"loss\", \"value\": 0.5, \"epoch\": 1}\n\n{\"metric\":");
        assert_eq!(metrics.new_rows().unwrap(), [Metric::new("loss", 0.5).epoch(1)]);
        add(" \"loss\", \"value\": null}\n{\"metric\": \"dice\", \"value\": 1}");
        assert_eq!(metrics.new_rows().unwrap(), [Metric::new("loss", None)]);
        assert_eq!(metrics.last_rows().unwrap(), [Metric::new("dice", 1.0)]);
        add("\n{\"metric\": \"dice\", \"value\": NaN}\n");
        let error = metrics.new_rows().unwrap_err().to_string();
        assert!(
            error.starts_with("line 6 of the metrics") && error.contains("write null"),
            "{error}"
        );
    }

    #[test]
    fn a_line_that_is_no_row_is_shown_with_its_number() {
        let folder = tempfile::tempdir().unwrap();
        for line in ["dice 0.9", "{\"value\": 1}", "{\"metric\": \"a\", \"value\": 1, \"x\": 2}"] {
            let path = folder.path().join("metrics.jsonl");
            std::fs::write(&path, line).unwrap();
            let error = MetricsFile::at(path).last_rows().unwrap_err().to_string();
            assert!(error.starts_with("line 1 of the metrics") && error.contains(line), "{error}");
        }
    }
}
