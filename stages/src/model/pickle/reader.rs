//! Bytes in a row, never read beyond their end.

use crate::error::{Error, Result};

/// A place in bytes.
#[derive(Clone, Copy, Debug)]
pub struct PickleReader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> PickleReader<'a> {
    /// At the start of the bytes.
    pub fn new(bytes: &'a [u8]) -> PickleReader<'a> {
        PickleReader { bytes, at: 0 }
    }

    /// Bytes read so far.
    pub fn at(&self) -> usize {
        self.at
    }

    /// The next `count` bytes.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let end = self.at.checked_add(count).filter(|end| *end <= self.bytes.len());
        let Some(end) = end else {
            let left = self.bytes.len() - self.at;
            return Err(Error::failed(format!(
                "it ends too early: {count} bytes are missing where {left} are left"
            )));
        };
        let part = &self.bytes[self.at..end];
        self.at = end;
        Ok(part)
    }

    /// The next bytes as an array.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// The next byte.
    pub fn byte(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    /// A length in `N` little-endian bytes.
    pub fn length<const N: usize>(&mut self) -> Result<usize> {
        let mut wide = [0; 8];
        wide[..N].copy_from_slice(&self.array::<N>()?);
        usize::try_from(u64::from_le_bytes(wide)).map_err(|_| Error::failed("a length overflows"))
    }

    /// Text of `count` bytes.
    pub fn text(&mut self, count: usize) -> Result<&'a str> {
        std::str::from_utf8(self.take(count)?).map_err(|_| Error::failed("a text is not UTF-8"))
    }

    /// The text up to the next line break, which is passed.
    pub fn line(&mut self) -> Result<&'a str> {
        const LONGEST: usize = 4096;
        let rest = &self.bytes[self.at..];
        let Some(end) = rest.iter().take(LONGEST).position(|byte| *byte == b'\n') else {
            return Err(Error::failed("a name has no end"));
        };
        let line = self.text(end)?;
        self.at += 1;
        Ok(line)
    }
}
