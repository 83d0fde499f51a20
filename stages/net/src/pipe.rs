//! The worker's side of the pipe to `voxflow`: messages go out as JSON lines, and items are
//! recalled through it, since a worker has no store.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use voxflow_cache::{Artifact, Blob, Digest, Recipe};
use voxflow_stages::protocol::WorkerLine;
use voxflow_stages::{Answer, Error, Host, Message, Reply, Request, Result};

/// The receivers of answers by item number; `None` after the parent closed the pipe.
type Waiting = Arc<Mutex<Option<BTreeMap<u64, Sender<Answer>>>>>;

/// The host of a stage in a worker.
pub struct Pipe {
    out: Mutex<File>,
    stopping: Arc<AtomicBool>,
    adopted: Mutex<BTreeMap<String, Blob>>,
    paths: Mutex<BTreeMap<Digest, PathBuf>>,
    waiting: Waiting,
    next: AtomicU64,
    listening: Once,
}

impl Pipe {
    /// A pipe that writes to `out`.
    pub fn new(out: File, stopping: Arc<AtomicBool>) -> Pipe {
        Pipe {
            out: Mutex::new(out),
            stopping,
            adopted: Mutex::default(),
            paths: Mutex::default(),
            waiting: Arc::new(Mutex::new(Some(BTreeMap::new()))),
            next: AtomicU64::new(0),
            listening: Once::new(),
        }
    }

    /// Sends a line. A closed pipe is no error: a parent that ends takes this process with it.
    pub fn send(&self, line: &WorkerLine) {
        let _ = write_line(&mut lock(&self.out), line);
    }

    /// The blobs that the stage adopted.
    pub fn take_adopted(&self) -> BTreeMap<String, Blob> {
        std::mem::take(&mut *lock(&self.adopted))
    }

    /// A new item's number and the receiver of its answers.
    fn register_item(&self) -> (u64, Receiver<Answer>) {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answers) = channel();
        if let Some(waiting) = &mut *lock(&self.waiting) {
            waiting.insert(id, sender);
        }
        self.listening.call_once(|| {
            let waiting = Arc::clone(&self.waiting);
            std::thread::spawn(move || listen(&waiting));
        });
        (id, answers)
    }

    /// Remembers the files of an artifact's blobs.
    fn remember_paths(&self, artifact: &Artifact, paths: &BTreeMap<String, PathBuf>) {
        let known = artifact
            .0
            .iter()
            .filter_map(|(name, blob)| Some((blob.digest, paths.get(name)?.clone())));
        lock(&self.paths).extend(known);
    }
}

/// Passes answers on until the parent closes the pipe. Dropping the senders then ends all waits.
fn listen(waiting: &Waiting) {
    for line in std::io::stdin().lock().split(b'\n').map_while(std::io::Result::ok) {
        let Ok(answer) = serde_json::from_slice::<Answer>(&line) else { continue };
        if let Some(sender) = lock(waiting).as_ref().and_then(|waiting| waiting.get(&answer.id())) {
            sender.send(answer).ok();
        }
    }
    lock(waiting).take();
}

/// Writes a value as a line of JSON.
pub fn write_line(out: &mut File, value: &impl serde::Serialize) -> ExitCode {
    let Ok(mut text) = serde_json::to_vec(value) else { return ExitCode::FAILURE };
    text.push(b'\n');
    if out.write_all(&text).is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Host for Pipe {
    fn tell(&self, message: Message) {
        self.send(&WorkerLine::Message(message));
    }

    fn stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    fn recall(
        &self,
        name: &str,
        recipe: &Recipe,
        make: &dyn Fn(&Path) -> Result<()>,
    ) -> Result<Artifact> {
        let (id, answers) = self.register_item();
        let request = Request::Recall { id, name: name.into(), recipe: recipe.clone() };
        self.send(&WorkerLine::Request(request));
        let found = loop {
            match answers.recv() {
                Ok(Answer::Make { folder, .. }) => {
                    let failed = make(&folder).err().map(|error| Reply::from(&error));
                    self.send(&WorkerLine::Request(Request::Made { id, failed }));
                }
                Ok(Answer::Found { artifact, paths, .. }) => {
                    self.remember_paths(&artifact, &paths);
                    break Ok(artifact);
                }
                Ok(Answer::Failed { reply, .. }) => {
                    break Err(reply
                        .error()
                        .unwrap_or_else(|| Error::failed(format!("item '{name}': no answer"))));
                }
                Err(_) => {
                    break Err(Error::failed(format!(
                        "item '{name}': who started this worker is gone"
                    )));
                }
            }
        };
        if let Some(waiting) = &mut *lock(&self.waiting) {
            waiting.remove(&id);
        }
        found
    }

    fn blob_path(&self, blob: &Blob) -> PathBuf {
        lock(&self.paths).get(&blob.digest).cloned().unwrap_or_default()
    }

    fn adopt(&self, name: &str, blob: &Blob) {
        lock(&self.adopted).insert(name.to_string(), blob.clone());
    }

    fn refer(&self, path: &Path) -> Result<Blob> {
        Err(Error::failed(format!("{}: a worker has no store to refer from", path.display())))
    }
}
