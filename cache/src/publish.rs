//! Publishing: a draft becomes blobs and an entry, so that at every moment all of it is seen or
//! nothing, and what is seen survives a power cut.

use crate::artifact::{Artifact, Blob};
use crate::crash;
use crate::drafts::{self, Draft};
use crate::entries::Entry;
use crate::error::{Error, Result};
use crate::fault;
use crate::hash::{Digest, Fingerprint};
use crate::layout;
use crate::parallel::parallel_map;
use crate::recipe::Recipe;
use crate::store::Store;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Files are synced by this many threads at once: they then share the journal's commits.
const SYNC_THREADS: usize = 8;

/// Description of a making, besides the files in the draft.
#[derive(Clone, Debug)]
pub struct Made {
    /// The recipe it was made by.
    pub recipe: Recipe,
    /// Data kept beside the files; see [`Entry::record`].
    pub record: Value,
    /// The items recalled on the way.
    pub items: Vec<Fingerprint>,
    /// Wall time.
    pub seconds: f64,
}

/// A file of a draft, hashed and durable, on its way to become a blob.
struct Ready {
    name: String,
    file: PathBuf,
    blob: Blob,
}

impl Store {
    /// Publishes what `draft` holds under the recipe's fingerprint.
    ///
    /// The first wins: if an entry is there whose blobs can be read, that one is returned and the
    /// draft is dropped. An entry without its blobs is replaced.
    pub fn publish(&self, draft: Draft, made: Made) -> Result<Entry> {
        draft.check()?;
        let ready = prepare(&draft)?;
        draft.check()?;
        let mut blobs = draft.adopted()?;
        let guard = self.removal_guard()?;
        self.check_adopted(&blobs)?;
        self.keep_blobs(&ready)?;
        for Ready { name, blob, .. } in ready {
            match blobs.insert(name.clone(), blob.clone()) {
                Some(other) if other.digest != blob.digest => return Err(drafts::twice(&name)),
                _ => {}
            }
        }
        let entry = self.keep_entry(&draft, new_entry(made, Artifact(blobs)))?;
        drop(guard);
        if let Err(error) = layout::remove(&self.unfinished(&entry.fingerprint)) {
            tracing::warn!("{error}; it is of no use any more and may be removed by hand");
        }
        crash::at("unfinished-after-remove");
        drop(draft);
        self.index().flush_if_due();
        Ok(entry)
    }

    fn check_adopted(&self, blobs: &BTreeMap<String, Blob>) -> Result<()> {
        let missing = |blob: &Blob| blob.reference.is_none() && !self.path(blob).is_file();
        match blobs.iter().find(|(_, blob)| missing(blob)) {
            None => Ok(()),
            Some((name, blob)) => {
                let trouble =
                    format!("'{name}' is gone from the store; run again to make it again");
                Err(Error::Damaged { path: self.path(blob), trouble })
            }
        }
    }

    fn keep_blobs(&self, ready: &[Ready]) -> Result<()> {
        let mut folders = BTreeSet::new();
        for Ready { file, blob, .. } in ready {
            folders.extend(self.blobs().keep(file, &blob.digest, self.index())?);
        }
        crash::at("blob-folder-before-sync");
        let folders: Vec<PathBuf> = folders.into_iter().collect();
        parallel_map(SYNC_THREADS, &folders, |folder| layout::sync_folder(folder))
            .into_iter()
            .collect::<Result<()>>()?;
        crash::at("blob-folder-after-sync");
        Ok(())
    }

    fn keep_entry(&self, draft: &Draft, entry: Entry) -> Result<Entry> {
        let (file, place) = (draft.entry_file(), self.entry_path(&entry.fingerprint));
        self.write_entry(&entry, &file)?;
        let folder = layout::make_parent(&place)?;
        crash::at("entry-before-rename");
        if !layout::rename_new(&file, &place)? {
            if let Some(first) = self.ready_entry(&entry.fingerprint, false)? {
                return Ok(first);
            }
            fs::rename(&file, &place).map_err(Error::io("rename to", &place))?;
        }
        crash::at("entry-after-rename");
        layout::sync_folder(&folder)?;
        crash::at("entry-folder-after-sync");
        self.pin(&entry.fingerprint)?;
        Ok(entry)
    }
}

fn new_entry(made: Made, artifact: Artifact) -> Entry {
    let made_at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let Made { recipe, record, items, seconds } = made;
    Entry { fingerprint: recipe.fingerprint(), recipe, artifact, record, items, made_at, seconds }
}

/// Makes the draft's files read-only and durable, and hashes them.
fn prepare(draft: &Draft) -> Result<Vec<Ready>> {
    let files = draft.files()?;
    crash::at("blob-before-sync");
    let ready = parallel_map(SYNC_THREADS, &files, |(name, file)| {
        let (digest, bytes) = settle(file)?;
        Ok(Ready {
            name: name.clone(),
            file: file.clone(),
            blob: Blob { digest, bytes, reference: None },
        })
    });
    let ready = ready.into_iter().collect::<Result<Vec<Ready>>>()?;
    crash::at("blob-after-sync");
    Ok(ready)
}

fn settle(path: &Path) -> Result<(Digest, u64)> {
    let open = || fault::pass().and_then(|()| File::open(path)).map_err(Error::io("open", path));
    let mut file = open()?;
    let read_only = Permissions::from_mode(0o444);
    match file.set_permissions(read_only.clone()) {
        // What another user of a shared store has begun, and this one has finished.
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            copy_in_place(path).map_err(Error::io("take over", path))?;
            file = open()?;
            file.set_permissions(read_only)
        }
        set => set,
    }
    .map_err(Error::io("make read-only", path))?;
    fault::pass().and_then(|()| file.sync_all()).map_err(Error::io("sync", path))?;
    let bytes = file.metadata().map_err(Error::io("look at", path))?.len();
    Ok((Digest::of_file(path)?, bytes))
}

/// Replaces a file by a copy, which is this user's own.
fn copy_in_place(path: &Path) -> std::io::Result<()> {
    let copy = path.with_extension("taken-over");
    std::io::copy(&mut File::open(path)?, &mut File::create_new(&copy)?)?;
    fs::rename(&copy, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_file_that_is_taken_over_has_the_same_bytes_and_another_inode() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("archive");
        fs::write(&path, "bytes").unwrap();
        let before = fs::metadata(&path).unwrap().ino();
        copy_in_place(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "bytes");
        assert_ne!(fs::metadata(&path).unwrap().ino(), before);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
