//! Files written piece by piece.

use super::fault;
use super::folders::share;
use super::steps::PLAIN;
use crate::error::{Error, Result};
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Mode bits of a file that may be read.
const READABLE: u32 = 0o444;

/// A file open for writing. Errors by [`Write`], for libraries, lack the path.
#[derive(Debug)]
pub struct FileWriter {
    file: File,
    path: PathBuf,
}

impl FileWriter {
    /// Creates or truncates a file.
    pub fn create(path: &Path) -> Result<FileWriter> {
        FileWriter::by(path, OpenOptions::new().write(true).create(true).truncate(true))
    }

    /// Creates a file. Errors if it exists.
    pub fn create_new(path: &Path) -> Result<FileWriter> {
        FileWriter::by(path, OpenOptions::new().write(true).create_new(true))
    }

    /// Opens a file for appending, creating it if missing.
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

    /// Fsyncs the file.
    pub fn sync(&self) -> Result<()> {
        PLAIN.step("sync", "sync", &self.path, || self.file.sync_all())
    }

    /// Lets those who may read the file run it.
    pub fn make_executable(&self) -> Result<()> {
        PLAIN.step("mode", "change the mode of", &self.path, || {
            let mode = self.file.metadata()?.permissions().mode();
            self.file.set_permissions(Permissions::from_mode(mode | (mode & READABLE) >> 2))
        })
    }

    /// The open file, for locks and times.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The open file, for a child process.
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
