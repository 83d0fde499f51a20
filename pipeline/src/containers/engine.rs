//! Engines: Apptainer, Podman and Docker, as they are found on the `PATH`.

use std::env;
use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use voxflow_stages::container::Image;

/// Names the engine to use.
pub const CHOICE: &str = "VOXFLOW_CONTAINER_ENGINE";
/// Time in which an engine answers a question.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Poll interval for an answer.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Engines with the same command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineFamily {
    /// Containers are children of the program that starts them, and images are files.
    Apptainer,
    /// No daemon; images are in a store of each user.
    Podman,
    /// A daemon runs the containers.
    Docker,
}

/// The programs, the one to be preferred first.
const PROGRAMS: [(&str, EngineFamily); 4] = [
    ("podman", EngineFamily::Podman),
    ("docker", EngineFamily::Docker),
    ("apptainer", EngineFamily::Apptainer),
    ("singularity", EngineFamily::Apptainer),
];

/// An engine of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerEngine {
    /// "podman".
    pub name: &'static str,
    pub family: EngineFamily,
    pub program: PathBuf,
}

impl ContainerEngine {
    /// The engine for an image: the named one, or the first on this machine.
    ///
    /// # Errors
    /// No engine, or one that is missing or cannot take the image.
    pub fn of(image: &Image) -> Result<ContainerEngine, String> {
        match chosen()? {
            Some(engine) if engine.takes(image) => Ok(engine),
            Some(engine) => Err(format!(
                "{}, which {CHOICE} names, does not run {}; name another",
                engine.name,
                words(image)
            )),
            None => {
                let found = installed().into_iter().find(|engine| engine.takes(image));
                found.ok_or_else(|| match image {
                    Image::File(_) => "an image file (.sif) needs Apptainer, which is not on the \
                                       PATH; install it, or name an image of a registry"
                        .to_string(),
                    _ => "a container needs Podman, Docker or Apptainer, and none is on the PATH; \
                          install one"
                        .to_string(),
                })
            }
        }
    }

    fn takes(&self, image: &Image) -> bool {
        match image {
            Image::File(_) => self.family == EngineFamily::Apptainer,
            Image::Own { .. } => self.family != EngineFamily::Apptainer,
            Image::Registry { .. } | Image::Tagged(_) => true,
        }
    }

    /// The engine as one word, for a command line; see [`ContainerEngine::read`].
    pub fn word(&self) -> String {
        format!("{}={}", self.name, self.program.display())
    }

    /// Reads [`ContainerEngine::word`].
    pub fn read(word: &str) -> Option<ContainerEngine> {
        let (name, program) = word.split_once('=')?;
        let &(name, family) = PROGRAMS.iter().find(|(own, _)| *own == name)?;
        Some(ContainerEngine { name, family, program: program.into() })
    }

    /// Standard output of a call, trimmed.
    ///
    /// # Errors
    /// The last line of its standard error, or its duration, if it fails.
    pub fn ask<S: AsRef<OsStr>>(&self, words: &[S], patience: Duration) -> Result<String, String> {
        let broken = |error| format!("{}: {error}", self.program.display());
        let (mut out, out_end) = std::io::pipe().map_err(broken)?;
        let (mut err, err_end) = std::io::pipe().map_err(broken)?;
        let mut command = Command::new(&self.program);
        command.args(words).stdin(Stdio::null()).stdout(out_end).stderr(err_end);
        let mut child = command.spawn().map_err(broken)?;
        // It holds the other ends of both pipes.
        drop(command);
        let began = Instant::now();
        let status = loop {
            match child.try_wait().map_err(broken)? {
                Some(status) => break status,
                None if began.elapsed() > patience => {
                    child.kill().and_then(|()| child.wait()).ok();
                    let seconds = patience.as_secs();
                    return Err(format!("{} did not answer within {seconds} s", self.name));
                }
                None => std::thread::sleep(POLL_INTERVAL),
            }
        };
        let mut text = String::new();
        if status.success() {
            out.read_to_string(&mut text).map_err(broken)?;
            return Ok(text.trim().to_string());
        }
        err.read_to_string(&mut text).map_err(broken)?;
        let line = text.trim().lines().next_back().map(str::to_string);
        Err(line.unwrap_or_else(|| format!("{} ended with {status}", self.name)))
    }

    /// The version and state in words: "docker 28.2.2, whose daemon does not answer".
    pub fn state(&self) -> String {
        let patience = Duration::from_secs(5);
        let said = self.ask(&["--version"], patience);
        let version = said.map_or_else(|trouble| format!("({trouble})"), |said| version_in(&said));
        let is_silent = self.family == EngineFamily::Docker
            && self.ask(&["version", "--format", "{{.Server.Version}}"], patience).is_err();
        let silent = if is_silent { ", whose daemon does not answer" } else { "" };
        format!("{} {version}{silent}", self.name)
    }
}

/// The engine that the person names.
fn chosen() -> Result<Option<ContainerEngine>, String> {
    let Some(name) = env::var(CHOICE).ok().filter(|name| !name.is_empty()) else {
        return Ok(None);
    };
    let Some(&(name, family)) = PROGRAMS.iter().find(|(own, _)| *own == name) else {
        let known = PROGRAMS.map(|(name, _)| name).join(", ");
        return Err(format!(
            "'{name}', which {CHOICE} names, is no engine; the engines are {known}"
        ));
    };
    match on_path(name) {
        Some(program) => Ok(Some(ContainerEngine { name, family, program })),
        None => Err(format!(
            "{name}, which {CHOICE} names, is not on the PATH; install it, or unset {CHOICE}"
        )),
    }
}

/// The engines on the `PATH`, the one to be preferred first.
pub fn installed() -> Vec<ContainerEngine> {
    let mut found: Vec<ContainerEngine> = vec![];
    for (name, family) in PROGRAMS {
        // Apptainer also goes by the name of Singularity.
        let is_new =
            |program: &PathBuf| found.iter().all(|known| !is_same(&known.program, program));
        let program = on_path(name).filter(is_new);
        found.extend(program.map(|program| ContainerEngine { name, family, program }));
    }
    found
}

/// Trouble with the engine that the person names.
pub fn trouble() -> Option<String> {
    chosen().err()
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    let places = env::split_paths(&path).map(|folder| folder.join(program));
    places.into_iter().find(|place| is_executable(place))
}

fn is_same(one: &Path, other: &Path) -> bool {
    one.canonicalize().is_ok_and(|one| other.canonicalize().is_ok_and(|other| one == other))
}

fn is_executable(file: &Path) -> bool {
    file.is_file() && rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok()
}

fn words(image: &Image) -> &'static str {
    match image {
        Image::File(_) => "an image file (.sif)",
        Image::Own { .. } => "an image by its id",
        Image::Registry { .. } | Image::Tagged(_) => "an image of a registry",
    }
}

/// The version in "Docker version 28.2.2, build e6534b4".
fn version_in(said: &str) -> String {
    let line = said.lines().next().unwrap_or_default();
    let version =
        line.split([' ', ',']).find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
    version.unwrap_or(line).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_is_one_word_and_its_version_is_found_in_what_it_says() {
        let program = PathBuf::from("/opt/a=b/podman");
        let engine = ContainerEngine { name: "podman", family: EngineFamily::Podman, program };
        assert_eq!(ContainerEngine::read(&engine.word()), Some(engine));
        assert_eq!(ContainerEngine::read("crio=/usr/bin/crio"), None);
        for (said, version) in [
            ("Docker version 28.2.2, build e6534b4", "28.2.2"),
            ("podman version 4.3.1", "4.3.1"),
            ("apptainer version 1.3.4-1.el9", "1.3.4-1.el9"),
            ("singularity-ce version 4.1.0", "4.1.0"),
            ("unknown", "unknown"),
        ] {
            assert_eq!(version_in(said), version);
        }
    }

    #[test]
    fn an_answer_is_trimmed_and_a_failure_is_its_last_line() {
        let program = PathBuf::from("/bin/sh");
        let shell = ContainerEngine { name: "docker", family: EngineFamily::Docker, program };
        let ask = |line: &str, seconds| shell.ask(&["-c", line], Duration::from_secs(seconds));
        assert_eq!(ask("echo ' a '", 60), Ok("a".into()));
        assert_eq!(ask("echo one >&2; echo two >&2; exit 1", 60), Err("two".into()));
        assert_eq!(ask("exec sleep 60", 0), Err("docker did not answer within 0 s".into()));
    }
}
