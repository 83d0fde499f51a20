//! The program `voxflow-worker`: runs a stage in a process. It reads a task file, writes messages
//! as JSON lines to standard output, and ends with a [`Reply`]. Libraries print to standard error.

use crate::failure::catch_panic;
use crate::pipe::{Pipe, write_line};
use crate::{device, predict, test, train, validate};
use signal_hook::consts::{SIGHUP, SIGTERM, SIGUSR1, SIGUSR2, SIGXCPU};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::os::fd::FromRawFd;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use voxflow_cache::Recipe;
use voxflow_stages::protocol::{Build, Probed, REMEDY, WorkerLine};
use voxflow_stages::{Context, Error, Kind, Reply, Result, Task, Trouble};

/// Runs a stage.
type RunStage = fn(&Context) -> Result<()>;

/// The kinds of stages that this program runs, by name.
const STAGES: &[(&str, RunStage)] = &[
    ("train", train::run),
    ("validate", validate::run),
    ("test", test::run),
    ("predict", predict::run),
];

/// The program: `voxflow-worker TASK.json`, `voxflow-worker --version`, or `--device NAME`.
pub fn main() -> ExitCode {
    // Panics become errors in messages, and are not printed to standard error too.
    std::panic::set_hook(Box::new(|_| {}));
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
        Some(argument) if argument == "--version" => write_line(&mut pipe, &versions()),
        Some(argument) if argument == "--device" => {
            write_line(&mut pipe, &probe_device());
            exit_now(true)
        }
        Some(path) => serve(Path::new(&path), pipe, stopping),
        None => {
            let _ =
                writeln!(std::io::stderr(), "usage: voxflow-worker TASK.json (voxflow starts it)");
            ExitCode::from(2)
        }
    }
}

/// Tries the device of the second argument, before any task needs it.
fn probe_device() -> Probed {
    let device = std::env::args().nth(2).unwrap_or_default();
    match catch_panic(|| device::choose(&device, 1)) {
        Ok(info) => Probed::Usable(info.name),
        Err(error) => Probed::Unusable(error.to_string()),
    }
}

fn serve(path: &Path, pipe: File, stopping: Arc<AtomicBool>) -> ! {
    let host = Pipe::new(pipe, stopping);
    host.send(&WorkerLine::Hello(Build::own()));
    let outcome = catch_panic(|| run_task(path, &host));
    let reply = match &outcome {
        Ok(()) => Reply::Done { adopted: host.take_adopted() },
        Err(error) => Reply::from(error),
    };
    host.send(&WorkerLine::End(reply));
    exit_now(outcome.is_ok())
}

/// Ends the process without running exit handlers: nothing is left to store, and libtorch's
/// destructors take time and have crashed.
fn exit_now(done: bool) -> ! {
    // SAFETY: ends the process; everything is already written.
    unsafe { libc::_exit(if done { 0 } else { 1 }) }
}

fn run_task(path: &Path, host: &Pipe) -> Result<()> {
    let text = std::fs::read(path).map_err(Error::io("read", path))?;
    let sender: Build = serde_json::from_slice(&text).trouble_at(path)?;
    if let Some(difference) = Build::own().difference(&sender) {
        let words = format!("the program that started voxflow-worker {difference}; {REMEDY}");
        return Err(Error::failed(words));
    }
    let task: Task = serde_json::from_slice(&text).trouble_at(path)?;
    stage_of(&task.recipe)?(&Context::new(&task, host))
}

/// The function for a recipe's kind. Errors if the recipe has another version of it.
fn stage_of(recipe: &Recipe) -> Result<RunStage> {
    let (kind, wanted) = (&recipe.kind, recipe.version);
    let Some((name, make)) = STAGES.iter().find(|(name, _)| name == kind) else {
        return Err(Error::failed(format!("kind '{kind}' is not made by voxflow-worker")));
    };
    match Kind::named(name).map(|kind| kind.version) {
        Some(version) if version == wanted => Ok(*make),
        version => {
            let version = version.unwrap_or(0);
            let words = format!(
                "version {wanted} of '{kind}' is asked for, and voxflow-worker makes version \
                 {version}"
            );
            Err(Error::failed(format!("{words}; {REMEDY}")))
        }
    }
}

/// Moves standard output to another descriptor. Library output then goes to standard error and
/// cannot mix with messages.
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

/// Asks the kernel to kill this process when its parent ends.
fn die_with_parent() {
    // SAFETY: a plain system call on integers.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
    }
}

/// Keeps freed memory in the process for the next training step: returning memory to the kernel and
/// getting zeroed pages back costs 10 % in small steps. Call it before other threads run.
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
    let kinds = kinds.iter().filter(|(kind, _)| STAGES.iter().any(|(name, _)| name == kind));
    serde_json::json!({
        "protocol": protocol,
        "build": build,
        "kinds": kinds.collect::<BTreeMap<_, _>>(),
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
        let mut rows: Vec<&str> = STAGES.iter().map(|(name, _)| *name).collect();
        of_worker.sort_unstable();
        rows.sort_unstable();
        assert_eq!(rows, of_worker);
    }
}
