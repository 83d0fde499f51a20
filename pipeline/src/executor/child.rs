//! The parent's side of `voxflow-worker`, the child process for kinds using libtorch.
//!
//! The child receives a task file, writes JSON lines to stdout (`WorkerLine`), reads item answers
//! from stdin (`child_items`) and logs to stderr. SIGTERM means: keep finished work and stop. It
//! dies with its parent.

use super::child_items::Recalls;
use super::process_group::{ChildGroup, die_with_parent};
use super::{MadeFacts, StageOrder};
use crate::gpus;
use crate::libtorch::{self, remedy};
use crate::stop::Stop;
use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use voxflow_cache::disk::FileWriter;
use voxflow_stages::context::write_json;
use voxflow_stages::protocol::{self, Build, REMEDY, WorkerLine};
use voxflow_stages::record::Reply;
use voxflow_stages::{Error, Host, Result, Task};

/// Variables by which users choose how libtorch's threads wait.
const WAITING: [&str; 2] = ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT"];

/// Spin count before libtorch's threads sleep. Long enough to avoid system calls between operations
/// (a third of a small training step), short enough not to starve other processes: endless spinning
/// made steps five times slower beside a compiler.
const SPINS: &str = "100000";

/// Worker binary: `VOXFLOW_WORKER`, or `voxflow-worker` beside this binary.
pub fn program() -> PathBuf {
    let given = std::env::var_os("VOXFLOW_WORKER").filter(|path: &OsString| !path.is_empty());
    given.map_or_else(program_beside, PathBuf::from)
}

fn program_beside() -> PathBuf {
    let me = std::env::current_exe().unwrap_or_default();
    me.parent()
        .map(|folder| folder.join("voxflow-worker"))
        .unwrap_or_else(|| "voxflow-worker".into())
}

/// Error if the worker binary or its libtorch is missing, or libtorch is of another version.
pub fn trouble() -> Option<String> {
    let program = program();
    if !program.is_file() {
        let (program, way_out) = (program.display(), remedy::of_missing_worker());
        return Some(format!("'{program}' is not there, and training needs it; {way_out}"));
    }
    libtorch::folder().err()
}

/// The worker's command, which finds libtorch; the error is in words.
pub fn command() -> std::result::Result<Command, String> {
    libtorch::command(&program())
}

/// libtorch's version as the worker tells it, or the trouble with the worker.
pub fn libtorch_version() -> std::result::Result<String, String> {
    if let Some(trouble) = trouble() {
        return Err(trouble);
    }
    let output = command()?.arg("--version").output();
    let output = output.map_err(|error| format!("the worker does not start: {error}"))?;
    let version: Option<serde_json::Value> = serde_json::from_slice(&output.stdout).ok();
    let version = version.and_then(|said| said["libtorch"].as_str().map(str::to_string));
    version.ok_or_else(|| {
        let words = String::from_utf8_lossy(&output.stderr);
        let line = match words.lines().next() {
            Some(line) => line.to_string(),
            None => format!("it ended without a word ({})", output.status),
        };
        format!("the worker does not start: {line}; {}", remedy::of_worker(&words))
    })
}

/// Runs a task in a worker, forwarding messages to `host`. `visible` becomes the worker's
/// `CUDA_VISIBLE_DEVICES`; `None` inherits ours.
pub(super) fn make(
    order: &StageOrder,
    visible: Option<&OsStr>,
    host: &dyn Host,
    stop: &Stop,
) -> Result<MadeFacts> {
    let (task, log) = (order.task, order.log);
    let file = (order.workdir)()?.join("task.json");
    write_json(&file, &protocol::WorkerOrder::new(task))?;
    let mut pipes = None;
    let child = stop.start(|| {
        let (group, ends) = spawn(&file, log, visible)?;
        pipes = Some(ends);
        Ok::<_, Error>(group)
    })?;
    let heard = pipes.map(|pipes| listen(pipes, task, host)).unwrap_or_default();
    if heard.stranger.is_some() {
        child.end();
    }
    let (status, usage) = child.wait();
    let Heard { reply, stranger, last_words } = heard;
    if let Some(difference) = stranger {
        let program = program();
        let words = format!("the worker '{}' {difference}; {REMEDY}", program.display());
        return Err(Error::Failed(words));
    }
    match reply {
        Some(Reply::Done { adopted }) if status.success() => {
            adopted.iter().for_each(|(name, blob)| host.adopt(name, blob));
            Ok(MadeFacts { usage, elsewhere: None })
        }
        reply => Err(match reply.and_then(Reply::error) {
            Some(error) => error,
            None if stop.is_asked() => Error::Stopped,
            None => Error::Failed(ending(status, &last_words, log)),
        }),
    }
}

/// The parent's ends of a worker's pipes.
struct Pipes {
    lines: ChildStdout,
    answers: Option<ChildStdin>,
}

fn spawn(file: &Path, log: &Path, visible: Option<&OsStr>) -> Result<(ChildGroup, Pipes)> {
    let program = program();
    let stderr = FileWriter::append(log)?.into_file();
    let mut command = command().map_err(Error::Failed)?;
    command.arg(file).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(stderr).process_group(0);
    if WAITING.iter().all(|name| std::env::var_os(name).is_none()) {
        command.env(WAITING[1], SPINS);
    }
    command.envs(visible.map(|cards| (gpus::VISIBLE, cards)));
    die_with_parent(&mut command);
    let mut child = command.spawn().map_err(Error::io("start", &program))?;
    let pipes = child.stdout.take().map(|lines| Pipes { lines, answers: child.stdin.take() });
    let group = ChildGroup::led_by(&child);
    let pipes = pipes.ok_or_else(|| Error::failed("the worker has no standard output"))?;
    Ok((group, pipes))
}

/// Received from a worker.
#[derive(Default)]
struct Heard {
    reply: Option<Reply>,
    /// Difference in build, if any.
    stranger: Option<String>,
    /// Latest lines that failed to parse as messages.
    last_words: VecDeque<String>,
}

/// Reads the worker's messages to the end; stops early on a build mismatch.
fn listen(pipes: Pipes, task: &Task, host: &dyn Host) -> Heard {
    let mut heard = Heard::default();
    let recalls = Recalls::new(host, &task.recipe, pipes.answers);
    std::thread::scope(|scope| {
        let mut is_known = false;
        for line in BufReader::new(pipes.lines).split(b'\n').map_while(std::io::Result::ok) {
            if !is_known && let Some(build) = WorkerLine::read_hello(&line) {
                is_known = true;
                heard.stranger = Build::own().difference(&build);
                if heard.stranger.is_some() {
                    break;
                }
                continue;
            }
            match WorkerLine::read(&line) {
                Some(WorkerLine::Message(message)) => host.tell(message),
                Some(WorkerLine::Request(request)) => recalls.take(request, scope),
                Some(WorkerLine::End(reply)) => heard.reply = Some(reply),
                Some(WorkerLine::Hello(_)) => {}
                None if line.is_empty() => {}
                None => keep_words(&mut heard.last_words, &line),
            }
        }
        recalls.close();
    });
    heard
}

fn keep_words(words: &mut VecDeque<String>, line: &[u8]) {
    words.push_back(String::from_utf8_lossy(line).into_owned());
    if words.len() > 5 {
        words.pop_front();
    }
}

/// True if the log ends with Rust's message for a failed allocation, printed before aborting.
fn is_out_of_memory(log: &Path) -> bool {
    let text = std::fs::read(log).unwrap_or_default();
    let end = &text[text.len().saturating_sub(1 << 12)..];
    String::from_utf8_lossy(end).contains("memory allocation of")
}

/// Error for a worker that exited without a result.
fn ending(status: ExitStatus, last_words: &VecDeque<String>, log: &Path) -> String {
    const REMEDY: &str = "lower 'patch', 'patches_per_volume' or 'volumes_per_step' of a training, \
                          'roi' or 'batch' of an inference";
    let how = match (status.signal(), status.code()) {
        (Some(9), _) => format!("was killed (SIGKILL); most likely memory ran out: {REMEDY}"),
        (Some(libc::SIGABRT), _) if is_out_of_memory(log) => {
            format!("ended because memory ran out: {REMEDY}")
        }
        (Some(signal), _) => format!("died of signal {signal}"),
        (None, code) => format!("ended with exit code {} without a reply", code.unwrap_or(-1)),
    };
    let said = last_words.back().map(|words| format!(" (last words: {words})")).unwrap_or_default();
    format!("the worker {how}{said}; its log is {}", log.display())
}
