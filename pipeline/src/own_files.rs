//! User files read by a stage and its items: watched from before reading until the result is
//! published.

use crate::job::Job;
use crate::lock::lock;
use crate::workflow::paths::LOCAL;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use voxflow_cache::{Blob, Digest, FilesCheck, OwnFile, Recipe, Store, Watch};
use voxflow_stages::{Error, InputFile, Result};

/// Attempts while input files are being rewritten with equal bytes.
pub const ATTEMPTS: usize = 3;

/// User files a stage may read.
pub struct OwnFiles<'a> {
    job: &'a Job,
    store: &'a Store,
    /// Files behind referenced inputs by digest; item recipes name digests only.
    by_digest: BTreeMap<Digest, Vec<OwnFile>>,
    /// The stage's own files by path, as found at its start.
    local: Mutex<BTreeMap<PathBuf, Digest>>,
}

impl<'a> OwnFiles<'a> {
    pub fn of(job: &'a Job, store: &'a Store) -> OwnFiles<'a> {
        let mut by_digest: BTreeMap<Digest, Vec<OwnFile>> = BTreeMap::new();
        for file in inputs(job, |_| true) {
            by_digest.entry(file.blob.digest).or_default().extend(OwnFile::of(&file.blob));
        }
        OwnFiles { job, store, by_digest, local: Mutex::default() }
    }

    /// Watches files read by the stage itself. Errors if they differ from its recipe.
    pub fn watch_stage(&self) -> Result<Watch<'a>> {
        let items = self.job.kind.items_with(&self.job.params);
        let mut files: Vec<OwnFile> =
            inputs(self.job, |role| items.iter().all(|items| items.reads != role))
                .filter_map(|file| OwnFile::of(&file.blob))
                .collect();
        let local = self.named()?;
        files.extend(local.iter().map(|(path, digest)| OwnFile::new(path, *digest)));
        *self.local() = local;
        Ok(self.store.watch(files)?)
    }

    /// Returns the stage's result with its files' state. If files changed, even an error says
    /// nothing about the recipe's files and is replaced.
    pub fn look_again<T>(&self, watch: &Watch, made: Result<T>) -> Result<(T, FilesCheck)> {
        if !matches!(made, Err(Error::Stopped)) {
            self.named()?;
        }
        seen_again(watch, made)
    }

    /// Watches files read by an item.
    pub fn watch_item(&self, recipe: &Recipe) -> Result<Watch<'a>> {
        let digests: BTreeSet<&Digest> = recipe.inputs.values().collect();
        let files = digests.into_iter().filter_map(|digest| self.by_digest.get(digest));
        let local = self.local().clone();
        let local = local.iter().filter(|(_, digest)| names_local(recipe, digest));
        let local = local.map(|(path, digest)| OwnFile::new(path, *digest));
        Ok(self.store.watch(files.flatten().cloned().chain(local).collect())?)
    }

    /// Blob referring to a user file; errors unless the recipe names its digest.
    pub fn refer(&self, path: &Path) -> Result<Blob> {
        let blob = self.store.refer(path)?;
        let named = self.local().get(path).copied();
        if named == Some(blob.digest) { Ok(blob) } else { Err(came(path)) }
    }

    fn local(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Digest>> {
        lock(&self.local)
    }

    /// The stage's own files with their recipe digests. Errors if the sets differ.
    fn named(&self) -> Result<BTreeMap<PathBuf, Digest>> {
        let recipe = &self.job.recipe;
        let found = self.job.kind.local_files(&self.job.params)?;
        let named = recipe
            .inputs
            .iter()
            .filter_map(|(name, digest)| Some((name.strip_prefix(LOCAL)?, digest)));
        let named: BTreeMap<&str, &Digest> = named.collect();
        if let Some(name) = named.keys().find(|name| !found.contains_key(**name)) {
            let words = "was there when the run began and is gone; run again without it";
            return Err(Error::failed(format!("'{name}' of stage '{}' {words}", self.job.stage)));
        }
        found
            .into_iter()
            .map(|(name, path)| match named.get(name.as_str()) {
                Some(digest) => Ok((path, **digest)),
                None => Err(came(&path)),
            })
            .collect()
    }
}

/// True if an item's recipe has this content of a local file of its stage.
fn names_local(recipe: &Recipe, digest: &Digest) -> bool {
    let local = recipe.inputs.iter().filter(|(name, _)| name.starts_with(LOCAL));
    local.map(|(_, digest)| digest).any(|named| named == digest)
}

/// Result with the watched files' state; unchecked after a stop.
pub fn seen_again<T>(watch: &Watch, made: Result<T>) -> Result<(T, FilesCheck)> {
    if let Err(Error::Stopped) = made {
        return Err(Error::Stopped);
    }
    let seen = watch.look_again()?;
    made.map(|made| (made, seen))
}

/// Error after too many attempts at a file being rewritten.
pub fn touched(path: &Path) -> Error {
    let path = path.display();
    Error::failed(format!("{path}: was written while it was read; run again once nobody writes it"))
}

fn came(path: &Path) -> Error {
    Error::failed(format!(
        "{}: was not there, or not the same, when the run began; run again",
        path.display()
    ))
}

/// Input files for selected roles.
fn inputs<'j>(
    job: &'j Job,
    wanted: impl Fn(&str) -> bool + 'j,
) -> impl Iterator<Item = &'j InputFile> {
    let roles = job.inputs.iter().filter(move |(role, _)| wanted(role));
    roles.flat_map(|(_, inputs)| inputs).flat_map(|input| input.files.values())
}
