//! Our own plain NIfTI files, mapped into memory: no copy, and pages shared between processes.

use super::ImageFile;
use super::header::{Datatype, Header, open};
use crate::error::{Error, Result};
use memmap2::Mmap;
use std::fs::File;
use std::path::Path;

/// A plain (uncompressed) NIfTI file in memory. Its length was checked against its header.
#[derive(Debug)]
pub struct Mapped {
    map: Mmap,
    header: Header,
}

impl Mapped {
    /// Maps the file. Errors call it `name`.
    pub fn open(path: &Path, name: &str) -> Result<Mapped> {
        let source = open(&ImageFile { header: path.to_path_buf(), voxels: None }, name)?;
        if source.compressed || !source.header.is_unscaled() || source.header.big_endian {
            return Err(Error::failed(format!(
                "{name}: is not a plain volume as this program writes; make it again"
            )));
        }
        let file = File::open(path).map_err(Error::io("open", path))?;
        // SAFETY: stored volumes are never changed in place (mode 0444), so the mapping stays
        // valid.
        let map = unsafe { Mmap::map(&file) }.map_err(Error::io("map", path))?;
        if map.len() < source.header.file_bytes() {
            return Err(Error::failed(format!("{name}: changed while it was opened; try again")));
        }
        Ok(Mapped { map, header: source.header })
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// X, Y, Z.
    pub fn shape(&self) -> [usize; 3] {
        self.header.shape
    }

    /// Number of channels.
    pub fn channels(&self) -> usize {
        self.header.channels
    }

    /// The voxels of a float32 file: index = x + X·(y + Y·(z + Z·c)).
    pub fn f32s(&self) -> Result<&[f32]> {
        bytemuck::try_cast_slice(self.voxels(Datatype::F32)?).map_err(|error| {
            Error::failed(format!("a mapped volume does not lie on 4-byte boundaries: {error}"))
        })
    }

    /// The voxels of a uint8 file: index = x + X·(y + Y·z).
    pub fn u8s(&self) -> Result<&[u8]> {
        self.voxels(Datatype::U8)
    }

    fn voxels(&self, datatype: Datatype) -> Result<&[u8]> {
        if self.header.datatype != datatype {
            return Err(Error::failed(format!(
                "a mapped volume holds {:?} where {datatype:?} was expected; make it again",
                self.header.datatype
            )));
        }
        Ok(&self.map[self.header.offset..self.header.file_bytes()])
    }
}
