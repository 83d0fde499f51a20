//! Entries: one JSON file per fingerprint, protected by its own digest.
//!
//! Reads, checks and writes entries; `publish` decides about replacing.

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

/// Last-use times are updated at most this often; look-ups rarely write.
const USE_GRAIN: Duration = Duration::from_secs(600);

/// Record about a made artifact.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Fingerprint of the recipe.
    pub fingerprint: Fingerprint,
    /// Full recipe, for explanations.
    pub recipe: Recipe,
    /// Files made.
    pub artifact: Artifact,
    /// Maker's own data: metrics, device, versions.
    pub record: Value,
    /// Items recalled during making.
    pub items: Vec<Fingerprint>,
    /// Creation time, seconds since 1970.
    pub made_at: u64,
    /// Wall time in seconds.
    pub seconds: f64,
}

/// Folder of entries.
#[derive(Debug)]
pub(crate) struct Entries {
    pub(crate) folder: PathBuf,
    /// Clock for last-use times.
    pub(crate) clock: Arc<Clock>,
    /// Set on file systems with negative lookup caches.
    pub(crate) listed: Option<Listed>,
    /// Folder for damaged files; `None` in read-only stores, which also skip last-use marks.
    pub(crate) bad: Option<PathBuf>,
}

/// Result of reading an entry's file.
enum EntryFile {
    Nothing,
    Good(Box<Entry>),
    Bad(String, FileStat),
}

impl Entries {
    /// File for a fingerprint's entry.
    pub(crate) fn path(&self, fingerprint: &Fingerprint) -> PathBuf {
        layout::fan(&self.folder, &fingerprint.to_hex()).with_extension("json")
    }

    /// Reads an entry and marks it as used. Damaged entries are set aside, logged, and count as
    /// missing.
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

    /// Damage in an entry's file, if any. Marks and moves nothing.
    pub(crate) fn trouble(&self, path: &Path) -> Result<Option<(String, FileStat)>> {
        match look(path, None)? {
            EntryFile::Bad(trouble, stat) => Ok(Some((trouble, stat))),
            EntryFile::Nothing | EntryFile::Good(_) => Ok(None),
        }
    }

    /// All entries. Damaged entries are set aside, logged and skipped.
    pub(crate) fn all(&self) -> impl Iterator<Item = Result<Entry>> {
        let (paths, error) = match layout::files(&self.folder) {
            Ok(paths) => (paths, None),
            Err(error) => (vec![], Some(Err(error))),
        };
        paths.into_iter().filter_map(move |path| self.at(&path).transpose()).chain(error)
    }

    /// Reads an entry without marking its use. Damaged entries are set aside, logged, and count as
    /// missing.
    pub(crate) fn at(&self, path: &Path) -> Result<Option<Entry>> {
        match look(path, None)? {
            EntryFile::Nothing => Ok(None),
            EntryFile::Good(entry) => Ok(Some(*entry)),
            EntryFile::Bad(trouble, stat) => self.refuse(path, &trouble, &stat).map(|()| None),
        }
    }

    /// Writes and fsyncs an entry to `file`, a temporary name.
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

/// Serialises as `{"digest":"<64 hex digits>","entry":{…}}`; the digest covers the entry's bytes as
/// written.
fn encode(entry: &Entry) -> Result<Vec<u8>> {
    let body =
        serde_json::to_string(entry).map_err(|error| Error::Other(format!("entry: {error}")))?;
    Ok(format!("{}{body}}}\n", head(&body)).into_bytes())
}

fn head(body: &str) -> String {
    format!("{{\"digest\":\"{}\",\"entry\":", Digest::of(body.as_bytes()))
}

const DAMAGED: &str = "this entry is damaged";

fn decode(text: &str) -> Result<Entry, String> {
    let body = text.strip_suffix("}\n").ok_or(DAMAGED)?;
    let body = body.get(head("").len()..).ok_or(DAMAGED)?;
    if !text.starts_with(&head(body)) {
        return Err(DAMAGED.to_string());
    }
    serde_json::from_str(body).map_err(|error| format!("this entry cannot be read: {error}"))
}

/// Reads and checks an entry; marks it as used if given a clock.
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
    let entry =
        String::from_utf8(text).map_err(|_| DAMAGED.to_string()).and_then(|text| decode(&text));
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

/// Checks that recipe, fingerprint and file name agree.
fn belongs(entry: Entry, path: &Path) -> Result<Entry, String> {
    let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
    match entry.recipe.fingerprint() {
        truth if truth == entry.fingerprint && truth.to_hex() == name => Ok(entry),
        truth => Err(format!("this entry is of recipe {}", truth.short())),
    }
}

/// Stores the last use as modification time. If this fails, only gc's order suffers.
fn mark_used(file: &File, last: Option<SystemTime>, clock: &Clock) {
    if last.is_some_and(|last| clock.age(last) > USE_GRAIN) {
        disk::touch(file);
    }
}
