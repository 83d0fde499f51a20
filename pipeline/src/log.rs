//! The log: what libraries and the store say while a run goes on, on stderr and in the run's
//! `log.txt`. Events are not logged here; they are the journal's.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::globals::{Globals, LogFormat};
use crate::printable::printable;
use voxflow_cache::disk::FileWriter;

static FILE: Mutex<Option<File>> = Mutex::new(None);
static LAST_PANIC: Mutex<Option<String>> = Mutex::new(None);

/// Begins to log. `VOXFLOW_LOG` filters as `RUST_LOG` does elsewhere.
pub fn begin(globals: &Globals) {
    let level = if globals.verbose { "info" } else { "warn" };
    let filter = EnvFilter::try_from_env("VOXFLOW_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let layer = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(Tee)
        .with_ansi(false)
        // A terminal that is gone is no reason to panic.
        .log_internal_errors(false)
        .without_time();
    match globals.log_format {
        LogFormat::Text => layer.with_target(false).init(),
        LogFormat::Json => layer.json().init(),
    }
    quieten_panics();
}

/// From now on the log goes to this file too.
pub fn also_to(path: &Path) -> voxflow_cache::Result<()> {
    let file = FileWriter::append(path)?.into_file();
    *FILE.lock().unwrap_or_else(PoisonError::into_inner) = Some(file);
    Ok(())
}

/// Message and place of the last panic, in one line.
pub fn last_panic() -> Option<String> {
    LAST_PANIC.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// A panic in a stage becomes the stage's failure, and one of the index is the store's to handle:
/// neither is printed by Rust itself. Elsewhere the usual report stays.
fn quieten_panics() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let place = panic
            .location()
            .map(|at| format!(" ({}:{})", at.file(), at.line()))
            .unwrap_or_default();
        let payload = panic.payload();
        let words = payload.downcast_ref::<String>().map(String::as_str);
        let words = words.or_else(|| payload.downcast_ref::<&str>().copied());
        let words = words.and_then(|words| words.lines().next()).unwrap_or("no words");
        *LAST_PANIC.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(format!("{words}{place}"));
        if std::thread::current().name() == Some("main") {
            usual(panic);
        } else {
            tracing::debug!("panic: {words}{place}");
        }
    }));
}

/// Writes to stderr and, once there is one, to the run's file.
struct Tee;

impl Write for Tee {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if let Some(file) = FILE.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            file.write_all(bytes)?;
        }
        std::io::stderr().write_all(printable(&String::from_utf8_lossy(bytes)).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Tee {
    type Writer = Tee;

    fn make_writer(&'a self) -> Tee {
        Tee
    }
}
