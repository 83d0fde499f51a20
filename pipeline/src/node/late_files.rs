//! Files written by other machines may come into sight late: a node waits for them.

use crate::executor::remote::stored::is_whole;
use crate::machine;
use crate::stop::Stop;
use std::time::{Duration, Instant};
use voxflow_stages::{Error, InputFile, Kind, Result, Task};

/// Poll interval for files that are not yet visible.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// True if a stage's items read a role's files; each item waits for its own.
pub(super) fn is_read_by_items(kind: &Kind, task: &Task, role: &str) -> bool {
    kind.items_with(&task.params).iter().any(|items| items.reads == role)
}

/// The inputs that the stage itself reads: lists of cases, and files of roles without items.
pub(super) fn stage_files<'a>(
    kind: &'a Kind,
    task: &'a Task,
) -> impl Iterator<Item = &'a InputFile> {
    let files = task.inputs.iter().flat_map(|(role, inputs)| {
        inputs.iter().flat_map(|input| &input.files).map(move |named| (role, named))
    });
    let is_own =
        |role: &str, name: &str| !is_read_by_items(kind, task, role) || name.ends_with(".json");
    files.filter(move |(role, (name, _))| is_own(role, name)).map(|(_, (_, file))| file)
}

/// Waits until all files are visible with their full size.
///
/// # Errors
/// A file that is not there after `patience` seconds; a stop.
pub(super) fn wait_for<'a>(
    files: impl IntoIterator<Item = &'a InputFile>,
    patience: u64,
    stop: &Stop,
) -> Result<()> {
    let until = Instant::now() + Duration::from_secs(patience);
    for file in files {
        while !is_whole(&file.path, file.blob.bytes) {
            if stop.is_asked() {
                return Err(Error::Stopped);
            }
            if Instant::now() >= until {
                return Err(Error::failed(format!(
                    "{}: is not seen on {} after {patience} s; is the same file system mounted \
                     there, under the same path?",
                    file.path.display(),
                    machine::host()
                )));
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }
    Ok(())
}

/// The result of `read`, tried again for `patience` seconds, or until a stop.
///
/// # Errors
/// The last one of `read`.
pub(super) fn read_in_time<T>(
    patience: u64,
    stop: &Stop,
    read: impl Fn() -> Result<T>,
) -> Result<T> {
    let until = Instant::now() + Duration::from_secs(patience);
    loop {
        let found = read();
        if found.is_ok() || stop.is_asked() || Instant::now() >= until {
            return found;
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}
