//! Homes sharing a store: `cache gc` must keep entries needed by runs in other homes. In the
//! store's folder `homes`, a JSON file per home gives its path, and a `.needs` file lists its runs'
//! fingerprints for processes that cannot read the home (other hosts, other users).

use crate::error::{Error, Result};
use crate::event::{Event, Fact, Observer};
use crate::home::Home;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use voxflow_cache::disk::{self, FileWriter};
use voxflow_cache::{Digest, Fingerprint};

/// A registered home.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct HomeRecord {
    /// Absolute path.
    home: PathBuf,
    /// Host for which the path is valid.
    host: String,
}

/// Another home using the store.
#[derive(Clone, Debug)]
pub struct Other {
    /// Path, with the host if different.
    pub name: String,
    /// Set if its runs are readable from here.
    pub home: Option<Home>,
    /// Fingerprints listed in its `.needs` file.
    pub listed: Option<HashSet<Fingerprint>>,
}

/// Registers a home with its store. Failure is only logged: from an unwritable store nothing can be
/// collected.
pub fn register(home: &Home) {
    let Ok(root) = std::path::absolute(home.root()) else { return };
    let path = file_of(home, &root);
    if path.exists() {
        return;
    }
    let text = serde_json::to_string(&HomeRecord { home: root, host: host() }).unwrap_or_default();
    if let Err(error) = replace(&path, text.as_bytes()) {
        tracing::debug!("{error}");
    }
}

/// Other existing homes. Removed homes are unregistered if `forget`.
pub fn others(home: &Home, forget: bool) -> Result<Vec<Other>> {
    let own = file_of(home, &std::path::absolute(home.root()).unwrap_or_default());
    let mut found = vec![];
    for entry in fs::read_dir(folder(home.store())).into_iter().flatten().flatten() {
        let path = entry.path();
        if path == own || path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let text = fs::read(&path).map_err(Error::io("read", &path))?;
        let other: HomeRecord = serde_json::from_slice(&text).map_err(|_| {
            let words = "does not say which home uses the store; remove the file if none does";
            Error::Storage(format!("{}: {words}", path.display()))
        })?;
        let needs = path.with_extension(NEEDS);
        match presence(&other) {
            HomePresence::Removed if forget => {
                [&path, &needs].into_iter().for_each(|path| drop(disk::remove(path)));
            }
            HomePresence::Removed => {}
            seen => found.push(Other {
                home: matches!(seen, HomePresence::Here)
                    .then(|| Home::new(&other.home, Some(home.store()))),
                listed: read(&needs),
                name: if other.host == host() {
                    other.home.display().to_string()
                } else {
                    format!("{} of host '{}'", other.home.display(), other.host)
                },
            }),
        }
    }
    Ok(found)
}

/// Replaces a home's list of needed fingerprints.
pub fn list_anew(home: &Home, needs: &HashSet<Fingerprint>) {
    let path = needs_of(home);
    let bytes: Vec<u8> = needs.iter().flat_map(|need| *need.as_bytes()).collect();
    if path.exists()
        && let Err(error) = replace(&path, &bytes)
    {
        tracing::debug!("{error}");
    }
}

impl Other {
    /// Error for a home whose needs are unknown.
    pub fn out_of_reach(&self) -> Error {
        Error::usage(format!(
            "the home {} uses this store too and cannot be looked at from here: what it needs is \
             not known; run gc there, or say with '--older-than AGE' what may go by its last use",
            self.name
        ))
    }
}

/// Appends needed fingerprints as stages become known.
pub struct Needs {
    file: PathBuf,
    listed: HashSet<Fingerprint>,
}

impl Needs {
    /// List of a home, with the artifacts of earlier runs that a run reads.
    pub fn of(home: &Home, earlier: impl Iterator<Item = Fingerprint>) -> Needs {
        let file = needs_of(home);
        let mut needs = Needs { listed: read(&file).unwrap_or_default(), file };
        earlier.for_each(|fingerprint| needs.add(&fingerprint));
        needs
    }

    fn add(&mut self, fingerprint: &Fingerprint) {
        if !self.listed.insert(*fingerprint) {
            return;
        }
        let added = FileWriter::append(&self.file)
            .and_then(|mut file| file.write_bytes(fingerprint.as_bytes()));
        if let Err(error) = added {
            tracing::debug!("{error}");
        }
    }
}

impl Observer for Needs {
    fn observe(&mut self, event: &Event) -> Result<()> {
        match &event.fact {
            Fact::StageStarted { fingerprint, .. } => self.add(fingerprint),
            Fact::StageFinished(finished) => {
                finished.fingerprint.iter().for_each(|fingerprint| self.add(fingerprint));
            }
            _ => {}
        }
        Ok(())
    }
}

enum HomePresence {
    /// Its runs are readable.
    Here,
    Removed,
    /// On another host, a lost mount, or in a private folder.
    Unseen,
}

/// True if the folder that held a home is there: the home itself was removed then.
fn folder_is_there(home: &Path) -> bool {
    home.parent().is_some_and(Path::is_dir)
}

/// Judges a home's visibility. Paths from other hosts are meaningless here, even if they exist.
fn presence(other: &HomeRecord) -> HomePresence {
    if other.host != host() {
        return HomePresence::Unseen;
    }
    match fs::read_dir(other.home.join("runs")) {
        Ok(_) => HomePresence::Here,
        Err(error) if error.kind() == ErrorKind::NotFound && folder_is_there(&other.home) => {
            HomePresence::Removed
        }
        Err(_) => HomePresence::Unseen,
    }
}

/// Extension for lists of needed fingerprints.
const NEEDS: &str = "needs";

fn needs_of(home: &Home) -> PathBuf {
    let root = std::path::absolute(home.root()).unwrap_or_default();
    file_of(home, &root).with_extension(NEEDS)
}

fn read(needs: &Path) -> Option<HashSet<Fingerprint>> {
    let bytes = fs::read(needs).ok()?;
    let (whole, _) = bytes.as_chunks::<32>();
    Some(whole.iter().map(|bytes| Fingerprint::from_bytes(*bytes)).collect())
}

fn replace(path: &Path, bytes: &[u8]) -> voxflow_cache::Result<()> {
    disk::create_folders(path.parent().unwrap_or(path))?;
    disk::replace(path, bytes)
}

fn folder(store: &Path) -> PathBuf {
    store.join("homes")
}

fn file_of(home: &Home, root: &Path) -> PathBuf {
    folder(home.store()).join(format!("{}.json", name_of(root)))
}

fn name_of(root: &Path) -> String {
    Digest::of(format!("{} {}", host(), root.display()).as_bytes()).to_hex()[..16].to_string()
}

fn host() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_string()
}
