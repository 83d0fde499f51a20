//! Publishing: files become blobs and an entry, atomically and durably, even across power cuts.

use crate::artifact::{Artifact, Blob};
use crate::disk;
use crate::drafts::Draft;
use crate::entries::Entry;
use crate::error::{Error, Result};
use crate::hash::Fingerprint;
use crate::layout;
use crate::parallel::parallel_map;
use crate::recipe::Recipe;
use crate::settle::{SYNC_THREADS, SettledFile, settle};
use crate::store::Store;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Entry data besides the draft's files.
#[derive(Clone, Debug)]
pub struct NewEntry {
    /// The recipe.
    pub recipe: Recipe,
    /// Maker's own data; see [`Entry::record`].
    pub record: Value,
    /// Items recalled during making.
    pub items: Vec<Fingerprint>,
    /// Wall time in seconds.
    pub seconds: f64,
    /// Blobs adopted from the store or referenced user files, by name.
    pub adopted: Artifact,
}

impl Store {
    /// Publishes the files in `draft` under the recipe's fingerprint.
    ///
    /// The first publisher wins: an existing entry with readable blobs is returned and the draft
    /// dropped. Entries with missing blobs are replaced.
    pub fn publish(&self, draft: Draft, mut made: NewEntry) -> Result<Entry> {
        draft.check()?;
        let settled = settle(draft.folder())?;
        draft.check()?;
        made.adopted.add_all(&draft.adopted()?)?;
        let entry = self.publish_settled(draft.folder(), &settled, made)?;
        drop(draft);
        self.index().flush_if_due();
        Ok(entry)
    }

    /// Publishes settled files from a folder on the store's file system.
    ///
    /// Files are moved without reading them again. For a missing file, its blob must already be in
    /// the store, moved by a killed publisher; this blob is read. The entry is drafted beside the
    /// folder, and the folder stays.
    pub fn publish_settled(
        &self,
        folder: &Path,
        settled: &[SettledFile],
        made: NewEntry,
    ) -> Result<Entry> {
        self.writable()?;
        let mut artifact = Artifact::default();
        for SettledFile { name, digest, bytes } in settled {
            artifact.add(name, &Blob { digest: *digest, bytes: *bytes, reference: None })?;
        }
        // Held from the first blob to the entry: gc would remove blobs without an entry.
        let guard = self.removal_guard()?;
        self.check_adopted(&made.adopted)?;
        self.keep_blobs(folder, &artifact)?;
        artifact.add_all(&made.adopted)?;
        // Outside `folder`, whose files are the artifact's and may be looked at again.
        let file = folder.with_file_name(format!("{}.entry.json", disk::unique()));
        let entry = self.keep_entry(&file, new_entry(made, artifact))?;
        drop(guard);
        if let Err(error) = disk::UNFINISHED.remove(&self.unfinished(&entry.fingerprint)) {
            tracing::warn!("{error}; it is of no use any more and may be removed by hand");
        }
        Ok(entry)
    }

    fn check_adopted(&self, adopted: &Artifact) -> Result<()> {
        let mut own = adopted.0.iter().filter(|(_, blob)| blob.reference.is_none());
        match own.find(|(_, blob)| !self.path(blob).is_file()) {
            None => Ok(()),
            Some((name, blob)) => {
                let trouble =
                    format!("'{name}' is gone from the store; run again to make it again");
                Err(Error::Damaged { path: self.path(blob), trouble })
            }
        }
    }

    fn keep_blobs(&self, folder: &Path, artifact: &Artifact) -> Result<()> {
        let mut folders = BTreeSet::new();
        for (name, blob) in &artifact.0 {
            folders.extend(self.blobs().keep(&folder.join(name), blob, self.hints())?);
        }
        let folders: Vec<PathBuf> = folders.into_iter().collect();
        parallel_map(SYNC_THREADS, &folders, |folder| disk::BLOB_FOLDER.sync_folder(folder))
            .into_iter()
            .collect::<Result<()>>()?;
        Ok(())
    }

    /// Writes the entry to `file` and renames it, unless an intact entry exists.
    fn keep_entry(&self, file: &Path, entry: Entry) -> Result<Entry> {
        let place = self.entry_path(&entry.fingerprint);
        self.write_entry(&entry, file)?;
        let folder = layout::make_parent(&place)?;
        if !disk::ENTRY.rename_new(file, &place)? {
            let own = self.entry_files().get(&entry.fingerprint)?;
            if let Some(first) = self.whole(own, false)? {
                self.pin(&entry.fingerprint)?;
                disk::remove(file)?;
                return Ok(first);
            }
            disk::ENTRY.rename(file, &place)?;
        }
        disk::ENTRY_FOLDER.sync_folder(&folder)?;
        self.pin(&entry.fingerprint)?;
        Ok(entry)
    }
}

fn new_entry(made: NewEntry, artifact: Artifact) -> Entry {
    let made_at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let NewEntry { recipe, record, items, seconds, adopted: _ } = made;
    Entry { fingerprint: recipe.fingerprint(), recipe, artifact, record, items, made_at, seconds }
}
