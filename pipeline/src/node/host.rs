//! Host for a stage on a node: messages go to a file; items come from the store or earlier starts,
//! or are made in the attempt folder.

use super::seen::is_whole;
use crate::executor::remote::attempt::{self, Assignment, Attempt, Start};
use crate::executor::remote::files::Closed;
use crate::executor::remote::verdict::ItemMade;
use crate::lock::lock;
use crate::stop::Stop;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Instant;
use voxflow_cache::disk::FileWriter;
use voxflow_cache::{Artifact, Blob, Digest, Recipe, SettledFile, Store, disk, settle};
use voxflow_stages::{Error, Host, Kind, Message, Result, Trouble};

pub(super) struct NodeHost<'a> {
    assignment: &'a Assignment,
    kind: &'static Kind,
    start: &'a Start,
    /// Earlier starts whose items are reusable.
    earlier: Vec<Start>,
    store: &'a Store,
    stop: &'a Stop,
    said: Arc<Mutex<FileWriter>>,
    adopted: Mutex<BTreeMap<String, Blob>>,
    /// Item files outside the store.
    paths: Mutex<BTreeMap<Digest, PathBuf>>,
}

impl<'a> NodeHost<'a> {
    pub(super) fn new(
        assignment: &'a Assignment,
        own: &Attempt,
        start: &'a Start,
        store: &'a Store,
        stop: &'a Stop,
    ) -> Result<NodeHost<'a>> {
        let recipe = &assignment.task.recipe;
        let kind = Kind::named(&recipe.kind)
            .ok_or_else(|| Error::failed(format!("there is no kind '{}'", recipe.kind)))?;
        let mut earlier = vec![];
        for attempt in Attempt::list(&assignment.store, &recipe.fingerprint())? {
            earlier.extend(attempt.starts()?);
        }
        earlier.extend(own.starts()?);
        earlier.retain(|other| other != start);
        let path = start.said();
        let said = Arc::new(Mutex::new(FileWriter::append(&path)?));
        let (adopted, paths) = (Mutex::default(), Mutex::default());
        Ok(NodeHost { assignment, kind, start, earlier, store, stop, said, adopted, paths })
    }

    pub(super) fn said(&self) -> Arc<Mutex<FileWriter>> {
        Arc::clone(&self.said)
    }

    /// Takes the blobs adopted so far.
    pub(super) fn take_adopted(&self) -> BTreeMap<String, Blob> {
        std::mem::take(&mut *lock(&self.adopted))
    }

    /// Syncs the messages; returns their length in bytes.
    pub(super) fn close(&self) -> Result<u64> {
        let (file, path) = (lock(&self.said), self.start.said());
        file.sync()?;
        Ok(file.file().metadata().map_err(Error::io("read", &path))?.len())
    }

    /// The store's item, if all its files are visible.
    fn in_store(&self, recipe: &Recipe) -> Result<Option<Artifact>> {
        let entry = self.store.get(&[recipe.fingerprint()])?.pop().flatten();
        let whole = entry.filter(|entry| {
            let mut blobs = entry.artifact.0.values();
            blobs.all(|blob| is_whole(&self.store.path(blob), blob.bytes))
        });
        Ok(whole.map(|entry| entry.artifact))
    }

    /// The item from an earlier start.
    fn in_earlier(&self, recipe: &Recipe) -> Option<(PathBuf, ItemMade)> {
        let fingerprint = recipe.fingerprint();
        let items = self.earlier.iter().map(|start| start.item(&fingerprint));
        items.into_iter().find_map(|folder| attempt::item_in(&folder)).filter(|(folder, item)| {
            item.recipe == *recipe
                && item.files.iter().all(|file| is_whole(&folder.join(&file.name), file.bytes))
        })
    }

    fn make_item(
        &self,
        name: &str,
        recipe: &Recipe,
        make: &dyn Fn(&Path) -> Result<()>,
    ) -> Result<Artifact> {
        let began = Instant::now();
        let folder = self.start.item(&recipe.fingerprint());
        let files = folder.join("files");
        disk::create_folders(&files)?;
        make(&files)?;
        self.kind.check_item(recipe, &files)?;
        let item = ItemMade {
            name: name.to_string(),
            recipe: recipe.clone(),
            files: settle(&files)?,
            seconds: began.elapsed().as_secs_f64(),
        };
        Closed::write(&folder.join("item.json"), &item)?;
        self.artifact_of(&files, &item)
    }

    /// Artifact for an item outside the store; registers its files by digest.
    fn artifact_of(&self, folder: &Path, item: &ItemMade) -> Result<Artifact> {
        let mut artifact = Artifact::default();
        let mut paths = lock(&self.paths);
        for SettledFile { name, digest, bytes } in &item.files {
            let blob = Blob { digest: *digest, bytes: *bytes, reference: None };
            artifact.add(name, &blob)?;
            paths.insert(*digest, folder.join(name));
        }
        Ok(artifact)
    }
}

impl Host for NodeHost<'_> {
    fn tell(&self, message: Message) {
        let Ok(mut line) = serde_json::to_vec(&message) else { return };
        line.push(b'\n');
        lock(&self.said).write_all(&line).ok();
    }

    fn stopping(&self) -> bool {
        self.stop.is_asked()
    }

    fn recall(
        &self,
        name: &str,
        recipe: &Recipe,
        make: &dyn Fn(&Path) -> Result<()>,
    ) -> Result<Artifact> {
        let fingerprint = recipe.fingerprint();
        if let Some(artifact) = self.in_store(recipe)? {
            self.tell(Message::Item { name: name.into(), made: false, fingerprint });
            return Ok(artifact);
        }
        let artifact = match self.in_earlier(recipe) {
            Some((folder, item)) => self.artifact_of(&folder, &item)?,
            None if self.assignment.shard.is_some_and(|shard| !shard.has(&fingerprint)) => {
                return Err(Error::Elsewhere);
            }
            None => self.make_item(name, recipe, make)?,
        };
        self.tell(Message::Item { name: name.into(), made: true, fingerprint });
        Ok(artifact)
    }

    fn blob_path(&self, blob: &Blob) -> PathBuf {
        lock(&self.paths).get(&blob.digest).cloned().unwrap_or_else(|| self.store.path(blob))
    }

    fn adopt(&self, name: &str, blob: &Blob) {
        lock(&self.adopted).insert(name.to_string(), blob.clone());
    }

    fn refer(&self, path: &Path) -> Result<Blob> {
        Err(Error::failed("a node refers to no file of its own")).trouble_at(path)
    }
}
