//! Opening a store, for writing or reading.

use super::{Access, BAD, OUTSIDE, Store, StoreInner};
use crate::blobs::Blobs;
use crate::claims::LockFiles;
use crate::clock::Clock;
use crate::disk;
use crate::drafts;
use crate::entries::Entries;
use crate::error::{Error, Result};
use crate::external_digests::ExternalDigests;
use crate::format;
use crate::index::Index;
use crate::index_place;
use crate::layout;
use crate::listed::Listed;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

impl Store {
    /// Opens or creates the store at `root`. Errors, without changes, if the folder holds other
    /// files or a newer format.
    pub fn open(root: &Path) -> Result<Store> {
        Store::open_with(root, true)
    }

    /// Opens the store without its index.
    pub fn open_without_index(root: &Path) -> Result<Store> {
        Store::open_with(root, false)
    }

    /// Opens the store for reading. Creates, moves, locks and marks nothing; the index stays
    /// closed. Missing and empty folders are empty stores. Mutating methods return errors.
    pub fn read_only(root: &Path) -> Result<Store> {
        let root = absolute(root)?;
        format::look(&root)?;
        let outside = ExternalDigests::reading(root.join(OUTSIDE));
        Ok(Store::of(root, Access::Read, Index::new(None), outside))
    }

    fn open_with(root: &Path, index: bool) -> Result<Store> {
        let root = absolute(root)?;
        format::settle(&root)?;
        [layout::BLOBS, layout::ENTRIES]
            .iter()
            .try_for_each(|name| make_folder(&root.join(name)))?;
        let outside = ExternalDigests::new(index.then(|| root.join(OUTSIDE)));
        let index = Index::new(index.then(|| index_place::of(&root)));
        let drafts = root.join("drafts");
        make_folder(&drafts)?;
        let store = Store::of(root, Access::Write, index, outside);
        if store.inner.entries.listed.is_some() {
            layout::make_fans(&store.blobs().folder)?;
            layout::make_fans(&store.entry_files().folder)?;
        }
        drafts::sweep(&drafts, &store.locks().drafts, store.clock());
        Ok(store)
    }

    fn of(root: PathBuf, access: Access, index: Index, outside: ExternalDigests) -> Store {
        let bad = (access == Access::Write).then(|| root.join(BAD));
        let is_shared = index_place::is_shared(&root);
        let clock = match access == Access::Write && is_shared {
            true => Clock::of(root.join("drafts.lock")),
            false => Clock::local(),
        };
        let clock = Arc::new(clock);
        let listed = is_shared.then(Listed::default);
        let inner = StoreInner {
            blobs: Blobs { folder: root.join(layout::BLOBS), bad: bad.clone() },
            entries: Entries {
                folder: root.join(layout::ENTRIES),
                clock: clock.clone(),
                listed,
                bad,
            },
            clock,
            locks: LockFiles {
                claims: root.join("claims"),
                drafts: root.join("drafts.lock"),
                removal: root.join("gc.lock"),
            },
            index,
            outside,
            access,
            pin: OnceLock::new(),
            told_of_reading: OnceLock::new(),
            read_again: Mutex::default(),
            lower: OnceLock::new(),
            forgotten: Mutex::default(),
            root,
        };
        Store { inner: Arc::new(inner) }
    }
}

fn absolute(root: &Path) -> Result<PathBuf> {
    std::path::absolute(root).map_err(Error::io("find", root))
}

fn make_folder(folder: &Path) -> Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    disk::create_folders(folder).map_err(Error::in_store)
}
