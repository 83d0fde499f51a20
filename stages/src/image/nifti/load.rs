//! A file's voxel bytes in memory, unpacked if compressed.

use super::ImageFile;
use super::header::{Header, HeaderSource, open};
use crate::error::{Error, Result, Trouble};
use flate2::read::MultiGzDecoder;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

/// Memory for reading files, used again from one file to the next: asking the system for as much
/// anew takes as long as half of the unpacking.
#[derive(Debug, Default)]
pub struct Scratch {
    packed: Vec<u8>,
    whole: Vec<u8>,
}

/// The header, and the bytes of the voxels alone. No more is ever decompressed than the header
/// promises.
pub(super) fn load<'a>(
    file: &ImageFile,
    name: &str,
    scratch: &'a mut Scratch,
) -> Result<(Header, &'a [u8])> {
    let source = open(file, name)?;
    let (header, path) = (source.header.clone(), &source.path);
    let voxels = if source.compressed {
        &inflate(path, name, &source, scratch)?[header.offset..]
    } else {
        plain(path, name, &source, scratch)?
    };
    Ok((header, voxels))
}

fn plain<'a>(
    path: &Path,
    name: &str,
    source: &HeaderSource,
    scratch: &'a mut Scratch,
) -> Result<&'a [u8]> {
    let header = &source.header;
    let mut file = File::open(path).map_err(Error::io("open", path))?;
    file.seek(SeekFrom::Start(header.offset as u64)).map_err(Error::io("read", path))?;
    let voxels = room(&mut scratch.whole, header.file_bytes() - header.offset, name)?;
    file.read_exact(voxels).map_err(Error::io("read", path))?;
    Ok(voxels)
}

/// A single gzip member of the promised size goes through libdeflate at once; anything else
/// (several members, bytes after the voxels, damage) goes through a stream with exact errors.
fn inflate<'a>(
    path: &Path,
    name: &str,
    source: &HeaderSource,
    scratch: &'a mut Scratch,
) -> Result<&'a [u8]> {
    let packed = room(&mut scratch.packed, source.bytes as usize, name)?;
    let file = File::open(path).map_err(Error::io("open", path))?;
    let length = file.metadata().map_err(Error::io("look at", path))?.len();
    if length != source.bytes || (&file).read_exact(packed).is_err() {
        return Err(Error::failed(format!("{name}: changed while it was read; try again")));
    }
    let whole = room(&mut scratch.whole, source.header.file_bytes(), name)?;
    let inflated = libdeflater::Decompressor::new().gzip_decompress(packed, whole);
    if inflated != Ok(whole.len()) {
        let mut stream = MultiGzDecoder::new(BufReader::new(&*packed));
        stream
            .read_exact(whole)
            .trouble(format!("{name}: its gzip stream is damaged or cut short"))?;
        // One byte more makes the decoder compare the checksum where the stream ends here.
        stream.read(&mut [0]).trouble(format!("{name}: its gzip stream is damaged"))?;
    }
    Ok(whole)
}

/// A buffer's first `bytes` bytes; it grows to hold them.
fn room<'a>(buffer: &'a mut Vec<u8>, bytes: usize, name: &str) -> Result<&'a mut [u8]> {
    if buffer.len() < bytes {
        *buffer = vec![];
        buffer.try_reserve_exact(bytes).trouble(format!("{name}: no memory for {bytes} bytes"))?;
        buffer.resize(bytes, 0);
    }
    Ok(&mut buffer[..bytes])
}
