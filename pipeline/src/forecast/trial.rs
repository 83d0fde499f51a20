//! A trial: a quick kind runs in a temporary folder, with a host making no items and keeping
//! nothing.

use super::expected::{self, ItemsExpected};
use crate::error::Result;
use crate::lock::lock;
use crate::plan::Plan;
use crate::reads::{MadeArtifacts, inputs};
use crate::workflow::paths::LOCAL;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use voxflow_cache::{Artifact, Blob, CheckDepth, Digest, Entry, Recipe, Store, disk, settle};
use voxflow_stages::{Context, Error, Host, Message, Task};

/// A stage to be tried.
pub struct KindTrial<'a> {
    pub plan: &'a Plan,
    pub index: usize,
    pub recipe: &'a Recipe,
    pub store: &'a Store,
    /// Items from its last making.
    pub last: Vec<Entry>,
    /// Depth to which items are checked.
    pub look: CheckDepth,
}

/// Artifact and items found by a trial, as far as it came.
pub type Tried = (Option<Artifact>, Option<ItemsExpected>);

impl KindTrial<'_> {
    /// Runs the kind. Its errors are left to a real run.
    pub fn run(
        &self,
        run: fn(&Context) -> voxflow_stages::Result<()>,
        folder: &Path,
    ) -> Result<Tried> {
        let draft = folder.join("draft");
        disk::create_folders(&draft)?;
        let stage = &self.plan.workflow.stages[self.index];
        let made = MadeArtifacts { artifact: &|id| self.plan.artifact(id), store: self.store };
        let task = Task {
            stage: stage.id.clone(),
            recipe: self.recipe.clone(),
            params: stage.params.clone(),
            inputs: inputs(made, stage),
            draft: draft.clone(),
            unfinished: folder.join("unfinished"),
            device: "cpu".into(),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            ranks: 1,
        };
        let host = TrialHost {
            store: self.store,
            last: &self.last,
            look: self.look,
            known: self.known(),
            adopted: Mutex::default(),
            items: Mutex::default(),
        };
        let ended = run(&Context::new(&task, &host));
        let items = self.items(&lock(&host.items));
        let artifact = match ended {
            Ok(()) => Some(host.artifact(&draft)?),
            Err(_) => None,
        };
        Ok((artifact, items))
    }

    /// User files' digests, from the recipe.
    fn known(&self) -> BTreeMap<PathBuf, Digest> {
        let stage = &self.plan.workflow.stages[self.index];
        let files = stage.kind.local_files(&stage.params).unwrap_or_default().into_iter();
        let inputs = &self.recipe.inputs;
        files
            .filter_map(|(name, path)| Some((path, *inputs.get(&format!("{LOCAL}{name}"))?)))
            .collect()
    }

    fn items(&self, found: &FoundItems) -> Option<ItemsExpected> {
        let stage = &self.plan.workflow.stages[self.index];
        let what = stage.kind.items_with(&stage.params).first()?.what;
        let mean = self.last.iter().map(|item| item.seconds).sum::<f64>() / self.last.len() as f64;
        (found.all > 0).then(|| ItemsExpected {
            what,
            all: found.all,
            missing: found.missing.iter().cloned().collect(),
            seconds: (!self.last.is_empty()).then_some(mean * found.missing.len() as f64),
        })
    }
}

#[derive(Default)]
struct FoundItems {
    all: u64,
    missing: BTreeSet<String>,
}

struct TrialHost<'a> {
    store: &'a Store,
    last: &'a [Entry],
    look: CheckDepth,
    known: BTreeMap<PathBuf, Digest>,
    adopted: Mutex<Artifact>,
    items: Mutex<FoundItems>,
}

impl TrialHost<'_> {
    /// The adopted blobs, and the draft's files.
    fn artifact(&self, draft: &Path) -> Result<Artifact> {
        let mut artifact = lock(&self.adopted).clone();
        for file in settle(draft)? {
            artifact
                .add(&file.name, &expected::at(&draft.join(&file.name), file.digest, file.bytes))?;
        }
        Ok(artifact)
    }

    /// The item in the store, if all its files are there.
    fn stored(&self, recipe: &Recipe) -> Result<Option<Artifact>> {
        let Some(entry) = self.store.get(&[recipe.fingerprint()])?.into_iter().flatten().next()
        else {
            return Ok(None);
        };
        let lost = self.store.presence(entry.artifact.part(""), self.look)?;
        Ok(lost.is_empty().then_some(entry.artifact))
    }

    /// The artifact expected for an item, like the earlier item with most inputs in common.
    fn substitute(&self, recipe: &Recipe) -> Option<Artifact> {
        let items = self.last.iter().filter(|item| item.recipe.kind == recipe.kind);
        let nearest = items.max_by_key(|item| {
            let inputs = item.recipe.inputs.iter();
            inputs.filter(|(name, digest)| recipe.inputs.get(*name) == Some(*digest)).count()
        })?;
        Some(expected::like(nearest, recipe, self.store))
    }
}

impl Host for TrialHost<'_> {
    fn tell(&self, _message: Message) {}

    fn stopping(&self) -> bool {
        false
    }

    fn recall(
        &self,
        name: &str,
        recipe: &Recipe,
        _make: &dyn Fn(&Path) -> voxflow_stages::Result<()>,
    ) -> voxflow_stages::Result<Artifact> {
        lock(&self.items).all += 1;
        let stored = self.stored(recipe).map_err(|error| Error::failed(error.to_string()))?;
        if let Some(artifact) = stored {
            return Ok(artifact);
        }
        lock(&self.items).missing.insert(name.to_string());
        self.substitute(recipe).ok_or(Error::Elsewhere)
    }

    fn blob_path(&self, blob: &Blob) -> PathBuf {
        self.store.path(blob)
    }

    fn adopt(&self, name: &str, blob: &Blob) {
        lock(&self.adopted).0.insert(name.to_string(), blob.clone());
    }

    fn refer(&self, path: &Path) -> voxflow_stages::Result<Blob> {
        match (self.known.get(path), std::fs::metadata(path)) {
            (Some(digest), Ok(metadata)) => Ok(expected::at(path, *digest, metadata.len())),
            _ => Ok(self.store.refer(path)?),
        }
    }
}
