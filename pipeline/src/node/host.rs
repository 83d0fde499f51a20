//! Host for a stage on a node: messages go to a file; items come from the store or earlier starts,
//! or are made in the attempt folder.

use super::late_files;
use super::process::NodeProcess;
use crate::executor::remote::attempt::{self, Assignment, Attempt, Start};
use crate::executor::remote::files::Closed;
use crate::executor::remote::stored::{is_whole, item_in_store};
use crate::executor::remote::verdict::{FileRead, ItemMade};
use crate::executor::{ProgramsUsage, program};
use crate::lock::lock;
use crate::own_files::{ATTEMPTS, touched};
use crate::stop::Stop;
use crate::workflow::paths::LOCAL;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use voxflow_cache::disk::FileWriter;
use voxflow_cache::{Artifact, Blob, Digest, Recipe, SettledFile, Store, disk, settle};
use voxflow_stages::program::{Program, ProgramEnd};
use voxflow_stages::{Error, Host, InputFile, Kind, Message, Progress, Result, Task, Trouble};

/// Shortest time between two progress messages, which a file system carries to the orchestrator.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);

pub(super) struct NodeHost<'a> {
    assignment: &'a Assignment,
    pub(super) kind: &'static Kind,
    /// Input files by content.
    inputs: BTreeMap<Digest, Vec<&'a InputFile>>,
    /// The stage's local files by name.
    local: BTreeMap<String, PathBuf>,
    start: &'a Start,
    /// Item folders from earlier starts, by fingerprint.
    earlier: BTreeMap<String, Vec<PathBuf>>,
    store: &'a Store,
    stop: &'a Stop,
    said: Arc<Mutex<FileWriter>>,
    /// Time of the last progress message.
    progress_said: Mutex<Option<Instant>>,
    /// Resources taken by programs of the stage.
    pub(super) programs: ProgramsUsage,
    adopted: Mutex<BTreeMap<String, Blob>>,
    /// Item files outside the store.
    paths: Mutex<BTreeMap<Digest, PathBuf>>,
}

impl<'a> NodeHost<'a> {
    pub(super) fn new(process: &NodeProcess<'a>, store: &'a Store) -> Result<NodeHost<'a>> {
        let NodeProcess { attempt, assignment, task, start, stop } = *process;
        let recipe = &task.recipe;
        let kind = Kind::named(&recipe.kind)
            .ok_or_else(|| Error::failed(format!("there is no kind '{}'", recipe.kind)))?;
        let mut starts = attempt.starts()?;
        for attempt in Attempt::list(&assignment.store, &recipe.fingerprint())? {
            starts.extend(attempt.starts()?);
        }
        starts.retain(|other| other != start);
        let mut earlier = BTreeMap::<String, Vec<PathBuf>>::new();
        for folder in starts.iter().flat_map(Start::item_folders) {
            let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            earlier.entry(name).or_default().push(folder);
        }
        let path = start.said();
        let said = Arc::new(Mutex::new(FileWriter::append(&path)?));
        let (adopted, paths) = (Mutex::default(), Mutex::default());
        Ok(NodeHost {
            assignment,
            kind,
            inputs: by_content(task),
            local: kind.local_files(&task.params).unwrap_or_default(),
            start,
            earlier,
            store,
            stop,
            said,
            progress_said: Mutex::default(),
            programs: ProgramsUsage::default(),
            adopted,
            paths,
        })
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

    /// The item from an earlier start, unless its user files changed since.
    fn in_earlier(&self, recipe: &Recipe) -> Option<(PathBuf, ItemMade)> {
        let folders = self.earlier.get(&recipe.fingerprint().to_hex())?;
        let items = folders.iter().filter_map(|folder| attempt::item_in(folder));
        let mut whole = items.filter(|(folder, item)| {
            item.recipe == *recipe
                && FileRead::changed(&item.read).is_ok_and(|changed| changed.is_none())
                && item.files.iter().all(|file| is_whole(&folder.join(&file.name), file.bytes))
        });
        whole.next()
    }

    fn make_item(
        &self,
        name: &str,
        recipe: &Recipe,
        make: &dyn Fn(&Path) -> Result<()>,
    ) -> Result<Artifact> {
        late_files::wait_for(self.inputs_of(recipe), self.assignment.patience, self.stop)?;
        let began = Instant::now();
        let folder = self.start.item(&recipe.fingerprint());
        let files = folder.join("files");
        let read = self.make_of_still_files(recipe, &files, make)?;
        self.kind.check_item(recipe, &files)?;
        let item = ItemMade {
            name: name.to_string(),
            recipe: recipe.clone(),
            files: settle(&files)?,
            seconds: began.elapsed().as_secs_f64(),
            read,
        };
        Closed::write(&folder.join("item.json"), &item)?;
        self.artifact_of(&files, &item)
    }

    /// Makes an item's files; repeated a few times if its input files are rewritten meanwhile.
    fn make_of_still_files(
        &self,
        recipe: &Recipe,
        files: &Path,
        make: &dyn Fn(&Path) -> Result<()>,
    ) -> Result<Vec<FileRead>> {
        let mut attempts = 0;
        loop {
            disk::create_folders(files)?;
            let read = FileRead::all(self.own_files(recipe))?;
            let made = make(files);
            let changed = FileRead::changed(&read)?.map(Path::to_path_buf);
            match changed {
                None => return made.map(|()| read),
                Some(path) => {
                    attempts += 1;
                    if attempts == ATTEMPTS {
                        return Err(touched(&path));
                    }
                    disk::remove(files)?;
                }
            }
        }
    }

    /// User files read by an item with this recipe.
    fn own_files(&self, recipe: &Recipe) -> BTreeSet<PathBuf> {
        let read = self.inputs_of(recipe);
        let read = read.filter_map(|file| Some(file.blob.reference.as_ref()?.path.clone()));
        let local = self.local.iter();
        let local = local.filter(|(name, _)| recipe.inputs.contains_key(&format!("{LOCAL}{name}")));
        read.chain(local.map(|(_, path)| path.clone())).collect()
    }

    /// True if progress was not written for a while, or is at its end.
    fn is_due(&self, progress: &Progress) -> bool {
        let mut said = lock(&self.progress_said);
        let is_last = progress.total == Some(progress.done);
        let is_due = is_last || said.is_none_or(|said| said.elapsed() > PROGRESS_INTERVAL);
        if is_due {
            *said = Some(Instant::now());
        }
        is_due
    }

    /// Files with the contents that an item's recipe names.
    fn inputs_of(&self, recipe: &Recipe) -> impl Iterator<Item = &'a InputFile> {
        recipe.inputs.values().filter_map(|digest| self.inputs.get(digest)).flatten().copied()
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

/// A task's input files by content.
fn by_content(task: &Task) -> BTreeMap<Digest, Vec<&InputFile>> {
    let mut files = BTreeMap::<Digest, Vec<&InputFile>>::new();
    for file in task.inputs.values().flatten().flat_map(|input| input.files.values()) {
        files.entry(file.blob.digest).or_default().push(file);
    }
    files
}

impl Host for NodeHost<'_> {
    fn tell(&self, message: Message) {
        if let Message::Progress(progress) = &message
            && !self.is_due(progress)
        {
            return;
        }
        let Ok(mut line) = serde_json::to_vec(&message) else { return };
        line.push(b'\n');
        lock(&self.said).write_all(&line).ok();
    }

    fn stopping(&self) -> bool {
        self.stop.is_asked()
    }

    fn has_case(&self, name: &str) -> bool {
        self.assignment.shard.is_none_or(|shard| shard.has(name))
    }

    fn recall(
        &self,
        name: &str,
        recipe: &Recipe,
        make: &dyn Fn(&Path) -> Result<()>,
    ) -> Result<Artifact> {
        if !self.has_case(name) {
            return Err(Error::Elsewhere);
        }
        let fingerprint = recipe.fingerprint();
        if let Some(artifact) = item_in_store(self.store, recipe)? {
            self.tell(Message::Item { name: name.into(), made: false, fingerprint });
            return Ok(artifact);
        }
        let artifact = match self.in_earlier(recipe) {
            Some((folder, item)) => self.artifact_of(&folder, &item)?,
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

    fn run_program(
        &self,
        program: &Program,
        watch: &mut dyn FnMut() -> Result<()>,
    ) -> Result<ProgramEnd> {
        program::run(program, &self.start.log(), self.stop, &self.programs, watch)
    }
}
