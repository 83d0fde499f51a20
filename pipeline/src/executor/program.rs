//! A program of the person's own, under a supervisor ([`crate::supervisor`]) that keeps its limits
//! and ends all that it started, also if this process dies. For a container, an engine's program
//! stands in its place.

use super::output_log::OutputLog;
use super::process_group::ChildGroup;
use super::programs_usage::ProgramsUsage;
use crate::containers::engine::ContainerEngine;
use crate::containers::kept::{self, KeptContainer};
use crate::containers::{command_line, images};
use crate::lock::lock;
use crate::stop::{Stop, Stoppable};
use crate::supervisor::LastWord;
use rustix::process::Signal;
use std::collections::BTreeSet;
use std::io::{PipeReader, Read};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};
use voxflow_stages::container::Container;
use voxflow_stages::program::{Ending, Program, ProgramEnd, ProgramLimits, Usage};
use voxflow_stages::{Error, Result};

/// Poll interval for output and the end.
const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// Interval of the stage's own look.
const WATCH_INTERVAL: Duration = Duration::from_millis(200);

/// This program, even if its file was replaced meanwhile.
const ITSELF: &str = "/proc/self/exe";

/// Bytes of output of an engine that fetches an image.
const FETCH_OUTPUT: u64 = 64 << 20;
/// Processes of an engine that fetches an image.
const FETCH_PROCESSES: u64 = 1000;

/// Runs a program to its end, its output into `log`, and adds what it took to `usage`. See
/// [`voxflow_stages::Host::run_program`].
pub(crate) fn run(
    program: &Program,
    log: &Path,
    stop: &Stop,
    usage: &ProgramsUsage,
    watch: &mut dyn FnMut() -> Result<()>,
) -> Result<ProgramEnd> {
    let engine = match &program.container {
        None => None,
        Some(container) => {
            let engine = ContainerEngine::of(&container.image).map_err(Error::failed)?;
            fetch(&engine, container, program, log, stop)?;
            Some((engine, container))
        }
    };
    let began = Instant::now();
    let end = match engine {
        None => supervised(program, &Around::default(), log, stop, watch),
        Some((engine, container)) => {
            let kept = KeptContainer::new(&engine);
            let outer = command_line::of(&engine, kept.as_ref(), program, container)?;
            supervised(&outer, &Around { engine: Some(engine), kept }, log, stop, watch)
        }
    }?;
    usage.add(began, end.usage);
    Ok(end)
}

/// Fetches an image that is not on this machine; programs that want the same wait for it.
fn fetch(
    engine: &ContainerEngine,
    container: &Container,
    program: &Program,
    log: &Path,
    stop: &Stop,
) -> Result<()> {
    static THERE: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let reference = images::reference(engine, &container.image)?;
    let mut there = lock(&THERE);
    if there.contains(&reference) {
        return Ok(());
    }
    kept::remove_orphans(engine);
    if let Some(fetch) = images::fetch(engine, &container.image)? {
        let fetches = Program {
            words: fetch.words.clone(),
            environment: command_line::own_environment(),
            container: None,
            limits: ProgramLimits {
                time: None,
                memory: None,
                processes: FETCH_PROCESSES,
                output: FETCH_OUTPUT,
            },
            ..program.clone()
        };
        let end = supervised(&fetches, &Around::default(), log, stop, &mut || Ok(()))?;
        match end.ending {
            Ending::Exited(0) => fetch.settle()?,
            Ending::Stopped => return Err(Error::Stopped),
            _ => return Err(not_fetched(engine, &reference, &end)),
        }
    }
    there.insert(reference);
    Ok(())
}

fn not_fetched(engine: &ContainerEngine, reference: &str, end: &ProgramEnd) -> Error {
    let said = end.last_lines.last().map(|line| format!(" ({})", line.trim()));
    Error::failed(format!(
        "image '{reference}' is not on this machine, and {} cannot fetch it{}; its output is in \
         {}; fetch it beforehand where there is a network, or see 'voxflow doctor'",
        engine.name,
        said.unwrap_or_default(),
        end.log.display()
    ))
}

/// The engine and the container around a program.
#[derive(Default)]
struct Around {
    engine: Option<ContainerEngine>,
    kept: Option<KeptContainer>,
}

impl Around {
    fn flags(&self) -> Vec<String> {
        let engine = self.engine.iter().map(|engine| format!("--engine={}", engine.word()));
        let kept = self.kept.iter().map(|kept| format!("--container={}", kept.name));
        engine.chain(kept).collect()
    }
}

fn supervised(
    program: &Program,
    around: &Around,
    log: &Path,
    stop: &Stop,
    watch: &mut dyn FnMut() -> Result<()>,
) -> Result<ProgramEnd> {
    let mut output = None;
    let supervisor = stop.start(|| {
        let (supervisor, pipe) = Supervisor::start(program, around)?;
        output = Some(OutputLog::new(pipe, log, &program.name, program.limits.output)?);
        Ok::<_, Error>(supervisor)
    })?;
    let mut output = output.ok_or_else(|| Error::failed("a program without output"))?;
    let watched = follow(&supervisor, &mut output, watch);
    let is_full = output.is_full();
    let last_lines = output.finish()?;
    watched?;
    watch()?;
    let last_word = supervisor.last_word();
    if last_word.is_none() && !is_full {
        // A supervisor that was killed leaves what a daemon keeps.
        around.kept.iter().for_each(KeptContainer::remove);
    }
    let usage = last_word.as_ref().map_or_else(Usage::default, |last| last.usage);
    let ending = match last_word {
        _ if is_full => Ending::OutputLimit,
        Some(last) => last.ending,
        None if stop.is_asked() => Ending::Stopped,
        None => {
            let name = &program.name;
            return Err(Error::failed(format!("{name}: its supervisor was killed; run again")));
        }
    };
    Ok(ProgramEnd { ending, usage, last_lines, log: log.to_path_buf() })
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
    fn start(program: &Program, around: &Around) -> Result<(Supervisor, PipeReader)> {
        let broken = |error| Error::failed(format!("{}: cannot be started: {error}", program.name));
        let (ours, theirs) = UnixStream::pair().map_err(broken)?;
        let (reader, writer) = std::io::pipe().map_err(broken)?;
        let mut command = Command::new(ITSELF);
        command.arg0("voxflow").arg("supervise").args(bounds(program)).args(around.flags());
        command.arg("--");
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

    /// The end that it told; call it after its own.
    fn last_word(&self) -> Option<LastWord> {
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
