//! Torch's zip archives: `<folder>/data.pkl` and, stored as they are, `<folder>/data/<key>`.

use crate::error::{Error, Result, Trouble};
use std::collections::BTreeMap;
use std::io::Cursor;
use zip::{CompressionMethod, ZipArchive};

/// An archive's members, in place.
#[derive(Debug)]
pub struct TorchArchive<'a> {
    bytes: &'a [u8],
    members: BTreeMap<String, ArchiveMember>,
    folder: String,
}

#[derive(Clone, Copy, Debug)]
struct ArchiveMember {
    start: usize,
    size: usize,
    crc: u32,
    /// Neither compressed nor encrypted.
    plain: bool,
}

impl<'a> TorchArchive<'a> {
    /// Reads the directory of an archive.
    pub fn open(bytes: &'a [u8]) -> Result<TorchArchive<'a>> {
        let mut zip = ZipArchive::new(Cursor::new(bytes)).trouble("zip archive")?;
        let mut members = BTreeMap::new();
        for index in 0..zip.len() {
            let file = zip.by_index_raw(index).trouble("zip archive")?;
            let plain = file.compression() == CompressionMethod::Stored && !file.encrypted();
            // Larger numbers than memory has fail when the member is read.
            let [start, size] = [file.data_start(), file.compressed_size()]
                .map(|number| usize::try_from(number).unwrap_or(usize::MAX));
            let member = ArchiveMember { start, size, crc: file.crc32(), plain };
            let name = file.name().to_string();
            if members.insert(name.clone(), member).is_some() {
                return Err(Error::failed(format!("zip archive: '{name}' is there twice")));
            }
        }
        let mut pickles = members.keys().filter_map(|name| name.strip_suffix("/data.pkl"));
        let folder = match (pickles.next(), pickles.next()) {
            (Some(folder), None) => folder.to_string(),
            _ => {
                return Err(Error::failed(
                    "zip archive: is none of torch's, which hold one 'data.pkl'",
                ));
            }
        };
        let archive = TorchArchive { bytes, members, folder };
        archive.check_order()?;
        Ok(archive)
    }

    /// True for TorchScript, with code beside the weights.
    pub fn is_torchscript(&self) -> bool {
        self.members.contains_key(&format!("{}/constants.pkl", self.folder))
    }

    /// The pickle with the table of contents.
    pub fn pickle(&self) -> Result<&'a [u8]> {
        self.member("data.pkl")
    }

    /// The bytes of a storage.
    pub fn storage(&self, key: &str) -> Result<&'a [u8]> {
        self.member(&format!("data/{key}"))
    }

    /// An error if the numbers were stored by a machine of the other byte order.
    fn check_order(&self) -> Result<()> {
        let name = format!("{}/byteorder", self.folder);
        if self.members.contains_key(&name) && self.member("byteorder")? != b"little" {
            return Err(Error::failed(
                "zip archive: its numbers are big-endian; save it again on a usual machine",
            ));
        }
        Ok(())
    }

    /// A member's bytes, if their checksum is right.
    fn member(&self, name: &str) -> Result<&'a [u8]> {
        let refuse = |what: &str| Error::failed(format!("zip archive: '{name}' {what}"));
        let member = self.members.get(&format!("{}/{name}", self.folder));
        let member = member.ok_or_else(|| refuse("is not there"))?;
        if !member.plain {
            return Err(refuse("is compressed or encrypted, which torch's archives are not"));
        }
        let end = member.start.checked_add(member.size).filter(|end| *end <= self.bytes.len());
        let bytes = end
            .map(|end| &self.bytes[member.start..end])
            .ok_or_else(|| refuse("leaves the file"))?;
        if crc32fast::hash(bytes) != member.crc {
            return Err(refuse(
                "has not the bytes that its checksum is of: the file is damaged; fetch or save it \
                 again",
            ));
        }
        Ok(bytes)
    }
}
