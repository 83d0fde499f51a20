//! The pipe to the program that started this worker: facts go out as JSON lines, and items, for
//! which a worker has no store, are recalled through it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use voxflow_cache::{Artifact, Blob, Digest, Recipe};
use voxflow_stages::{Answer, Error, Host, Message, Reply, Request, Result};

/// Who waits for an answer, by the item's number; `None` once no answer can come.
type Waiting = Arc<Mutex<Option<BTreeMap<u64, Sender<Answer>>>>>;

/// The parent's end of the pipe, and what it has answered.
pub struct Pipe {
    out: Mutex<File>,
    stopping: Arc<AtomicBool>,
    adopted: Mutex<BTreeMap<String, Blob>>,
    places: Mutex<BTreeMap<Digest, PathBuf>>,
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
            places: Mutex::default(),
            waiting: Arc::new(Mutex::new(Some(BTreeMap::new()))),
            next: AtomicU64::new(0),
            listening: Once::new(),
        }
    }

    /// Writes one line.
    pub fn say(&self, what: &impl serde::Serialize) {
        let _ = line(&mut lock(&self.out), what);
    }

    /// The blobs that were adopted.
    pub fn take_adopted(&self) -> BTreeMap<String, Blob> {
        std::mem::take(&mut *lock(&self.adopted))
    }

    /// A number for an item, and where its answers will come.
    fn enlist(&self) -> (u64, Receiver<Answer>) {
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

    fn keep(&self, artifact: &Artifact, paths: &BTreeMap<String, PathBuf>) {
        let places = artifact
            .0
            .iter()
            .filter_map(|(name, blob)| Some((blob.digest, paths.get(name)?.clone())));
        lock(&self.places).extend(places);
    }
}

/// Hands out answers until the parent closes its end; who waits then hears that it is gone.
fn listen(waiting: &Waiting) {
    for line in std::io::stdin().lock().split(b'\n').map_while(std::io::Result::ok) {
        let Ok(answer) = serde_json::from_slice::<Answer>(&line) else { continue };
        if let Some(sender) = lock(waiting).as_ref().and_then(|waiting| waiting.get(&answer.id())) {
            sender.send(answer).ok();
        }
    }
    lock(waiting).take();
}

/// Writes one JSON line. A parent that is gone takes this process with it, so errors need no word.
pub fn line(out: &mut File, what: &impl serde::Serialize) -> ExitCode {
    let Ok(mut text) = serde_json::to_vec(what) else { return ExitCode::FAILURE };
    text.push(b'\n');
    if out.write_all(&text).is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Host for Pipe {
    fn tell(&self, message: Message) {
        self.say(&message);
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
        let (id, answers) = self.enlist();
        self.say(&Request::Recall { id, name: name.to_string(), recipe: recipe.clone() });
        let found = loop {
            match answers.recv() {
                Ok(Answer::Make { folder, .. }) => {
                    let failed = make(&folder).err().map(|error| Reply::from(&error));
                    self.say(&Request::Made { id, failed });
                }
                Ok(Answer::Found { artifact, paths, .. }) => {
                    self.keep(&artifact, &paths);
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
        lock(&self.places).get(&blob.digest).cloned().unwrap_or_default()
    }

    fn adopt(&self, name: &str, blob: &Blob) {
        lock(&self.adopted).insert(name.to_string(), blob.clone());
    }

    fn refer(&self, path: &Path) -> Result<Blob> {
        Err(Error::failed(format!("{}: a worker has no store to refer from", path.display())))
    }
}
