//! A program of the person's own, under a supervisor ([`crate::supervisor`]) that keeps its limits
//! and ends all that it started, also if this process dies.

use super::output_log::OutputLog;
use super::process_group::ChildGroup;
use crate::lock::lock;
use crate::stop::{Stop, Stoppable};
use rustix::process::Signal;
use std::io::{PipeReader, Read};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};
use voxflow_stages::program::{Ending, Program, ProgramEnd};
use voxflow_stages::{Error, Result};

/// Poll interval for output and the end.
const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// Interval of the stage's own look.
const WATCH_INTERVAL: Duration = Duration::from_millis(200);

/// This program, even if its file was replaced meanwhile.
const ITSELF: &str = "/proc/self/exe";

/// Runs a program to its end, its output into `log`. See [`voxflow_stages::Host::run_program`].
pub(crate) fn run(
    program: &Program,
    log: &Path,
    stop: &Stop,
    watch: &mut dyn FnMut() -> Result<()>,
) -> Result<ProgramEnd> {
    let mut output = None;
    let supervisor = stop.start(|| {
        let (supervisor, pipe) = Supervisor::start(program)?;
        output = Some(OutputLog::new(pipe, log, &program.name, program.limits.output)?);
        Ok::<_, Error>(supervisor)
    })?;
    let mut output = output.ok_or_else(|| Error::failed("a program without output"))?;
    let watched = follow(&supervisor, &mut output, watch);
    let is_full = output.is_full();
    let last_lines = output.finish()?;
    watched?;
    watch()?;
    let ending = match supervisor.last_word() {
        _ if is_full => Ending::OutputLimit,
        Some(ending) => ending,
        None if stop.is_asked() => Ending::Stopped,
        None => {
            let name = &program.name;
            return Err(Error::failed(format!("{name}: its supervisor was killed; run again")));
        }
    };
    Ok(ProgramEnd { ending, last_lines, log: log.to_path_buf() })
}

/// Reads output and calls `watch` until the supervisor has ended; ends it where the output is too
/// long or `watch` has an error, which is returned.
fn follow(
    supervisor: &Supervisor,
    output: &mut OutputLog,
    watch: &mut dyn FnMut() -> Result<()>,
) -> Result<()> {
    let mut watched = Ok(());
    let mut looked = Instant::now();
    while supervisor.group.try_wait().is_none() {
        let read = output.read_some();
        if watched.is_ok() && looked.elapsed() > WATCH_INTERVAL {
            watched = watch();
            looked = Instant::now();
        }
        let has_more = *read.as_ref().unwrap_or(&false);
        watched = watched.and(read.map(drop));
        if watched.is_err() || output.is_full() {
            supervisor.end();
        }
        if !has_more {
            std::thread::sleep(POLL_INTERVAL);
        }
    }
    watched
}

/// The process between this one and the program.
struct Supervisor {
    group: ChildGroup,
    /// Closed from here, it ends everything; the other way comes its last word.
    line: Mutex<UnixStream>,
}

impl Supervisor {
    fn start(program: &Program) -> Result<(Supervisor, PipeReader)> {
        let broken = |error| Error::failed(format!("{}: cannot be started: {error}", program.name));
        let (ours, theirs) = UnixStream::pair().map_err(broken)?;
        let (reader, writer) = std::io::pipe().map_err(broken)?;
        let mut command = Command::new(ITSELF);
        command.arg0("voxflow").arg("supervise").args(bounds(program)).arg("--");
        command.args(&program.words).env_clear().envs(&program.environment);
        command.current_dir(&program.folder).process_group(0);
        let also = writer.try_clone().map_err(broken)?;
        command.stdin(Stdio::from(OwnedFd::from(theirs))).stdout(also).stderr(writer);
        let child = command.spawn().map_err(broken)?;
        let supervisor = Supervisor { group: ChildGroup::led_by(&child), line: Mutex::new(ours) };
        Ok((supervisor, reader))
    }

    /// Has it kill all that runs.
    fn end(&self) {
        lock(&self.line).shutdown(Shutdown::Write).ok();
    }

    /// The ending that it told; call it after its end.
    fn last_word(&self) -> Option<Ending> {
        let mut text = vec![];
        lock(&self.line).read_to_end(&mut text).ok()?;
        serde_json::from_slice(&text).ok()
    }
}

impl Stoppable for Supervisor {
    fn ask(&self) {
        self.group.signal(Signal::TERM);
    }

    fn suspend(&self) {
        self.group.signal(Signal::TSTP);
    }

    fn resume(&self) {
        self.group.signal(Signal::CONT);
    }

    fn kill(&self) {
        self.end();
    }
}

fn bounds(program: &Program) -> Vec<String> {
    let limits = &program.limits;
    let seconds = limits.time.map(|time| format!("--seconds={}", time.as_secs_f64()));
    let memory = limits.memory.map(|bytes| format!("--memory={bytes}"));
    let processes = format!("--processes={}", limits.processes);
    seconds.into_iter().chain(memory).chain([processes]).collect()
}
