//! One run of the program, in a workplace, with its values.

use super::metrics_file::MetricsFile;
use super::variables::Variables;
use super::workplace::Workplace;
use super::{ending, mounts, parameters::Command};
use crate::container::Container;
use crate::context::{Context, write_json};
use crate::error::{Error, Result};
use crate::program::{Program, ProgramLimits, Usage};
use crate::record::Metric;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Variables that pass without being named.
const PASSED: [&str; 13] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "LD_LIBRARY_PATH",
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
    "CUDA_VISIBLE_DEVICES",
    "NVIDIA_VISIBLE_DEVICES",
];

/// Variables that pass into a container, where paths of the system outside mean nothing.
const PASSED_INSIDE: [&str; 8] = [
    "USER",
    "LOGNAME",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "CUDA_VISIBLE_DEVICES",
    "NVIDIA_VISIBLE_DEVICES",
];

/// The search path where the environment has none.
const USUAL_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// A run of the program for the whole stage, or for a case.
pub(super) struct Invocation<'a> {
    pub(super) stage: &'a Command,
    pub(super) cx: &'a Context<'a>,
    pub(super) place: &'a Workplace,
    /// The start of its lines in the log.
    pub(super) name: String,
    pub(super) threads: usize,
}

impl Invocation<'_> {
    /// The values that do not depend on inputs.
    pub(super) fn variables(&self) -> Result<Variables> {
        let mut variables = Variables::default();
        for (name, value) in &self.stage.params {
            variables.set(format!("params.{name}"), value.clone());
        }
        let params: serde_json::Map<String, Value> =
            self.stage.params.clone().into_iter().collect();
        variables.set("params", params);
        for (name, path) in &self.stage.scripts {
            variables.set_path(format!("scripts.{name}"), &absolute(path)?)?;
        }
        variables.set("threads", self.threads);
        variables.set("device", self.cx.device());
        variables.set("seed", self.stage.seed);
        variables.set("stage", self.cx.stage());
        variables.set_path("output", &self.place.output())?;
        variables.set_path("metrics", &self.place.metrics())?;
        variables.set_path("variables", &self.place.variables())?;
        Ok(variables)
    }

    /// Runs the program to its end; `tell` gets its metrics as they come. `unfinished` is a folder
    /// that it may write too.
    pub(super) fn run(
        &self,
        variables: &Variables,
        unfinished: Option<&Path>,
        mut tell: impl FnMut(Metric),
    ) -> Result<Usage> {
        write_json(&self.place.variables(), variables.all())?;
        let program = Program {
            name: self.name.clone(),
            words: self.words(variables)?,
            environment: self.environment(variables)?,
            folder: self.place.work(),
            container: self.container(unfinished)?,
            limits: self.limits(),
        };
        let mut metrics = MetricsFile::at(self.place.metrics());
        let end = self.cx.run_program(&program, &mut || {
            metrics.new_rows()?.into_iter().for_each(&mut tell);
            Ok(())
        })?;
        let ended = ending::check(&end, self.stage);
        if matches!(ended, Err(Error::Failed(_))) && self.stage.each.is_none() {
            self.show(&end.last_lines);
        }
        ended?;
        metrics.last_rows()?.into_iter().for_each(&mut tell);
        Ok(end.usage)
    }

    /// Shows more of a failed program's output than its last line.
    fn show(&self, lines: &[String]) {
        if lines.len() > 1 {
            self.cx.warn(format!("last output of the program:\n    {}", lines.join("\n    ")));
        }
    }

    fn container(&self, unfinished: Option<&Path>) -> Result<Option<Container>> {
        let Some(image) = self.stage.image() else { return Ok(None) };
        let scripts: Vec<_> =
            self.stage.scripts.values().map(|path| absolute(path)).collect::<Result<_>>()?;
        let unfinished = unfinished.map(Path::to_path_buf);
        let mounts = mounts::of_program(self.place, scripts, unfinished);
        Ok(Some(Container { image, mounts, network: self.stage.network, gpu: self.stage.gpu }))
    }

    fn words(&self, variables: &Variables) -> Result<Vec<String>> {
        match &self.stage.shell {
            Some(line) => {
                let shell = ["/bin/sh", "-eu", "-c"].map(String::from);
                Ok(shell.into_iter().chain([variables.line(line)?]).collect())
            }
            None => self.stage.run.iter().map(|word| variables.word(word)).collect(),
        }
    }

    /// The whole environment: little passes, so that results do not hang on what nobody wrote down.
    fn environment(&self, variables: &Variables) -> Result<BTreeMap<String, String>> {
        let is_inside = self.stage.container.is_some();
        let usual: &[&str] = if is_inside { &PASSED_INSIDE } else { &PASSED };
        let asked = self.stage.pass_environment.iter().map(String::as_str);
        let passed = usual.iter().copied().chain(asked);
        let (work, mut environment) = (text_of(&self.place.work())?, BTreeMap::new());
        match is_inside {
            // The image has its own search path, and none of the person's home.
            true => environment.insert("HOME".into(), work.clone()),
            false => environment.insert("PATH".into(), USUAL_PATH.into()),
        };
        environment
            .extend(passed.filter_map(|name| Some((name.into(), std::env::var(name).ok()?))));
        let threads = self.threads.to_string();
        for (name, value) in [
            ("OMP_NUM_THREADS", threads.as_str()),
            ("ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", threads.as_str()),
            // Lines reach the log as they are printed, and nothing is written beside the scripts.
            ("PYTHONUNBUFFERED", "1"),
            ("PYTHONDONTWRITEBYTECODE", "1"),
        ] {
            environment.insert(name.into(), value.into());
        }
        environment.insert("TMPDIR".into(), work);
        environment.extend(self.stage.environment.clone());
        environment.extend(variables.environment());
        Ok(environment)
    }

    fn limits(&self) -> ProgramLimits {
        let stage = self.stage;
        let hours =
            stage.max_hours.and_then(|hours| Duration::try_from_secs_f64(hours * 3600.0).ok());
        ProgramLimits {
            time: hours,
            memory: stage.max_gib.map(|gib| (gib * f64::from(1u32 << 30)) as u64),
            processes: stage.max_processes.into(),
            output: (stage.max_output_mib * f64::from(1u32 << 20)) as u64,
        }
    }
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).map_err(Error::io("find", path))
}

fn text_of(path: &Path) -> Result<String> {
    let text = path.to_str().map(String::from);
    text.ok_or_else(|| Error::failed(format!("{}: this path is no UTF-8", path.display())))
}
