//! Unpacking tar and tar.gz from untrusted people.
//!
//! Refused: paths leading out, links, devices, duplicate names, archives ending early or growing
//! without end. Left out: hidden files and macOS's additions. Nothing is written outside the
//! folder.

use crate::context::Context;
use crate::dataset::name;
use crate::error::{Error, Result, Trouble};
use crate::record::Progress;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use voxflow_cache::disk::{FileWriter, create_folders};

/// Limits of unpacking.
#[derive(Clone, Copy, Debug)]
pub struct UnpackLimits {
    /// Bytes in all.
    pub bytes: u64,
    /// Bytes for each byte of the archive, looked at once 16 MiB have come out.
    pub ratio: f64,
}

const FREE: u64 = 16 << 20;

/// The most bytes between two members: headers, long names and fields, which the library keeps in
/// memory.
const MOST_NAME: u64 = 1 << 20;

/// Unpacks `archive` into the existing folder `to`; returns the names of the files.
pub fn unpack(
    archive: &Path,
    to: &Path,
    limits: &UnpackLimits,
    cx: &Context,
) -> Result<BTreeSet<String>> {
    let mut file = File::open(archive).map_err(Error::io("open", archive))?;
    let size = file.metadata().map_err(Error::io("read", archive))?.len();
    let gzip = format(&mut file)?;
    let allowed = limits.bytes.min(FREE.max((size as f64 * limits.ratio) as u64));
    let (read, endless) = (AtomicU64::new(0), AtomicU64::new(u64::MAX));
    let counted = Counted {
        inner: BufReader::with_capacity(1 << 20, file),
        count: &read,
        limit: u64::MAX,
        pause: &endless,
    };
    let inner: Box<dyn Read + '_> = match gzip {
        true => Box::new(flate2::bufread::MultiGzDecoder::new(BufReader::new(counted))),
        false => Box::new(counted),
    };
    let (out, pause) = (AtomicU64::new(0), AtomicU64::new(MOST_NAME));
    let mut tar = tar::Archive::new(Counted { inner, count: &out, limit: allowed, pause: &pause });
    let mut unpacked = Unpacked { to, names: BTreeSet::new(), allowed, left: allowed };
    for entry in tar.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        cx.check_stop()?;
        // What is left out of this member is passed over on the way to the next one.
        let next =
            out.load(Ordering::Relaxed).saturating_add(entry.size()).saturating_add(MOST_NAME);
        pause.store(next, Ordering::Relaxed);
        unpacked.add(&mut entry, cx)?;
        let done = read.load(Ordering::Relaxed).min(size);
        cx.progress(Progress { done, total: Some(size), unit: "bytes".into(), numbers: vec![] });
    }
    match unpacked.names.is_empty() {
        true => Err(Error::failed("has no files in it")),
        false => Ok(unpacked.names),
    }
}

/// The first file of a plain tar whose name is `name` in any folder, if it has at most `limit`
/// bytes; members are passed over without reading them. `None` without such a file, or if the
/// archive is packed.
pub fn member(archive: &Path, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
    let mut file = File::open(archive).map_err(Error::io("open", archive))?;
    if format(&mut file)? {
        return Ok(None);
    }
    let mut tar = tar::Archive::new(BufReader::new(file));
    for entry in tar.entries_with_seek().map_err(broken)? {
        let entry = entry.map_err(broken)?;
        let path = entry.path_bytes().into_owned();
        let is_wanted = path.rsplit(|byte| *byte == b'/').next() == Some(name.as_bytes());
        if is_wanted && entry.header().entry_type().is_file() && entry.size() <= limit {
            let mut bytes = vec![];
            entry.take(limit).read_to_end(&mut bytes).map_err(broken)?;
            return Ok(Some(bytes));
        }
    }
    Ok(None)
}

/// The names of the plain files in an archive.
pub fn names(archive: &Path) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    each_member(archive, &mut |name, _| {
        names.insert(name.to_string());
        Ok(true)
    })?;
    Ok(names)
}

/// Unpacks the files of these names into the existing folder `to`, at most `limit` bytes in all.
pub fn extract(archive: &Path, names: &BTreeSet<String>, to: &Path, limit: u64) -> Result<()> {
    let (mut left, mut missing) = (limit, names.clone());
    each_member(archive, &mut |name, content| {
        if missing.remove(name) {
            let path = to.join(name);
            if let Some(folder) = path.parent() {
                create_folders(folder)?;
            }
            let mut file = FileWriter::create_new(&path).map_err(Error::of_foreign_name)?;
            left = left.checked_sub(copy(content, &mut file, left)?).ok_or_else(|| {
                Error::failed(format!("'{name}': unpacks to more than {limit} bytes"))
            })?;
        }
        Ok(!missing.is_empty())
    })
}

/// Copies a member; breaks off beyond `most` bytes. Returns the number of bytes written.
fn copy(content: &mut dyn Read, file: &mut FileWriter, most: u64) -> Result<u64> {
    let (mut buffer, mut written) = (vec![0; 1 << 18], 0);
    while written <= most {
        match content.read(&mut buffer).map_err(broken)? {
            0 => break,
            count => {
                file.write_bytes(&buffer[..count])?;
                written += count as u64;
            }
        }
    }
    Ok(written)
}

/// Receives a member's name and content; `false` ends the reading.
type Visitor<'a> = dyn FnMut(&str, &mut dyn Read) -> Result<bool> + 'a;

/// Visits the plain files of a tar or tar.gz in their order.
fn each_member(archive: &Path, visit: &mut Visitor) -> Result<()> {
    let mut file = File::open(archive).map_err(Error::io("open", archive))?;
    if format(&mut file)? {
        let unpacked = flate2::bufread::MultiGzDecoder::new(BufReader::new(file));
        let mut tar = tar::Archive::new(unpacked);
        return visit_all(tar.entries().map_err(broken)?, visit);
    }
    let mut tar = tar::Archive::new(BufReader::new(file));
    // What is not wanted is passed over without reading.
    visit_all(tar.entries_with_seek().map_err(broken)?, visit)
}

fn visit_all<R: Read>(entries: tar::Entries<'_, R>, visit: &mut Visitor) -> Result<()> {
    for entry in entries {
        let mut entry = entry.map_err(broken)?;
        if let Some(name) = wanted(&entry)?
            && !visit(&name, &mut entry)?
        {
            break;
        }
    }
    Ok(())
}

struct Unpacked<'a> {
    to: &'a Path,
    names: BTreeSet<String>,
    allowed: u64,
    /// Bytes that may still come. Written bytes count: the holes in a sparse file come out without
    /// being read.
    left: u64,
}

impl Unpacked<'_> {
    fn add<R: Read>(&mut self, entry: &mut tar::Entry<R>, cx: &Context) -> Result<()> {
        let Some(name) = wanted(entry)? else { return Ok(()) };
        if !self.names.insert(name.clone()) {
            return Err(Error::failed(format!("'{name}' is in it twice")));
        }
        let written = write(entry, &self.to.join(&name), &name, self.left, cx)?;
        let left = self.left.checked_sub(written);
        self.left = left.ok_or_else(|| Error::failed(too_much(self.allowed)))?;
        Ok(())
    }
}

/// True if it is gzip rather than plain tar, by its first bytes.
fn format(file: &mut File) -> Result<bool> {
    let mut head = vec![];
    file.take(512).read_to_end(&mut head).trouble("cannot read")?;
    file.rewind().trouble("cannot read")?;
    let known: [(&[u8], &str); 5] = [
        (b"PK", "zip"),
        (b"\xfd7zXZ", "xz"),
        (b"BZh", "bzip2"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (b"7z\xbc\xaf", "7-zip"),
    ];
    if let Some((_, other)) = known.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Err(Error::failed(format!("is {other}; tar and tar.gz can be unpacked")));
    }
    let gzip = head.starts_with(b"\x1f\x8b");
    if !gzip && (head.len() < 512 || !is_header(&head)) {
        return Err(Error::failed("is neither tar nor tar.gz"));
    }
    Ok(gzip)
}

/// True if a block has a tar header's checksum.
fn is_header(block: &[u8]) -> bool {
    let header = tar::Header::from_byte_slice(block);
    let sum: u32 = block
        .iter()
        .enumerate()
        .map(|(i, b)| if (148..156).contains(&i) { 32 } else { u32::from(*b) })
        .sum();
    header.cksum().is_ok_and(|said| said == sum)
}

/// The name for writing the entry; `None` to leave it out.
fn wanted<R: Read>(entry: &tar::Entry<R>) -> Result<Option<String>> {
    let kind = entry.header().entry_type();
    if kind.is_pax_global_extensions() || kind.is_pax_local_extensions() {
        return Ok(None);
    }
    let bytes = entry.path_bytes();
    let path = std::str::from_utf8(&bytes)
        .trouble(format!("path '{}'", String::from_utf8_lossy(&bytes)))?;
    if kind.is_dir() && matches!(path, "." | "./") {
        return Ok(None);
    }
    let name = name::relative(path)?;
    match kind {
        _ if name::is_hidden(&name) => Ok(None),
        tar::EntryType::Directory => Ok(None),
        tar::EntryType::Regular | tar::EntryType::Continuous | tar::EntryType::GNUSparse => {
            Ok(Some(name))
        }
        tar::EntryType::Symlink | tar::EntryType::Link => {
            Err(Error::failed(format!("'{name}' is a link; archives with links are refused")))
        }
        other => Err(Error::failed(format!(
            "'{name}' is no plain file (type {other:?}); such archives are refused"
        ))),
    }
}

/// Writes a member out, and breaks off beyond `most` bytes; returns how many were written.
fn write<R: Read>(
    entry: &mut tar::Entry<R>,
    path: &Path,
    name: &str,
    most: u64,
    cx: &Context,
) -> Result<u64> {
    if let Some(folder) = path.parent() {
        cx.create_folder(folder)?;
    }
    let mut file = FileWriter::create_new(path).map_err(Error::of_foreign_name)?;
    let (mut buffer, size, mut written) = (vec![0; 1 << 18], entry.size(), 0);
    while written < size && written <= most {
        cx.check_stop()?;
        match entry
            .read(&mut buffer)
            .map_err(|error| Error::failed(format!("'{name}': {}", broken(error))))?
        {
            0 => {
                return Err(Error::failed(format!(
                    "ends in the middle of '{name}'; fetch it again"
                )));
            }
            n => {
                file.write_bytes(&buffer[..n])?;
                written += n as u64;
            }
        }
    }
    Ok(written)
}

fn too_much(limit: u64) -> String {
    format!("unpacks to more than {limit} bytes; raise 'max_gib' or 'max_ratio' if that is right")
}

fn broken(error: std::io::Error) -> Error {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => Error::failed("ends early; fetch it again"),
        // The library's own words for an end within what it passes over, or within a header.
        _ if ["unexpected EOF", "entire block"]
            .iter()
            .any(|words| error.to_string().contains(words)) =>
        {
            Error::failed("ends early; fetch it again")
        }
        _ => Error::failed(error.to_string()),
    }
}

/// Counts what is read, and refuses to read more than `limit` in all, or beyond `pause`, by which
/// the next member must have come.
struct Counted<'a, R> {
    inner: R,
    count: &'a AtomicU64,
    limit: u64,
    pause: &'a AtomicU64,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(buffer)?;
        let count = self.count.fetch_add(n as u64, Ordering::Relaxed) + n as u64;
        if count > self.pause.load(Ordering::Relaxed) {
            let words = format!(
                "has a name of more than {MOST_NAME} bytes; fetch it again, or is it meant to harm?"
            );
            return Err(std::io::Error::other(words));
        }
        if count > self.limit {
            return Err(std::io::Error::other(too_much(self.limit)));
        }
        Ok(n)
    }
}
