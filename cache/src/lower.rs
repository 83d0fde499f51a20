//! Lower layers: read-only stores, searched for entries missing from this store.
//!
//! Nothing is written to them, and nothing is copied: a lower store's blobs become references, read
//! and compared with their digests before use. Missing or damaged files count as absent, and their
//! artifacts are made again in this store.

use crate::artifact::{Artifact, Blob, FileStat, Reference};
use crate::entries::Entry;
use crate::error::{Error, Result};
use crate::hash::Fingerprint;
use crate::layout;
use crate::store::Store;
use std::path::PathBuf;

impl Store {
    /// Looks up missing entries in the stores at `roots` too, in this order; only the first call
    /// counts. Errors unless each is a store with a known format.
    pub fn look_below(&self, roots: &[PathBuf]) -> Result<()> {
        let mut lower = vec![];
        for root in roots {
            if !root.join(layout::ENTRIES).is_dir() {
                let words = "is no store; name a folder with 'entries' and 'blobs', or a home";
                return Err(Error::Other(format!("{}: {words}", root.display())));
            }
            let store = Store::read_only(root)?;
            if store.root() != self.root() {
                lower.push(store);
            }
        }
        self.set_lower(lower);
        Ok(())
    }

    /// A lower store's entry; `None` after [`Store::forget`]. Unreadable stores are skipped.
    pub(crate) fn below(&self, fingerprint: &Fingerprint) -> Option<Entry> {
        if self.lower().is_empty() || self.is_forgotten(fingerprint) {
            return None;
        }
        self.lower().iter().find_map(|lower| match lower.entry_files().get(fingerprint) {
            Ok(entry) => entry.map(|entry| self.referring(lower, entry)),
            Err(error) => {
                tracing::debug!("{error}; the lower store is skipped");
                None
            }
        })
    }

    fn referring(&self, lower: &Store, entry: Entry) -> Entry {
        let files = entry.artifact.0.into_iter();
        let files = files.map(|(name, blob)| (name, self.reference(lower, blob)));
        Entry { artifact: Artifact(files.collect()), ..entry }
    }

    /// A lower store's blob, unless this store has the same.
    fn reference(&self, lower: &Store, blob: Blob) -> Blob {
        if blob.reference.is_some() || self.path(&blob).is_file() {
            return blob;
        }
        let path = lower.path(&blob);
        match FileStat::of(&path) {
            // A store opened for reading keeps no digests: it trusts sizes, as with its own blobs.
            Ok(Some(stat)) if path.to_str().is_some() && stat.size == blob.bytes => {
                let fresh = !self.is_read_only();
                Blob { reference: Some(Reference { path, stat, fresh }), ..blob }
            }
            _ => blob,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::Digest;
    use crate::presence::CheckDepth;
    use crate::publish::NewEntry;
    use crate::recall::{Recall, RecallPolicy};
    use crate::recipe::Recipe;
    use serde_json::{Value, json};
    use std::collections::BTreeMap;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    fn recipe(seed: u32) -> Recipe {
        let (params, inputs) = (json!({ "seed": seed }), BTreeMap::new());
        Recipe { kind: "toy".into(), version: 1, params, inputs }
    }

    fn publish(store: &Store, seed: u32, text: &str) -> Entry {
        let draft = store.draft().expect("a draft");
        std::fs::write(draft.folder().join("file"), text).expect("writes");
        let (record, items, adopted) = (Value::Null, vec![], Artifact::default());
        let made = NewEntry { recipe: recipe(seed), record, items, seconds: 1.0, adopted };
        store.publish(draft, made).expect("publishes")
    }

    /// An upper store over a lower one with an entry of seed 1.
    fn layers(folder: &Path) -> (Store, Store, Entry) {
        let lower = Store::open(&folder.join("lower")).expect("a store");
        let entry = publish(&lower, 1, "made below");
        let upper = Store::open(&folder.join("upper")).expect("a store");
        upper.look_below(&[folder.join("lower")]).expect("looks");
        (upper, lower, entry)
    }

    fn recall(store: &Store, seed: u32, text: &str) -> (Entry, Recall) {
        let stop = || false;
        let make = |draft: &crate::Draft| {
            std::fs::write(draft.folder().join("file"), text).expect("writes");
            Ok::<_, Error>((Value::Null, vec![]))
        };
        store.recall(&recipe(seed), &RecallPolicy::new(&stop), make).expect("recalls")
    }

    /// Names and modification times of all files below a folder.
    fn state(folder: &Path) -> Vec<(PathBuf, std::time::SystemTime)> {
        let mut found = vec![];
        for entry in std::fs::read_dir(folder).expect("lists").flatten() {
            let modified = entry.metadata().and_then(|facts| facts.modified()).expect("a time");
            found.push((entry.path(), modified));
            if entry.path().is_dir() {
                found.extend(state(&entry.path()));
            }
        }
        found.sort();
        found
    }

    #[test]
    fn an_entry_of_a_lower_store_is_recalled_where_it_lies_and_nothing_is_written_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let (upper, lower, entry) = layers(folder.path());
        let before = state(lower.root());
        let (found, recalled) = recall(&upper, 1, "made above");
        assert_eq!(recalled, Recall::Reused);
        assert_eq!(found.artifact.digest(), entry.artifact.digest());
        let path = upper.path(&found.artifact.0["file"]);
        assert!(path.starts_with(lower.root()), "{}", path.display());
        assert_eq!(std::fs::read(path).expect("reads"), b"made below");
        let (made, recalled) = recall(&upper, 2, "made above");
        assert_eq!(recalled, Recall::Made);
        assert!(upper.path(&made.artifact.0["file"]).starts_with(upper.root()));
        assert!(upper.look_below(&[folder.path().join("none")]).is_err(), "no store");
        assert_eq!(state(lower.root()), before);
    }

    #[test]
    fn what_is_damaged_or_forgotten_below_is_made_above() {
        let folder = tempfile::tempdir().expect("a folder");
        let (upper, lower, entry) = layers(folder.path());
        assert!(upper.get(&[entry.fingerprint]).expect("looks")[0].is_some());
        upper.forget(&entry.fingerprint).expect("forgets");
        assert_eq!(upper.get(&[entry.fingerprint]).expect("looks"), [None]);
        assert_eq!(recall(&upper, 1, "made below").1, Recall::Made);
        let other = publish(&lower, 3, "good bytes");
        let blob = lower.path(&other.artifact.0["file"]);
        std::fs::set_permissions(&blob, std::fs::Permissions::from_mode(0o644)).expect("a mode");
        std::fs::write(&blob, "evil bytes").expect("writes");
        let found = upper.get(&[other.fingerprint]).expect("looks").remove(0).expect("an entry");
        assert!(
            !upper.presence(found.artifact.part(""), CheckDepth::Stat).expect("looks").is_empty()
        );
        let (made, recalled) = recall(&upper, 3, "good bytes");
        assert_eq!(recalled, Recall::Made, "the size alone is not believed");
        assert_eq!(made.artifact.0["file"].digest, Digest::of(b"good bytes"));
    }
}
