//! Logging from libraries and the store, to stderr and the run's `log.txt`. Events go to the
//! journal instead.

use crate::lock::lock;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::globals::{Globals, LogFormat};
use crate::printable::printable;
use voxflow_cache::disk::FileWriter;

static FILE: Mutex<Option<File>> = Mutex::new(None);
static LAST_PANIC: Mutex<Option<String>> = Mutex::new(None);

/// Starts logging. `VOXFLOW_LOG` takes `RUST_LOG` filters.
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

/// Adds a log file.
pub fn also_to(path: &Path) -> voxflow_cache::Result<()> {
    let file = FileWriter::append(path)?.into_file();
    *lock(&FILE) = Some(file);
    Ok(())
}

/// Message and location for the last panic.
pub fn last_panic() -> Option<String> {
    lock(&LAST_PANIC).clone()
}

/// Suppresses panic output on worker threads: stage panics become stage failures, index panics are
/// handled by the store. Panics on the main thread print as usual.
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
        *lock(&LAST_PANIC) = Some(format!("{words}{place}"));
        if std::thread::current().name() == Some("main") {
            usual(panic);
        } else {
            tracing::debug!("panic: {words}{place}");
        }
    }));
}

/// Writes to stderr and the run's log file.
struct Tee;

impl Write for Tee {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if let Some(file) = lock(&FILE).as_mut() {
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
