//! A worker: the child process that makes a stage which needs libtorch. This is the parent's side;
//! the child's is `voxflow-worker`.
//!
//! The child is given a task file, speaks JSON lines on stdout, hears answers about its items on
//! stdin (`item_requests`), writes its log to stderr, takes SIGTERM as "keep what is finished and stop",
//! and dies with its parent.

use crate::item_requests::Recalls;
use crate::machine;
use crate::stop::Stop;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;
use voxflow_cache::disk::FileWriter;
use voxflow_stages::context::write_json;
use voxflow_stages::protocol::{Build, Opening, Order, REMEDY};
use voxflow_stages::record::Reply;
use voxflow_stages::{Error, Host, Message, Request, Result, Task};

/// Variables by which a person says how libtorch's threads wait for each other.
const WAITING: [&str; 2] = ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT"];

/// Turns that libtorch's threads spin before they sleep: long enough to save the kernel's help
/// between operations (a third of a small training step), too short to starve others who need the
/// processor (endless spinning made a step five times as slow beside a compiler).
const SPINS: &str = "100000";

/// Interval at which the exit of a worker is polled after its last message.
const REAP: Duration = Duration::from_millis(2);

/// The worker's program: `VOXFLOW_WORKER`, or `voxflow-worker` beside this program.
pub fn program() -> PathBuf {
    let beside = || {
        let me = std::env::current_exe().unwrap_or_default();
        me.parent()
            .map(|folder| folder.join("voxflow-worker"))
            .unwrap_or_else(|| "voxflow-worker".into())
    };
    std::env::var_os("VOXFLOW_WORKER")
        .filter(|path: &OsString| !path.is_empty())
        .map_or_else(beside, PathBuf::from)
}

/// The error if the worker's program is missing.
pub fn trouble() -> Option<String> {
    let program = program();
    (!program.is_file()).then(|| {
        format!(
            "'{}' is not there, and training needs it; run 'make setup' and 'cargo build', or set VOXFLOW_WORKER",
            program.display()
        )
    })
}

/// Runs a task in a worker. `desk` is an empty folder for the task file. What the worker says is
/// passed to `host`. Returns processor seconds and peak memory.
pub fn run(
    task: &Task,
    desk: &Path,
    log: &Path,
    stop: &Stop,
    host: &dyn Host,
) -> Result<(f64, u64)> {
    let file = desk.join("task.json");
    write_json(&file, &Order::new(task))?;
    let mut child = stop.start_worker(|| spawn(&file, log))?;
    let pid = i32::try_from(child.id()).unwrap_or(-1);
    let heard = listen(&mut child, task, host);
    if heard.stranger.is_some() {
        stop.end_worker(pid);
    }
    let (status, usage) = reap(pid, stop);
    let Heard { reply, stranger, last_words } = heard;
    if let Some(difference) = stranger {
        let program = program();
        let words = format!("the worker '{}' {difference}; {REMEDY}", program.display());
        return Err(Error::Failed(words));
    }
    match reply {
        Some(Reply::Done { adopted }) if status.success() => {
            adopted.iter().for_each(|(name, blob)| host.adopt(name, blob));
            Ok(usage)
        }
        reply => Err(match reply.and_then(Reply::error) {
            Some(error) => error,
            None if stop.is_asked() => Error::Stopped,
            None => Error::Failed(ending(status, &last_words, log)),
        }),
    }
}

fn spawn(file: &Path, log: &Path) -> Result<Child> {
    let program = program();
    let stderr = FileWriter::append(log)?.into_file();
    let mut command = Command::new(&program);
    command.arg(file).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(stderr).process_group(0);
    if WAITING.iter().all(|name| std::env::var_os(name).is_none()) {
        command.env(WAITING[1], SPINS);
    }
    let parent = rustix::process::getpid();
    // SAFETY: between fork and exec only two system calls are made, both safe there.
    unsafe {
        command.pre_exec(move || {
            rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
            // The parent may have died before the line above.
            if rustix::process::getppid() == Some(parent) {
                Ok(())
            } else {
                Err(std::io::ErrorKind::NotFound.into())
            }
        });
    }
    command.spawn().map_err(Error::io("start", program))
}

/// Messages of a worker that are kept by its parent.
#[derive(Default)]
struct Heard {
    reply: Option<Reply>,
    /// The difference, where it is of another build.
    stranger: Option<String>,
    /// Its last lines that were no message.
    last_words: VecDeque<String>,
}

/// A line of a worker, as far as it is one of the conversation.
enum Line {
    Opening(Build),
    Message(Message),
    Request(Request),
    Reply(Reply),
}

impl Line {
    fn read(line: &[u8]) -> Option<Line> {
        serde_json::from_slice(line)
            .map(Line::Message)
            .or_else(|_| serde_json::from_slice(line).map(Line::Request))
            .or_else(|_| serde_json::from_slice(line).map(Line::Reply))
            .or_else(|_| serde_json::from_slice(line).map(|Opening::Hello(own)| Line::Opening(own)))
            .ok()
    }
}

/// Hears the worker out, unless it is of another build: what that makes is not asked for.
fn listen(child: &mut Child, task: &Task, host: &dyn Host) -> Heard {
    let mut heard = Heard::default();
    let Some(stdout) = child.stdout.take() else { return heard };
    let recalls = Recalls::new(host, &task.recipe, child.stdin.take());
    std::thread::scope(|scope| {
        let (mut is_known, own) = (false, Build::own());
        for line in BufReader::new(stdout).split(b'\n').map_while(std::io::Result::ok) {
            match Line::read(&line) {
                Some(Line::Opening(build)) => {
                    heard.stranger = own.difference(&build);
                    is_known = true;
                }
                Some(_) if !is_known => heard.stranger = own.difference(&Build::default()),
                Some(Line::Message(message)) => host.tell(message),
                Some(Line::Request(request)) => recalls.take(request, scope),
                Some(Line::Reply(found)) => heard.reply = Some(found),
                None if !line.is_empty() => keep_words(&mut heard.last_words, &line),
                None => {}
            }
            if heard.stranger.is_some() {
                break;
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

/// Waits for the process, with what it used.
fn reap(pid: i32, stop: &Stop) -> (ExitStatus, (f64, u64)) {
    loop {
        let reaped = stop.reap(pid, || {
            let mut status = 0;
            // SAFETY: both pointers are to live values, and zeros are a valid rusage.
            let (found, usage) = unsafe {
                let mut usage: libc::rusage = std::mem::zeroed();
                (libc::wait4(pid, &raw mut status, libc::WNOHANG, &raw mut usage), usage)
            };
            (found != 0).then(|| (ExitStatus::from_raw(status), machine::read_usage(&usage)))
        });
        match reaped {
            Some(reaped) => return reaped,
            None => std::thread::sleep(REAP),
        }
    }
}

/// True if the last thing in the log is what Rust says where an allocation fails, before it aborts.
fn is_out_of_memory(log: &Path) -> bool {
    let text = std::fs::read(log).unwrap_or_default();
    let end = &text[text.len().saturating_sub(1 << 12)..];
    String::from_utf8_lossy(end).contains("memory allocation of")
}

/// The error of a worker that exited without a result.
fn ending(status: ExitStatus, last_words: &VecDeque<String>, log: &Path) -> String {
    const REMEDY: &str = "lower 'patch', 'patches_per_volume' or 'volumes_per_step' of a training, 'roi' or 'batch' \
                          of an inference";
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
