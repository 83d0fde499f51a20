//! Inventory: entries with their blobs and last use, and existing blobs. Refreshing reads only new
//! or touched entries.

use crate::artifact::FileStat;
use crate::entries::{Entries, Entry};
use crate::error::Result;
use crate::hash::{Digest, Fingerprint};
use crate::layout;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

/// Entries and blobs in a store.
#[derive(Default)]
pub(crate) struct Inventory {
    known: HashMap<Fingerprint, Known>,
    /// Number of entries naming each blob.
    names: HashMap<Digest, usize>,
    /// Existing blobs and their sizes.
    pub(crate) blobs: HashMap<Digest, u64>,
}

/// An entry's data relevant for removal.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) kind: String,
    pub(crate) items: Vec<Fingerprint>,
    /// Blobs inside the store, without duplicates.
    pub(crate) blobs: Vec<Digest>,
    /// The entry file's stat; its modification time is the last use.
    pub(crate) stat: FileStat,
    pub(crate) path: PathBuf,
}

impl Inventory {
    /// Reads all entries and lists all blobs.
    pub(crate) fn of(entries: &Entries, blobs: &Path) -> Result<Inventory> {
        let mut survey = Inventory::default();
        survey.refresh(entries)?;
        for path in layout::files(blobs)? {
            if let (Some(digest), Some(stat)) = (named_digest(&path), FileStat::of(&path)?) {
                survey.blobs.insert(digest, stat.size);
            }
        }
        Ok(survey)
    }

    /// Reads new and touched entries, drops vanished ones. Damaged entries are set aside.
    pub(crate) fn refresh(&mut self, entries: &Entries) -> Result<()> {
        let mut there = HashSet::new();
        for path in layout::files(&entries.folder)? {
            let (Some(fingerprint), Some(stat)) = (named_fingerprint(&path), FileStat::of(&path)?)
            else {
                continue;
            };
            there.insert(fingerprint);
            if self.known.get(&fingerprint).is_some_and(|known| known.stat == stat) {
                continue;
            }
            self.remove(&fingerprint);
            if let Some(entry) = entries.at(&path)? {
                self.add(entry, stat, path);
            }
        }
        let gone: Vec<Fingerprint> =
            self.known.keys().filter(|known| !there.contains(known)).copied().collect();
        gone.iter().for_each(|fingerprint| drop(self.remove(fingerprint)));
        Ok(())
    }

    fn add(&mut self, entry: Entry, stat: FileStat, path: PathBuf) {
        let own = entry.artifact.0.values().filter(|blob| blob.reference.is_none());
        let blobs: HashSet<Digest> = own.map(|blob| blob.digest).collect();
        blobs.iter().for_each(|digest| *self.names.entry(*digest).or_default() += 1);
        let blobs = blobs.into_iter().collect();
        let known = Known { kind: entry.recipe.kind, items: entry.items, blobs, stat, path };
        self.known.insert(entry.fingerprint, known);
    }

    /// Removes an entry from the inventory.
    pub(crate) fn remove(&mut self, fingerprint: &Fingerprint) -> Option<Known> {
        let known = self.known.remove(fingerprint)?;
        for digest in &known.blobs {
            if let Some(count) = self.names.get_mut(digest) {
                *count -= 1;
            }
        }
        Some(known)
    }

    /// Removes a blob from the inventory if unnamed; returns its size.
    pub(crate) fn take(&mut self, digest: &Digest) -> Option<u64> {
        if self.names(digest) > 0 { None } else { self.blobs.remove(digest) }
    }

    pub(crate) fn get(&self, fingerprint: &Fingerprint) -> Option<&Known> {
        self.known.get(fingerprint)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (&Fingerprint, &Known)> {
        self.known.iter()
    }

    /// Number of entries naming a blob.
    pub(crate) fn names(&self, digest: &Digest) -> usize {
        self.names.get(digest).copied().unwrap_or(0)
    }

    /// Existing blobs without entries.
    pub(crate) fn unnamed(&self) -> Vec<Digest> {
        self.blobs.keys().filter(|digest| self.names(digest) == 0).copied().collect()
    }

    /// Closure over items: the fingerprints, their items, and nested items.
    pub(crate) fn reach(
        &self,
        roots: impl IntoIterator<Item = Fingerprint>,
    ) -> HashSet<Fingerprint> {
        let mut reached = HashSet::new();
        let mut next: Vec<Fingerprint> = roots.into_iter().collect();
        while let Some(fingerprint) = next.pop() {
            if reached.insert(fingerprint)
                && let Some(known) = self.known.get(&fingerprint)
            {
                next.extend(&known.items);
            }
        }
        reached
    }
}

/// Digest parsed from a blob's file name.
pub(crate) fn named_digest(path: &Path) -> Option<Digest> {
    path.file_name()?.to_str()?.parse().ok()
}

fn named_fingerprint(path: &Path) -> Option<Fingerprint> {
    path.file_stem()?.to_str()?.parse().ok()
}
