//! The output of a program on its way into a log: read from a pipe, with its last lines kept for a
//! message. A carriage return begins the line anew, as on a terminal, so that a progress bar is one
//! line.

use crate::secret;
use rustix::fs::OFlags;
use std::collections::VecDeque;
use std::io::{ErrorKind, PipeReader, Read, Write};
use std::path::{Path, PathBuf};
use voxflow_cache::disk::FileWriter;
use voxflow_stages::{Error, Result};

/// Bytes of a line at which it is broken.
const MOST_OF_LINE: usize = 1 << 14;
/// Lines kept for a message.
const LAST_LINES: usize = 10;

pub(super) struct OutputLog {
    pipe: PipeReader,
    file: FileWriter,
    path: PathBuf,
    /// Start of each line.
    name: String,
    line: Vec<u8>,
    last_lines: VecDeque<String>,
    /// Bytes written.
    written: u64,
    limit: u64,
}

impl OutputLog {
    /// Appends to the file at `path`, up to `limit` bytes.
    pub(super) fn new(pipe: PipeReader, path: &Path, name: &str, limit: u64) -> Result<OutputLog> {
        let path = path.to_path_buf();
        rustix::fs::fcntl_setfl(&pipe, OFlags::NONBLOCK).map_err(|error| {
            Error::failed(format!("{name}: its output cannot be read: {error}"))
        })?;
        Ok(OutputLog {
            pipe,
            file: FileWriter::append(&path)?,
            path,
            name: name.to_string(),
            line: vec![],
            last_lines: VecDeque::new(),
            written: 0,
            limit,
        })
    }

    /// Reads a piece of the output; false if there is none now.
    pub(super) fn read_some(&mut self) -> Result<bool> {
        let mut bytes = [0; 1 << 16];
        match self.pipe.read(&mut bytes) {
            Ok(0) => Ok(false),
            Ok(count) => self.add(&bytes[..count]).map(|()| true),
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(true),
            Err(_) => Ok(false),
        }
    }

    /// True if the output is longer than its limit; the rest is not written.
    pub(super) fn is_full(&self) -> bool {
        self.written > self.limit
    }

    /// Reads what is left, and gives the last lines.
    pub(super) fn finish(mut self) -> Result<Vec<String>> {
        while !self.is_full() && self.read_some()? {}
        if !self.line.is_empty() {
            self.end_line()?;
        }
        Ok(self.last_lines.into())
    }

    fn add(&mut self, bytes: &[u8]) -> Result<()> {
        let mut lines = bytes.split(|byte| *byte == b'\n').peekable();
        while let Some(part) = lines.next() {
            for piece in part.chunks(MOST_OF_LINE) {
                if self.line.len() + piece.len() > MOST_OF_LINE {
                    self.break_line()?;
                }
                self.line.extend(piece);
            }
            if lines.peek().is_some() {
                self.end_line()?;
            }
        }
        Ok(())
    }

    /// Makes room in a line that does not end.
    fn break_line(&mut self) -> Result<()> {
        match self.line.iter().rposition(|byte| *byte == b'\r') {
            Some(at) => {
                self.line.drain(..=at);
                if self.line.len() > MOST_OF_LINE / 2 { self.end_line() } else { Ok(()) }
            }
            None => self.end_line(),
        }
    }

    fn end_line(&mut self) -> Result<()> {
        let line = std::mem::take(&mut self.line);
        let line = line.strip_suffix(b"\r").unwrap_or(&line);
        let shown = line.rsplit(|byte| *byte == b'\r').next().unwrap_or(line);
        let shown = secret::strip(&String::from_utf8_lossy(shown));
        let text = format!("[{}] {shown}\n", self.name);
        self.written += text.len() as u64;
        if !self.is_full() {
            self.file.write_all(text.as_bytes()).map_err(Error::io("write", &self.path))?;
        }
        if !shown.trim().is_empty() {
            self.last_lines.push_back(shown);
        }
        if self.last_lines.len() > LAST_LINES {
            self.last_lines.pop_front();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logged(output: &[u8], limit: u64) -> (String, Vec<String>, bool) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.txt");
        let (reader, mut writer) = std::io::pipe().unwrap();
        let mut log = OutputLog::new(reader, &path, "smooth", limit).unwrap();
        for piece in output.chunks(1 << 15) {
            writer.write_all(piece).unwrap();
            while log.read_some().unwrap() {}
        }
        drop(writer);
        let is_full = log.is_full();
        let last = log.finish().unwrap();
        (std::fs::read_to_string(&path).unwrap(), last, is_full)
    }

    #[test]
    fn lines_are_kept_with_their_stage_and_a_progress_bar_is_one_line() {
        let (log, last, is_full) = logged(b"begin\n 10 %\r 50 %\r100 %\nwindows\r\n\nend", 1000);
        assert_eq!(
            log,
            "[smooth] begin\n[smooth] 100 %\n[smooth] windows\n[smooth] \n[smooth] end\n"
        );
        assert_eq!(last, ["begin", "100 %", "windows", "end"]);
        assert!(!is_full);
    }

    #[test]
    fn output_without_end_is_cut_at_its_limit_with_line_breaks_or_without() {
        for flood in [b"y\n".repeat(100_000), b"y".repeat(200_000)] {
            let (log, _, is_full) = logged(&flood, 50_000);
            assert!(is_full && log.len() <= 50_000, "{}", log.len());
        }
        let (log, last, is_full) = logged(&b"50 %\r".repeat(100_000), 50_000);
        assert!(!is_full && log.len() < 30, "{log}");
        assert_eq!(last, ["50 %"]);
    }
}
