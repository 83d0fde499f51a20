//! Entries: what was made under each fingerprint, one JSON file each, with a digest of itself.
//!
//! This file reads, checks and writes them; when one may be replaced is the publisher's business.

use crate::artifact::{Artifact, FileStat};
use crate::clock::Clock;
use crate::disk;
use crate::error::{Error, Result};
use crate::hash::{Digest, Fingerprint};
use crate::layout;
use crate::listed::Listed;
use crate::recipe::Recipe;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// An entry is marked as used again only after this time, so that look-ups hardly ever write.
const USE_GRAIN: Duration = Duration::from_secs(600);

/// The record of one making.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The recipe's fingerprint.
    pub fingerprint: Fingerprint,
    /// The recipe.
    pub recipe: Recipe,
    /// The files that were made.
    pub artifact: Artifact,
    /// Opaque data of the maker: metrics, device, versions.
    pub record: Value,
    /// The items that were recalled on the way.
    pub items: Vec<Fingerprint>,
    /// When it was made, in seconds since 1970.
    pub made_at: u64,
    /// Wall time of the making.
    pub seconds: f64,
}

/// The folder of entries.
#[derive(Debug)]
pub(crate) struct Entries {
    pub(crate) folder: PathBuf,
    /// The clock by which an entry was used lately.
    pub(crate) clock: Arc<Clock>,
    /// Set on file systems that remember names as missing.
    pub(crate) listed: Option<Listed>,
    /// Folder for damaged files; `None` where nothing may be moved or marked as used.
    pub(crate) bad: Option<PathBuf>,
}

/// Result of reading an entry's file.
enum EntryFile {
    Nothing,
    Good(Box<Entry>),
    Bad(String, FileStat),
}

impl Entries {
    /// The file of `fingerprint`'s entry.
    pub(crate) fn path(&self, fingerprint: &Fingerprint) -> PathBuf {
        layout::fan(&self.folder, &fingerprint.to_hex()).with_extension("json")
    }

    /// The entry of `fingerprint`, marked as used. A damaged one is set aside, reported, and
    /// absent.
    pub(crate) fn get(&self, fingerprint: &Fingerprint) -> Result<Option<Entry>> {
        let path = self.path(fingerprint);
        if let Some(listed) = &self.listed
            && !listed.shows(&path)?
        {
            return Ok(None);
        }
        match look(&path, self.bad.as_ref().map(|_| &*self.clock))? {
            EntryFile::Nothing => Ok(None),
            EntryFile::Good(entry) => Ok(Some(*entry)),
            EntryFile::Bad(trouble, stat) => self.refuse(&path, &trouble, &stat).map(|()| None),
        }
    }

    /// The error of the entry in a file, if any. Nothing is marked or moved.
    pub(crate) fn trouble(&self, path: &Path) -> Result<Option<(String, FileStat)>> {
        match look(path, None)? {
            EntryFile::Bad(trouble, stat) => Ok(Some((trouble, stat))),
            EntryFile::Nothing | EntryFile::Good(_) => Ok(None),
        }
    }

    /// All entries. Damaged ones are set aside, reported, and left out.
    pub(crate) fn all(&self) -> impl Iterator<Item = Result<Entry>> {
        let (paths, error) = match layout::files(&self.folder) {
            Ok(paths) => (paths, None),
            Err(error) => (vec![], Some(Err(error))),
        };
        paths.into_iter().filter_map(move |path| self.at(&path).transpose()).chain(error)
    }

    /// The entry in a file, not marked as used. A damaged one is set aside, reported, and absent.
    pub(crate) fn at(&self, path: &Path) -> Result<Option<Entry>> {
        match look(path, None)? {
            EntryFile::Nothing => Ok(None),
            EntryFile::Good(entry) => Ok(Some(*entry)),
            EntryFile::Bad(trouble, stat) => self.refuse(path, &trouble, &stat).map(|()| None),
        }
    }

    /// Writes an entry into `file` (not yet where it is looked for) and syncs it.
    pub(crate) fn write(&self, entry: &Entry, file: &Path) -> Result<()> {
        let text = encode(entry)?;
        disk::ENTRY.write_new(file, &text)
    }

    fn refuse(&self, path: &Path, trouble: &str, stat: &FileStat) -> Result<()> {
        let Some(bad) = &self.bad else { return Ok(()) };
        tracing::warn!("{}: {trouble}; set aside, it will be made again", path.display());
        layout::set_aside(path, stat, bad)
    }
}

/// `{"digest":"<64 hex digits>","entry":{…}}`: the digest is that of the entry's bytes as they
/// stand.
fn encode(entry: &Entry) -> Result<Vec<u8>> {
    let body =
        serde_json::to_string(entry).map_err(|error| Error::Other(format!("entry: {error}")))?;
    Ok(format!("{}{body}}}\n", head(&body)).into_bytes())
}

fn head(body: &str) -> String {
    format!("{{\"digest\":\"{}\",\"entry\":", Digest::of(body.as_bytes()))
}

fn decode(text: &str) -> Result<Entry, String> {
    let broken = || "this entry is damaged".to_string();
    let body = text.strip_suffix("}\n").ok_or_else(broken)?;
    let body = body.get(head("").len()..).ok_or_else(broken)?;
    if !text.starts_with(&head(body)) {
        return Err(broken());
    }
    serde_json::from_str(body).map_err(|error| format!("this entry cannot be read: {error}"))
}

/// Reads and checks the entry in `path`, and marks it as used by the clock, if given.
fn look(path: &Path, clock: Option<&Clock>) -> Result<EntryFile> {
    let mut file = match disk::open(path) {
        Err(error) if error.io_kind() == Some(ErrorKind::NotFound) => {
            return Ok(EntryFile::Nothing);
        }
        file => file.map_err(Error::in_store)?,
    };
    let metadata = file.metadata().map_err(Error::io("look at", path))?;
    let mut text = Vec::with_capacity(metadata.len() as usize + 1);
    file.read_to_end(&mut text).map_err(Error::io("read", path))?;
    let entry = String::from_utf8(text)
        .map_err(|_| "this entry is damaged".to_string())
        .and_then(|text| decode(&text));
    match entry.and_then(|entry| belongs(entry, path)) {
        Ok(entry) => {
            if let Some(clock) = clock {
                mark_used(&file, metadata.modified().ok(), clock);
            }
            Ok(EntryFile::Good(Box::new(entry)))
        }
        Err(trouble) => Ok(EntryFile::Bad(trouble, FileStat::from(&metadata))),
    }
}

/// The entry, if it is the one that the file's name promises.
fn belongs(entry: Entry, path: &Path) -> Result<Entry, String> {
    let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
    match entry.recipe.fingerprint() {
        truth if truth == entry.fingerprint && truth.to_hex() == name => Ok(entry),
        truth => Err(format!("this entry is of recipe {}", truth.short())),
    }
}

/// The last use of an entry is its file's time of modification. Where it cannot be set, nothing is
/// lost but gc's order.
fn mark_used(file: &File, last: Option<SystemTime>, clock: &Clock) {
    if last.is_some_and(|last| clock.age(last) > USE_GRAIN) {
        disk::touch(file);
    }
}
