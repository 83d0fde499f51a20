//! Torch's zip archives, written: members stored as they are, numbers aligned, always the same
//! bytes.

use crate::error::{Result, Trouble};
use crate::model::weights::StateDict;
use std::io::{Cursor, Write};
use zip::write::{SimpleFileOptions, ZipWriter};
use zip::{CompressionMethod, DateTime};

/// An archive in the making. Its members lie in the folder `model`.
pub struct ArchiveWriter {
    zip: ZipWriter<Cursor<Vec<u8>>>,
}

impl ArchiveWriter {
    /// Alignment that torch wants for tensor data.
    const ALIGNMENT: u16 = 64;

    /// Starts an archive with `data.pkl`, its table of contents.
    pub fn new(pickle: &[u8]) -> Result<ArchiveWriter> {
        let mut archive = ArchiveWriter { zip: ZipWriter::new(Cursor::new(vec![])) };
        archive.add("data.pkl", pickle)?;
        Ok(archive)
    }

    /// Adds a member.
    pub fn add(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .last_modified_time(DateTime::default())
            .large_file(bytes.len() >= u32::MAX as usize)
            .with_alignment(Self::ALIGNMENT);
        self.zip.start_file(format!("model/{name}"), options).trouble(name)?;
        self.zip.write_all(bytes).trouble(name)
    }

    /// Adds all tensors' numbers by index, and the archive's trailing members.
    pub fn finish(mut self, tensors: &StateDict) -> Result<Vec<u8>> {
        self.add("byteorder", b"little")?;
        for (index, (_, numbers)) in tensors.iter().enumerate() {
            self.add(&format!("data/{index}"), &numbers.bytes())?;
        }
        self.add("version", b"3\n")?;
        Ok(self.zip.finish().trouble("archive")?.into_inner())
    }
}

/// The class of a tensor's storage.
pub fn storage(counter: bool) -> &'static str {
    if counter { "LongStorage" } else { "FloatStorage" }
}
