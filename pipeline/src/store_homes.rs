//! The homes that use a store: a small file for each in the store's folder `homes`, so that `cache
//! gc` in one home keeps what the runs of the others need.

use crate::exit::{Error, Result};
use crate::home::Home;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};
use voxflow_cache::Digest;

/// A home, as a run of it wrote it down.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Registered {
    /// The home's absolute path.
    home: PathBuf,
    /// The machine on which that path leads to it.
    host: String,
}

/// Writes down that a home uses its store. A store that cannot be written to has nothing that could
/// be collected by its reader, so failing is no error.
pub fn register(home: &Home) {
    let Ok(root) = std::path::absolute(home.root()) else { return };
    let path = folder(home.store()).join(format!("{}.json", name_of(&root)));
    if path.exists() {
        return;
    }
    let text = serde_json::to_string(&Registered { home: root, host: host() }).unwrap_or_default();
    let part = path.with_extension(format!("{}.part", std::process::id()));
    let written = fs::create_dir_all(folder(home.store()))
        .and_then(|()| fs::write(&part, text))
        .and_then(|()| fs::rename(&part, &path));
    if let Err(error) = written {
        tracing::debug!("{}: {error}", path.display());
    }
}

/// The other homes that use the store and still exist. An error where one is out of reach, so that
/// nobody can say what it needs.
pub fn others(home: &Home) -> Result<Vec<Home>> {
    let own = std::path::absolute(home.root()).unwrap_or_default();
    let mut found = vec![];
    for entry in fs::read_dir(folder(home.store())).into_iter().flatten().flatten() {
        let text = fs::read(entry.path()).unwrap_or_default();
        let Ok(other) = serde_json::from_slice::<Registered>(&text) else { continue };
        let is_there = other.home.join("runs").is_dir();
        if other.home == own || (!is_there && other.host == host()) {
            continue;
        }
        if !is_there {
            return Err(out_of_reach(&other));
        }
        found.push(Home::new(&other.home, Some(home.store())));
    }
    Ok(found)
}

fn out_of_reach(other: &Registered) -> Error {
    Error::usage(format!(
        "the home {} of host '{}' uses this store too and cannot be looked at from here: what it needs \
         is not known; run gc there, or say with '--older-than AGE' what may go by its last use",
        other.home.display(),
        other.host
    ))
}

fn folder(store: &Path) -> PathBuf {
    store.join("homes")
}

fn name_of(root: &Path) -> String {
    Digest::of(format!("{} {}", host(), root.display()).as_bytes()).to_hex()[..16].to_string()
}

fn host() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_string()
}
