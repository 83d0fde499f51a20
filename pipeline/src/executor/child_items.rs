//! Item recalls requested by a worker, which has no store. Every request waits on its own thread,
//! since the worker itself may have to make the item.

use crate::lock::lock;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::ChildStdin;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::Scope;
use voxflow_cache::{Artifact, Recipe};
use voxflow_stages::{Answer, Error, Host, Reply, Request, Result};

/// Channels for replies to items being made by the worker, by number; `None` after its end.
type Makings = Option<BTreeMap<u64, Sender<Option<Reply>>>>;

/// Items requested by a worker.
pub struct Recalls<'a> {
    host: &'a dyn Host,
    stage: &'a Recipe,
    answers: Mutex<Option<ChildStdin>>,
    makings: Mutex<Makings>,
}

impl<'a> Recalls<'a> {
    /// Serves `stage`'s items from `host`, replying through `answers`.
    pub fn new(host: &'a dyn Host, stage: &'a Recipe, answers: Option<ChildStdin>) -> Recalls<'a> {
        let makings = Mutex::new(Some(BTreeMap::new()));
        Recalls { host, stage, answers: Mutex::new(answers), makings }
    }

    /// Handles a request.
    pub fn take<'scope>(&'scope self, request: Request, scope: &'scope Scope<'scope, '_>) {
        match request {
            Request::Recall { id, name, recipe } => {
                scope.spawn(move || self.answer(&self.recalled(id, &name, &recipe)));
            }
            Request::Made { id, failed } => {
                if let Some(sender) =
                    lock(&self.makings).as_mut().and_then(|makings| makings.remove(&id))
                {
                    sender.send(failed).ok();
                }
            }
        }
    }

    /// Ends all waiting after the worker's exit.
    pub fn close(&self) {
        lock(&self.makings).take();
        lock(&self.answers).take();
    }

    fn recalled(&self, id: u64, name: &str, recipe: &Recipe) -> Answer {
        let recalled = self
            .of_stage(recipe)
            .and_then(|()| self.host.recall(name, recipe, &|folder| self.have_made(id, folder)));
        match recalled {
            Ok(artifact) => Answer::Found { id, paths: self.paths(&artifact), artifact },
            Err(error) => Answer::Failed { id, reply: Reply::from(&error) },
        }
    }

    /// Errors unless the item has the stage's kind and version.
    fn of_stage(&self, item: &Recipe) -> Result<()> {
        let kind = item.kind.split_once('/').map(|(kind, _)| kind);
        if kind == Some(self.stage.kind.as_str()) && item.version == self.stage.version {
            return Ok(());
        }
        Err(Error::failed(format!(
            "the worker asks for version {} of '{}' to make version {} of '{}'",
            item.version, item.kind, self.stage.version, self.stage.kind
        )))
    }

    /// Lets the worker make an item in `folder`.
    fn have_made(&self, id: u64, folder: &Path) -> Result<()> {
        let made = self.expect(id);
        self.answer(&Answer::Make { id, folder: folder.to_path_buf() });
        match made.recv() {
            Ok(failed) => failed.and_then(Reply::error).map_or(Ok(()), Err),
            Err(_) => Err(Error::failed("the worker ended before it was made")),
        }
    }

    fn expect(&self, id: u64) -> Receiver<Option<Reply>> {
        let (sender, made) = channel();
        if let Some(makings) = &mut *lock(&self.makings) {
            makings.insert(id, sender);
        }
        made
    }

    fn paths(&self, artifact: &Artifact) -> BTreeMap<String, std::path::PathBuf> {
        artifact.0.iter().map(|(name, blob)| (name.clone(), self.host.blob_path(blob))).collect()
    }

    /// Writes a line to the worker; a closed pipe is ignored.
    fn answer(&self, answer: &Answer) {
        let Ok(mut line) = serde_json::to_vec(answer) else { return };
        line.push(b'\n');
        if let Some(pipe) = &mut *lock(&self.answers) {
            pipe.write_all(&line).ok();
        }
    }
}
