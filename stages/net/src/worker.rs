//! The worker: one stage, one process. It reads a task file, tells what happens as JSON lines on
//! standard output, and ends with a [`Reply`]. Standard error is free for words.

use crate::pipe::{Pipe, line};
use crate::{device, predict, test, train, trouble, validate};
use signal_hook::consts::{SIGHUP, SIGTERM, SIGUSR1, SIGUSR2, SIGXCPU};
use std::fs::File;
use std::io::Write;
use std::os::fd::FromRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use voxflow_cache::Recipe;
use voxflow_stages::protocol::{Build, Opening, Probed, REMEDY};
use voxflow_stages::{Context, Error, Kind, Reply, Result, Task, Trouble};

/// What makes a stage.
pub type Make = fn(&Context) -> Result<()>;

/// The kinds that this program makes, by name.
pub const RUNS: &[(&str, Make)] = &[
    ("train", train::run),
    ("validate", validate::run),
    ("test", test::run),
    ("predict", predict::run),
];

/// The program: `voxflow-worker TASK.json`, `voxflow-worker --version`, or `--device NAME`.
pub fn main() -> ExitCode {
    die_with_parent();
    keep_memory();
    let stopping = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGHUP, SIGXCPU, SIGUSR1, SIGUSR2] {
        if signal_hook::flag::register(signal, Arc::clone(&stopping)).is_err() {
            return ExitCode::FAILURE;
        }
    }
    let mut pipe = match own_stdout() {
        Ok(pipe) => pipe,
        Err(_) => return ExitCode::FAILURE,
    };
    match std::env::args_os().nth(1) {
        Some(argument) if argument == "--version" => line(&mut pipe, &versions()),
        Some(argument) if argument == "--device" => {
            line(&mut pipe, &probed());
            leave(true)
        }
        Some(path) => serve(Path::new(&path), pipe, stopping),
        None => {
            let _ =
                writeln!(std::io::stderr(), "usage: voxflow-worker TASK.json (voxflow starts it)");
            ExitCode::from(2)
        }
    }
}

/// Whether the device that is named can be used, before a task is made on it.
fn probed() -> Probed {
    let device = std::env::args().nth(2).unwrap_or_default();
    match caught(|| device::choose(&device, 1)) {
        Ok(place) => Probed::Usable(place.name),
        Err(error) => Probed::Unusable(error.to_string()),
    }
}

fn serve(path: &Path, pipe: File, stopping: Arc<AtomicBool>) -> ! {
    let host = Pipe::new(pipe, stopping);
    host.say(&Opening::Hello(Build::own()));
    let outcome = caught(|| work(path, &host));
    let reply = match &outcome {
        Ok(()) => Reply::Done { adopted: host.take_adopted() },
        Err(error) => Reply::from(error),
    };
    host.say(&reply);
    leave(outcome.is_ok())
}

/// Ends the process at once. What libraries do at exit has nothing left to keep here, takes time,
/// and once crashed in libtorch's own destructors.
fn leave(done: bool) -> ! {
    // SAFETY: ends the process; all that was to be kept is written.
    unsafe { libc::_exit(if done { 0 } else { 1 }) }
}

fn work(path: &Path, host: &Pipe) -> Result<()> {
    let text = std::fs::read(path).map_err(Error::io("read", path))?;
    let sender: Build = serde_json::from_slice(&text).trouble_at(path)?;
    if let Some(difference) = Build::own().difference(&sender) {
        let words = format!("the program that started voxflow-worker {difference}; {REMEDY}");
        return Err(Error::failed(words));
    }
    let task: Task = serde_json::from_slice(&text).trouble_at(path)?;
    run_of(&task.recipe)?(&Context::new(&task, host))
}

/// The function that makes a recipe, in the version that the recipe names.
fn run_of(recipe: &Recipe) -> Result<Make> {
    let (kind, wanted) = (&recipe.kind, recipe.version);
    let Some((name, make)) = RUNS.iter().find(|(name, _)| name == kind) else {
        return Err(Error::failed(format!("kind '{kind}' is not made by voxflow-worker")));
    };
    match Kind::named(name).map(|kind| kind.version) {
        Some(version) if version == wanted => Ok(*make),
        version => {
            let version = version.unwrap_or(0);
            let words = format!(
                "version {wanted} of '{kind}' is asked for, and voxflow-worker makes version {version}"
            );
            Err(Error::failed(format!("{words}; {REMEDY}")))
        }
    }
}

/// Runs `work`; a panic (an error of libtorch among them) becomes an error of one line.
pub fn caught<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    std::panic::set_hook(Box::new(|_| {}));
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|panic| Err(Error::failed(trouble::words(panic.as_ref()))))
}

/// Moves standard output to a descriptor of our own; what libraries print goes to standard error.
fn own_stdout() -> std::io::Result<File> {
    // SAFETY: plain system calls on descriptors 1 and 2; the new descriptor belongs to the file
    // alone.
    unsafe {
        let own = libc::fcntl(1, libc::F_DUPFD_CLOEXEC, 3);
        if own < 0 || libc::dup2(2, 1) < 0 {
            return Err(std::io::Error::last_os_error());
        }
        Ok(File::from_raw_fd(own))
    }
}

/// Lets the kernel kill this process when its parent ends.
fn die_with_parent() {
    // SAFETY: a plain system call on integers.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
    }
}

/// Keeps freed memory for the next training step, which asks for the same again: giving it back to
/// the kernel and having it cleared anew cost a tenth of a small step. Call it before other threads
/// run.
pub fn keep_memory() {
    const PAD: i32 = 64 << 20;
    // SAFETY: mallopt takes integers, and no other thread runs yet.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::mallopt(libc::M_MMAP_MAX, 0);
        libc::mallopt(libc::M_TRIM_THRESHOLD, -1);
        libc::mallopt(libc::M_TOP_PAD, PAD);
    }
}

fn versions() -> serde_json::Value {
    let Build { protocol, build, kinds, .. } = Build::own();
    let made = |kind: &&str| RUNS.iter().any(|(name, _)| name == kind);
    let kinds: Vec<_> = kinds.iter().filter(|(kind, _)| made(&kind.as_str())).collect();
    serde_json::json!({
        "protocol": protocol,
        "build": build,
        "kinds": kinds.into_iter().collect::<std::collections::BTreeMap<_, _>>(),
        "voxflow-worker": env!("CARGO_PKG_VERSION"),
        "libtorch": device::LIBTORCH,
        "mkldnn": tch::utils::has_mkldnn(),
        "mkl": tch::utils::has_mkl(),
        "openmp": tch::utils::has_openmp(),
        "threads": tch::get_num_threads(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use voxflow_stages::KINDS;
    use voxflow_stages::kind::Place;

    #[test]
    fn every_kind_of_the_worker_has_a_row_and_no_other_has() {
        let mut of_worker: Vec<&str> = KINDS
            .iter()
            .filter(|kind| matches!(kind.place, Place::Worker))
            .map(|kind| kind.name)
            .collect();
        let mut rows: Vec<&str> = RUNS.iter().map(|(name, _)| *name).collect();
        of_worker.sort_unstable();
        rows.sort_unstable();
        assert_eq!(rows, of_worker);
    }

    #[test]
    fn an_error_of_libtorch_is_one_line_without_frames() {
        let failing = || {
            let one = tch::Tensor::from_slice(&[1f32, 2.0]);
            let _ = &one + tch::Tensor::from_slice(&[1f32, 2.0, 3.0]);
            Ok(())
        };
        let error = caught(failing).unwrap_err().to_string();
        assert!(error.starts_with("libtorch: The size of tensor a (2) must match"), "{error}");
        assert!(!error.contains('\n') && !error.contains("frame #"), "{error}");
    }
}
