//! Heartbeat on a node: syncs messages every two seconds and checks for a later process owning the
//! stage.

use crate::executor::remote::attempt::{Attempt, Start};
use crate::lock::lock;
use crate::stop::Stop;
use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use voxflow_cache::disk::FileWriter;
use voxflow_stages::Result;

const INTERVAL: Duration = Duration::from_secs(2);
/// Heartbeats between ownership checks.
const LOOK: u32 = 15;

/// Heartbeat thread; stops on drop.
pub(super) struct Beat {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Beat {
    /// Takes ownership of the stage and starts the heartbeat.
    pub(super) fn begin(said: Arc<Mutex<FileWriter>>, start: &Start, stop: &Stop) -> Result<Beat> {
        Attempt::take_stage(start)?;
        let (end, ended) = channel();
        let (start, stop) = (start.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            let mut beats = 0;
            while ended.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
                beats += 1;
                let mut file = lock(&said);
                // An empty line is no message; it moves the file's time.
                file.write_bytes(b"\n").and_then(|()| file.sync()).ok();
                drop(file);
                if beats % LOOK == 0 && is_fenced(&start) {
                    stop.ask();
                }
            }
        });
        Ok(Beat { end: Some(end), thread: Some(thread) })
    }
}

impl Drop for Beat {
    fn drop(&mut self) {
        self.end.take();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// True if another start owns the stage.
pub(super) fn is_fenced(start: &Start) -> bool {
    let file: PathBuf = Attempt::owner_file(start);
    std::fs::read_to_string(file).is_ok_and(|owner| owner.trim() != start.name())
}
