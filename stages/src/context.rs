//! The context: everything a running stage may touch.

use crate::error::{Error, Result, Trouble};
use crate::program::{Program, ProgramEnd};
use crate::record::{Message, Metric, Progress};
use crate::stage::Stage;
use crate::task::{Input, Task};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use voxflow_cache::{Artifact, Blob, Digest, Recipe, disk};

/// Services from the surrounding program: the engine, or a worker's pipe to it.
pub trait Host: Sync {
    /// Passes a message on.
    fn tell(&self, message: Message);
    /// True if the stage was asked to stop.
    fn stopping(&self) -> bool;
    /// False for a case whose items another machine makes.
    fn has_case(&self, _name: &str) -> bool {
        true
    }
    /// Looks an item up in the store, or makes it with `make` (given an empty folder) and keeps it.
    fn recall(
        &self,
        name: &str,
        recipe: &Recipe,
        make: &dyn Fn(&Path) -> Result<()>,
    ) -> Result<Artifact>;
    /// Path of an item's blob.
    fn blob_path(&self, blob: &Blob) -> PathBuf;
    /// Adds an existing blob to the stage's own artifact, without copying it.
    fn adopt(&self, name: &str, blob: &Blob);
    /// The blob of a person's own file; the file stays in its place.
    fn refer(&self, path: &Path) -> Result<Blob>;
    /// Runs a program to its end, with all processes that it starts. `watch` is called a few times
    /// a second and once after the end; its error ends the program, and comes back.
    fn run_program(
        &self,
        program: &Program,
        _watch: &mut dyn FnMut() -> Result<()>,
    ) -> Result<ProgramEnd> {
        let name = &program.name;
        Err(Error::failed(format!("{name}: no program is run here; use 'voxflow run'")))
    }
}

/// The view of a running stage on the world.
pub struct Context<'a> {
    task: &'a Task,
    host: &'a dyn Host,
}

/// The inputs of an item, besides the stage's parameters.
#[derive(Clone, Debug, Default)]
pub struct ItemKey {
    /// A name for people: the case.
    pub name: String,
    /// Each input's content.
    pub inputs: BTreeMap<String, Digest>,
    /// Other facts that decide its bytes, such as the modality.
    pub facts: Value,
}

impl<'a> Context<'a> {
    /// A context for `task` inside `host`.
    pub fn new(task: &'a Task, host: &'a dyn Host) -> Self {
        Self { task, host }
    }

    /// The stage's id.
    pub fn stage(&self) -> &str {
        &self.task.stage
    }

    /// The task as given.
    pub fn task(&self) -> &Task {
        self.task
    }

    /// The parameters, locators included.
    pub fn params<S: Stage>(&self) -> Result<S> {
        serde_json::from_value(self.task.params.clone())
            .map_err(|error| Error::failed(format!("parameters of '{}': {error}", self.stage())))
    }

    /// A role's single input.
    pub fn input(&self, role: &str) -> Result<&'a Input> {
        self.optional(role)
            .ok_or_else(|| Error::failed(format!("stage '{}' has no input '{role}'", self.stage())))
    }

    /// A role's first input; `None` without inputs.
    pub fn optional(&self, role: &str) -> Option<&'a Input> {
        self.many(role).first()
    }

    /// All inputs with a role, in the order of `needs`.
    pub fn many(&self, role: &str) -> &'a [Input] {
        self.task.inputs.get(role).map(Vec::as_slice).unwrap_or_default()
    }

    /// The path to write the artifact's file `name` to; its folder exists. The draft itself is not
    /// made again where somebody removed it.
    pub fn create(&self, name: &str) -> Result<PathBuf> {
        let path = self.task.draft.join(name);
        if let Some(folder) = path.parent() {
            self.create_folder(folder)?;
        }
        Ok(path)
    }

    /// Makes a folder in the draft, and those above it.
    pub fn create_folder(&self, folder: &Path) -> Result<()> {
        disk::create_folders_below(&self.task.draft, folder).map_err(Error::of_foreign_name)
    }

    /// Writes `value` as the artifact's JSON file `name`.
    pub fn create_json<T: Serialize>(&self, name: &str, value: &T) -> Result<()> {
        write_json(&self.create(name)?, value)
    }

    /// Writes a text as the artifact's file `name`.
    pub fn create_text(&self, name: &str, text: &str) -> Result<()> {
        Ok(disk::write(&self.create(name)?, text.as_bytes())?)
    }

    /// Adds an input's or item's existing blob to the artifact, without copying.
    pub fn adopt(&self, name: &str, blob: &Blob) {
        self.host.adopt(name, blob);
    }

    /// Adds a person's own file to the artifact as `name`, by reference; the file stays in its
    /// place.
    pub fn refer(&self, name: &str, path: &Path) -> Result<Blob> {
        let blob = self.host.refer(path)?;
        self.host.adopt(name, &blob);
        Ok(blob)
    }

    /// Recalls one item: looks it up, or makes it and remembers it. Its recipe holds the stage's
    /// whole parameters, the item's inputs and facts; `make` writes the item's files into an empty
    /// folder. It is a plain function, so nothing that is not in the recipe can reach it, save
    /// `item`, which must say no more than `key` does (paths of the inputs, say).
    pub fn recall<S: Stage, I>(
        &self,
        what: &str,
        params: &S,
        item: &I,
        key: &ItemKey,
        make: fn(&S, &I, &Path) -> Result<()>,
    ) -> Result<Artifact> {
        let recipe = Recipe {
            kind: format!("{}/{what}", S::NAME),
            version: S::VERSION,
            params: json!({ "stage": self.task.recipe.params, "facts": key.facts }),
            inputs: key.inputs.clone(),
        };
        self.host.recall(&key.name, &recipe, &|folder| make(params, item, folder))
    }

    /// Path of an item's blob.
    pub fn blob_path(&self, blob: &Blob) -> PathBuf {
        self.host.blob_path(blob)
    }

    /// The content of an item's JSON file.
    pub fn item_json<T: DeserializeOwned>(&self, item: &Artifact, name: &str) -> Result<T> {
        let blob = item
            .get(name)
            .ok_or_else(|| Error::failed(format!("an item without '{name}'; run with --force")))?;
        let path = self.blob_path(blob);
        let text = std::fs::read(&path).map_err(Error::io("read", &path))?;
        serde_json::from_slice(&text).trouble_at(&path)
    }

    /// Reports what equal recipes repeat.
    pub fn metric(&self, metric: Metric) {
        self.host.tell(Message::Metric(metric));
    }

    /// Reports this making's time, speed or memory.
    pub fn measure(&self, metric: Metric) {
        self.host.tell(Message::Metric(Metric { measured: true, ..metric }));
    }

    /// Reports how far the work is.
    pub fn progress(&self, progress: Progress) {
        self.host.tell(Message::Progress(progress));
    }

    /// Says something worth knowing.
    pub fn info(&self, words: impl Into<String>) {
        self.host.tell(Message::Info { words: words.into() });
    }

    /// Says something worth worrying.
    pub fn warn(&self, words: impl Into<String>) {
        self.host.tell(Message::Warning { words: words.into() });
    }

    /// Passes any message on.
    pub fn tell(&self, message: Message) {
        self.host.tell(message);
    }

    /// Runs a program to its end; see [`Host::run_program`].
    pub fn run_program(
        &self,
        program: &Program,
        watch: &mut dyn FnMut() -> Result<()>,
    ) -> Result<ProgramEnd> {
        self.host.run_program(program, watch)
    }

    /// True if the stage was asked to stop.
    pub fn stopping(&self) -> bool {
        self.host.stopping()
    }

    /// An error if the stage was asked to stop.
    pub fn check_stop(&self) -> Result<()> {
        if self.stopping() { Err(Error::Stopped) } else { Ok(()) }
    }

    /// The folder for unfinished state, which outlives a crash. Made on first use.
    pub fn unfinished(&self) -> Result<&'a Path> {
        disk::create_folders(&self.task.unfinished)?;
        Ok(&self.task.unfinished)
    }

    /// The device: "auto", "cpu" or "cuda:N".
    pub fn device(&self) -> &'a str {
        &self.task.device
    }

    /// Threads that the stage may keep busy; at least 1.
    pub fn threads(&self) -> usize {
        self.task.threads.max(1)
    }

    /// Does `work` for every case on plain scoped threads, with progress. All cases are tried, then
    /// the failures come back together as [`Error::Cases`]. A stop ends after the cases in hand.
    /// The results are in the order of `cases`; [`Error::Elsewhere`] if the host has not all cases.
    pub fn each_case<C: Sync, T: Send>(
        &self,
        cases: &[C],
        name: fn(&C) -> &str,
        work: impl Fn(&C) -> Result<T> + Sync,
    ) -> Result<Vec<T>> {
        let next = AtomicUsize::new(0);
        let finished =
            Mutex::new((0u64, (0..cases.len()).map(|_| None).collect::<Vec<Option<Result<T>>>>()));
        let total = Some(cases.len() as u64);
        std::thread::scope(|scope| {
            for _ in 0..self.threads().min(cases.len()) {
                scope.spawn(|| {
                    while !self.stopping() {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        let Some(case) = cases.get(index) else { break };
                        let result = match self.host.has_case(name(case)) {
                            true => work(case),
                            false => Err(Error::Elsewhere),
                        };
                        if matches!(result, Err(Error::Device(_))) {
                            // Nothing after it can be made; no further case is begun.
                            next.store(cases.len(), Ordering::Relaxed);
                        }
                        let mut finished = finished.lock().unwrap_or_else(PoisonError::into_inner);
                        finished.0 += 1;
                        finished.1[index] = Some(result);
                        self.progress(Progress {
                            done: finished.0,
                            total,
                            unit: "cases".into(),
                            numbers: vec![],
                        });
                    }
                });
            }
        });
        let (_, results) = finished.into_inner().unwrap_or_else(PoisonError::into_inner);
        gather(cases, name, results)
    }
}

/// The results in order, or a single error listing every failure.
fn gather<C, T>(
    cases: &[C],
    name: fn(&C) -> &str,
    results: Vec<Option<Result<T>>>,
) -> Result<Vec<T>> {
    let mut done = Vec::with_capacity(results.len());
    let (mut bad, mut stopped, mut elsewhere) = (vec![], false, false);
    for (case, result) in cases.iter().zip(results) {
        match result {
            Some(Ok(value)) => done.push(value),
            None | Some(Err(Error::Stopped)) => stopped = true,
            Some(Err(Error::Elsewhere)) => elsewhere = true,
            Some(Err(error)) if error.is_storage() => return Err(error),
            Some(Err(error @ Error::Device(_))) => return Err(error.at_case(name(case))),
            Some(Err(error)) => bad.push((name(case).to_string(), error.to_string())),
        }
    }
    match (stopped, bad.is_empty()) {
        (true, _) => Err(Error::Stopped),
        (false, true) if elsewhere => Err(Error::Elsewhere),
        (false, true) => Ok(done),
        (false, false) => Err(Error::Cases(bad)),
    }
}

/// Writes `value` as indented JSON with a final line break.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let mut text = serde_json::to_vec_pretty(value)
        .map_err(|error| Error::failed(format!("{}: {error}", path.display())))?;
    text.push(b'\n');
    Ok(disk::write(path, &text)?)
}
