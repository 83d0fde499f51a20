//! The program `voxflow-worker`: runs a stage in a process. It reads a task file, writes messages
//! as JSON lines to standard output, and ends with a [`Reply`]. Libraries print to standard error.

use crate::distributed::process_group::ProcessGroup;
use crate::distributed::{self, Children, RANK, RankArguments, Watchdog};
use crate::failure::{catch_panic, set_training};
use crate::pipe::{Pipe, write_line};
use crate::{device, out_of_fold, postprocess, predict, test, train, validate};
use signal_hook::consts::{SIGHUP, SIGTERM, SIGUSR1, SIGUSR2, SIGXCPU};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::os::fd::FromRawFd;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use voxflow_cache::Recipe;
use voxflow_stages::protocol::{Build, Probed, REMEDY, WorkerLine};
use voxflow_stages::{Context, Error, Kind, Reply, Result, Task, Trouble};

/// The group of which this process is rank 0, and the processes of the others.
type Launched = (&'static ProcessGroup, Children);

/// Runs a stage.
#[derive(Clone, Copy)]
enum RunStage {
    /// In one process.
    Alone(fn(&Context) -> Result<()>),
    /// In one process, or in each process of a group.
    Ranked(fn(&Context, Option<&'static ProcessGroup>) -> Result<()>),
}

/// The kinds of stages that this program runs, by name.
const STAGES: &[(&str, RunStage)] = &[
    ("train", RunStage::Ranked(train::run)),
    ("validate", RunStage::Alone(validate::run)),
    ("postprocess", RunStage::Alone(postprocess::run)),
    ("out_of_fold", RunStage::Alone(out_of_fold::run)),
    ("test", RunStage::Alone(test::run)),
    ("predict", RunStage::Alone(predict::run)),
];

/// The program: `voxflow-worker TASK.json`, `voxflow-worker --version`, or `--device NAME`. A task
/// of several ranks starts the program once more for each, with arguments after the task file.
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
        Some(path) => match std::env::args_os().nth(2) {
            None => serve(Path::new(&path), pipe, stopping),
            Some(_) => serve_rank(Path::new(&path), pipe, stopping),
        },
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
    let host: &'static Pipe = Box::leak(Box::new(Pipe::new(pipe, stopping)));
    host.send(&WorkerLine::Hello(Build::own()));
    let mut launched = None;
    let outcome = catch_panic(|| run_task(path, host, &mut launched));
    let outcome = match launched {
        Some(launched) => end_group(outcome, launched),
        None => outcome,
    };
    let reply = match &outcome {
        Ok(()) => Reply::Done { adopted: host.take_adopted() },
        Err(error) => Reply::from(error),
    };
    host.send(&WorkerLine::End(reply));
    exit_now(outcome.is_ok())
}

/// Ends the ranks, with the first error of any of them.
fn end_group(outcome: Result<()>, (group, children): Launched) -> Result<()> {
    const LONGEST: Duration = Duration::from_secs(3);
    let outcome = match outcome {
        Ok(()) | Err(Error::Stopped) => {
            group.finish();
            outcome
        }
        Err(own) => {
            group.fail(&own);
            Err(group.failure().unwrap_or(own))
        }
    };
    children.wait(LONGEST);
    outcome
}

/// Makes a rank's part of a task. Errors reach rank 0 through the group.
fn serve_rank(path: &Path, pipe: File, stopping: Arc<AtomicBool>) -> ! {
    let host: &'static Pipe = Box::leak(Box::new(Pipe::new(pipe, stopping)));
    let mut joined = None;
    let outcome = catch_panic(|| run_rank(path, host, &mut joined));
    match (&outcome, joined) {
        (Ok(()) | Err(Error::Stopped), Some(group)) => group.finish(),
        (Err(error), Some(group)) => group.fail(error),
        (Err(error), None) => drop(writeln!(std::io::stderr(), "{error}")),
        (Ok(()), None) => {}
    }
    exit_now(outcome.is_ok())
}

/// Ends the process without running exit handlers: nothing is left to store, and libtorch's
/// destructors take time and have crashed.
fn exit_now(done: bool) -> ! {
    // SAFETY: ends the process; everything is already written.
    unsafe { libc::_exit(if done { 0 } else { 1 }) }
}

fn run_task(path: &Path, host: &'static Pipe, launched: &mut Option<Launched>) -> Result<()> {
    let task = read_task(path)?;
    let run = match stage_of(&task.recipe)? {
        RunStage::Alone(run) => return run(&Context::new(&task, host)),
        RunStage::Ranked(run) => run,
    };
    set_training();
    if task.ranks < 2 {
        return run(&Context::new(&task, host), None);
    }
    let devices = device::of_ranks(&task.device, task.ranks)?;
    let (group, children) = distributed::launch(path, &devices)?;
    let group: &'static ProcessGroup = Box::leak(Box::new(group));
    *launched = Some((group, children.clone()));
    Watchdog::start(group, children, |error| {
        host.send(&WorkerLine::End(Reply::from(error)));
        exit_now(false)
    });
    run(&Context::new(&of_rank(task, &devices[0]), host), Some(group))
}

fn run_rank(
    path: &Path,
    host: &'static Pipe,
    joined: &mut Option<&'static ProcessGroup>,
) -> Result<()> {
    let arguments: Vec<OsString> = std::env::args_os().skip(2).collect();
    let arguments = match arguments.split_first() {
        Some((first, rest)) if first == RANK => RankArguments::read(rest),
        _ => None,
    };
    let arguments = arguments.ok_or_else(|| Error::failed("voxflow-worker: unknown arguments"))?;
    let task = read_task(path)?;
    let group: &'static ProcessGroup = Box::leak(Box::new(arguments.join(task.ranks)?));
    *joined = Some(group);
    Watchdog::start(group, Children::default(), |_| exit_now(false));
    let RunStage::Ranked(run) = stage_of(&task.recipe)? else {
        return Err(Error::failed(format!("'{}' has no ranks", task.recipe.kind)));
    };
    set_training();
    run(&Context::new(&of_rank(task, &arguments.device), host), Some(group))
}

/// The task of a rank: its device, and its share of the threads.
fn of_rank(task: Task, device: &str) -> Task {
    let threads = (task.threads / task.ranks).max(1);
    Task { device: device.to_string(), threads, ..task }
}

/// The task of a file, if written by a program of the same build.
fn read_task(path: &Path) -> Result<Task> {
    let text = std::fs::read(path).map_err(Error::io("read", path))?;
    let sender: Build = serde_json::from_slice(&text).trouble_at(path)?;
    if let Some(difference) = Build::own().difference(&sender) {
        let words = format!("the program that started voxflow-worker {difference}; {REMEDY}");
        return Err(Error::failed(words));
    }
    serde_json::from_slice(&text).trouble_at(path)
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
