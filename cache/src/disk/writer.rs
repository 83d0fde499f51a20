//! A file that is being written piece by piece.

use super::fault;
use super::folders::share;
use super::steps::PLAIN;
use crate::error::{Error, Result};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A file that is being written. Libraries write through [`Write`], whose errors name no path.
#[derive(Debug)]
pub struct FileWriter {
    file: File,
    path: PathBuf,
}

impl FileWriter {
    /// A new or emptied file.
    pub fn create(path: &Path) -> Result<FileWriter> {
        FileWriter::by(path, OpenOptions::new().write(true).create(true).truncate(true))
    }

    /// A new file. One that is there is an error.
    pub fn create_new(path: &Path) -> Result<FileWriter> {
        FileWriter::by(path, OpenOptions::new().write(true).create_new(true))
    }

    /// A file that grows at its end, made if it is not there.
    pub fn append(path: &Path) -> Result<FileWriter> {
        FileWriter::by(path, OpenOptions::new().append(true).create(true))
    }

    fn by(path: &Path, options: &OpenOptions) -> Result<FileWriter> {
        let file = PLAIN.step("create", "create", path, || options.open(path))?;
        share(path);
        Ok(FileWriter { file, path: path.to_path_buf() })
    }

    /// Writes all bytes.
    pub fn write_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        self.write_all(bytes).map_err(Error::io("write", &self.path))
    }

    /// Makes what was written durable.
    pub fn sync(&self) -> Result<()> {
        PLAIN.step("sync", "sync", &self.path, || self.file.sync_all())
    }

    /// The open file, for locks and times.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The open file alone, for a child process to write to.
    pub fn into_file(self) -> File {
        self.file
    }
}

impl Write for FileWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        fault::pass().and_then(|()| self.file.write(bytes))
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        fault::pass().and_then(|()| self.file.write_all(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
