//! Counting a stage's items, and those not in the store, before jobs are submitted for them.

use super::making::RemoteMaking;
use super::stored::item_in_store;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use voxflow_cache::{Artifact, Blob, Recipe, Store};
use voxflow_stages::kind::Place;
use voxflow_stages::{Context, Error, Host, Message, Result, Task};

/// Numbers of a stage's items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ItemCount {
    pub(super) all: u64,
    /// Not in the store.
    pub(super) missing: u64,
}

/// The stage's items; `None` for a kind of the worker, too slow to load for counting.
///
/// The kind itself runs with a host that makes nothing, into a temporary folder: items have no
/// list, and only the kind knows their recipes. An error is left to the job, which meets it again.
pub(super) fn count(making: &RemoteMaking) -> Result<Option<ItemCount>> {
    let Place::Here(run) = making.order.kind.place else { return Ok(None) };
    let store = Store::read_only(&making.shared.store)?;
    let (all, missing) = (AtomicU64::new(0), AtomicU64::new(0));
    let census = Census { store: &store, making, all, missing };
    let task = Task { draft: (making.order.workdir)()?, ..making.order.task.clone() };
    match run(&Context::new(&task, &census)) {
        Err(Error::Stopped) => Err(Error::Stopped),
        Ok(()) | Err(_) => Ok(Some(ItemCount {
            all: census.all.into_inner(),
            missing: census.missing.into_inner(),
        })),
    }
}

struct Census<'a> {
    store: &'a Store,
    making: &'a RemoteMaking<'a>,
    all: AtomicU64,
    missing: AtomicU64,
}

impl Host for Census<'_> {
    fn tell(&self, _message: Message) {}

    fn stopping(&self) -> bool {
        self.making.stop.is_asked()
    }

    fn recall(
        &self,
        _name: &str,
        recipe: &Recipe,
        _make: &dyn Fn(&Path) -> Result<()>,
    ) -> Result<Artifact> {
        self.all.fetch_add(1, Ordering::Relaxed);
        match item_in_store(self.store, recipe)? {
            Some(artifact) => Ok(artifact),
            None => {
                self.missing.fetch_add(1, Ordering::Relaxed);
                Err(Error::Elsewhere)
            }
        }
    }

    fn blob_path(&self, blob: &Blob) -> PathBuf {
        self.store.path(blob)
    }

    fn adopt(&self, _name: &str, _blob: &Blob) {}

    fn refer(&self, path: &Path) -> Result<Blob> {
        let stage = &self.making.order.task.stage;
        Err(Error::failed(format!("{}: stage '{stage}' refers to no file", path.display())))
    }
}
