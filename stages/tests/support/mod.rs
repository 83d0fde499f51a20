//! A trial: one stage run in a temporary folder, with a host that keeps what it is told.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use voxflow_cache::{Artifact, Blob, Digest, FileStat, Recipe, Reference};
use voxflow_stages::{Context, Error, Host, Input, InputFile, Kind, Message, Result, Task};

/// A stage's surroundings. Its folders go with it.
pub struct Trial {
    folder: tempfile::TempDir,
    task: Task,
    host: TrialHost,
}

/// Keeps messages, adopted blobs and items in memory; an item's files lie in a folder of its own.
struct TrialHost {
    root: PathBuf,
    stop: AtomicBool,
    stop_after: Mutex<Option<u64>>,
    messages: Mutex<Vec<Message>>,
    adopted: Mutex<BTreeMap<String, Blob>>,
    items: Mutex<BTreeMap<String, Artifact>>,
    made: Mutex<Vec<String>>,
    paths: Mutex<BTreeMap<Digest, PathBuf>>,
}

impl Trial {
    /// A stage of `kind` with these parameters, checked and filled in as a workflow's are.
    pub fn new(kind: &str, params: serde_json::Value) -> Trial {
        let kind = Kind::named(kind).expect("a known kind");
        let understood = kind.understand(&params).unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
        let folder = tempfile::tempdir().expect("a temporary folder");
        let root = folder.path().to_path_buf();
        let (draft, unfinished) = (root.join("draft"), root.join("unfinished"));
        std::fs::create_dir_all(&draft).expect("a draft");
        let recipe = Recipe {
            kind: kind.name.into(),
            version: kind.version,
            params: kind.hashed(&understood),
            inputs: BTreeMap::new(),
        };
        let inputs = BTreeMap::new();
        let task = Task {
            stage: kind.name.into(),
            recipe,
            params: understood,
            inputs,
            draft,
            unfinished,
            device: "cpu".into(),
            threads: 2,
            ranks: 1,
        };
        let host = TrialHost {
            root,
            stop: AtomicBool::new(false),
            stop_after: Mutex::default(),
            messages: Mutex::default(),
            adopted: Mutex::default(),
            items: Mutex::default(),
            made: Mutex::default(),
            paths: Mutex::default(),
        };
        Trial { folder, task, host }
    }

    /// Gives it an input: an artifact's files by name.
    pub fn input(mut self, role: &str, stage: &str, artifact: &BTreeMap<String, PathBuf>) -> Trial {
        let file =
            |path: &PathBuf| InputFile { path: path.clone(), blob: blob_of(path).expect("a blob") };
        let files = artifact.iter().map(|(name, path)| (name.clone(), file(path))).collect();
        self.task.inputs.entry(role.into()).or_default().push(Input { stage: stage.into(), files });
        self
    }

    /// Runs the stage.
    pub fn run(&self) -> Result<()> {
        let kind = Kind::named(&self.task.recipe.kind).expect("a known kind");
        let voxflow_stages::kind::Place::Here(run) = kind.place else {
            panic!("'{}' runs in the worker", kind.name)
        };
        run(&Context::new(&self.task, &self.host))
    }

    /// Asks it to stop.
    pub fn stop(&self) {
        self.host.stop.store(true, Ordering::Relaxed);
    }

    /// Asks it to stop once its progress is at least `done`; `None` lets it go on.
    pub fn stop_at(&self, done: Option<u64>) {
        *self.host.stop_after.lock().unwrap() = done;
        self.host.stop.store(false, Ordering::Relaxed);
    }

    /// The task.
    pub fn task(&self) -> &Task {
        &self.task
    }

    /// The stage's own folder for tests.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What was made: each name and the file behind it, drafted, adopted or referred to.
    pub fn artifact(&self) -> BTreeMap<String, PathBuf> {
        let mut files = BTreeMap::new();
        walk(&self.task.draft, "", &mut files);
        let adopted = self.host.adopted.lock().unwrap();
        files.extend(adopted.iter().map(|(name, blob)| (name.clone(), self.host.blob_path(blob))));
        files
    }

    /// The manifest of what was made.
    pub fn manifest(&self) -> Artifact {
        Artifact(
            self.artifact()
                .into_iter()
                .map(|(name, path)| (name, blob_of(&path).expect("a blob")))
                .collect(),
        )
    }

    /// The bytes of one file of what was made.
    pub fn read(&self, name: &str) -> Vec<u8> {
        let artifact = self.artifact();
        let path =
            artifact.get(name).unwrap_or_else(|| panic!("no '{name}' among {:?}", artifact.keys()));
        std::fs::read(path).expect("a readable file")
    }

    /// A JSON file of what was made.
    pub fn json<T: serde::de::DeserializeOwned>(&self, name: &str) -> T {
        serde_json::from_slice(&self.read(name)).expect("JSON of that form")
    }

    /// The names of the items that had to be made so far.
    pub fn made(&self) -> Vec<String> {
        self.host.made.lock().unwrap().clone()
    }

    /// All that was said in words.
    pub fn words(&self) -> Vec<String> {
        let messages = self.host.messages.lock().unwrap();
        let words = messages.iter().filter_map(|message| match message {
            Message::Info { words } | Message::Warning { words } => Some(words.clone()),
            _ => None,
        });
        words.collect()
    }

    /// All messages so far.
    pub fn messages(&self) -> Vec<Message> {
        self.host.messages.lock().unwrap().clone()
    }

    /// The warnings it told.
    pub fn warnings(&self) -> Vec<String> {
        let words = self.messages().into_iter().filter_map(|message| match message {
            Message::Warning { words } => Some(words),
            _ => None,
        });
        words.collect()
    }
}

impl Host for TrialHost {
    fn tell(&self, message: Message) {
        if let (Message::Progress(progress), Some(limit)) =
            (&message, *self.stop_after.lock().unwrap())
            && progress.done >= limit
        {
            self.stop.store(true, Ordering::Relaxed);
        }
        self.messages.lock().unwrap().push(message);
    }

    fn stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn recall(
        &self,
        name: &str,
        recipe: &Recipe,
        make: &dyn Fn(&Path) -> Result<()>,
    ) -> Result<Artifact> {
        let fingerprint = recipe.fingerprint().to_hex();
        if let Some(artifact) = self.items.lock().unwrap().get(&fingerprint) {
            return Ok(artifact.clone());
        }
        let folder = self.root.join("items").join(&fingerprint);
        std::fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
        make(&folder)?;
        self.made.lock().unwrap().push(name.to_string());
        let mut files = BTreeMap::new();
        walk(&folder, "", &mut files);
        let mut artifact = Artifact::default();
        for (name, path) in files {
            let blob = Blob { reference: None, ..blob_of(&path)? };
            self.paths.lock().unwrap().insert(blob.digest, path);
            artifact.0.insert(name, blob);
        }
        self.items.lock().unwrap().insert(fingerprint, artifact.clone());
        Ok(artifact)
    }

    fn blob_path(&self, blob: &Blob) -> PathBuf {
        match &blob.reference {
            Some(reference) => reference.path.clone(),
            None => {
                self.paths.lock().unwrap().get(&blob.digest).cloned().expect("a blob of an item")
            }
        }
    }

    fn adopt(&self, name: &str, blob: &Blob) {
        self.adopted.lock().unwrap().insert(name.to_string(), blob.clone());
    }

    fn refer(&self, path: &Path) -> Result<Blob> {
        blob_of(path)
    }
}

/// The referenced blob of a file.
pub fn blob_of(path: &Path) -> Result<Blob> {
    use std::os::unix::fs::MetadataExt;
    let path = path.canonicalize().map_err(Error::io("find", path))?;
    let meta = path.metadata().map_err(Error::io("read", &path))?;
    let stat = FileStat {
        device: meta.dev(),
        inode: meta.ino(),
        size: meta.size(),
        mtime_ns: meta.mtime() * 1_000_000_000 + meta.mtime_nsec(),
        ctime_ns: meta.ctime() * 1_000_000_000 + meta.ctime_nsec(),
    };
    Ok(Blob {
        digest: Digest::of_file(&path)?,
        bytes: meta.size(),
        reference: Some(Reference { path, stat, fresh: false }),
    })
}

/// Every file under `folder`, by its name relative to it.
pub fn walk(folder: &Path, prefix: &str, files: &mut BTreeMap<String, PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        match entry.path().is_dir() {
            true => walk(&entry.path(), &format!("{name}/"), files),
            false => drop(files.insert(name, entry.path())),
        }
    }
}
