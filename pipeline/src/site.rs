//! The site file: settings for a cluster, independent from workflows: executor, partitions,
//! resources per kind. Never hashed.

use crate::error::{Error, Result};
use crate::parse_size;
use crate::workflow::{self, Diagnostic};
use clap::ValueEnum;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Executor for stages
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum ExecutorName {
    /// This machine
    #[default]
    Here,
    /// Child processes on this machine, treated like a cluster; for tests
    Children,
    /// Slurm cluster
    Slurm,
}

/// Treatment of cluster jobs when the run stops
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OnStop {
    /// Leave running; the same command resumes them
    #[default]
    Leave,
    /// Cancel
    Cancel,
}

/// Content of the site file.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct SiteFile {
    /// Executor for stages.
    executor: ExecutorName,
    /// Slurm settings.
    slurm: WrittenSlurm,
    /// Resources by kind; the workflow's take precedence.
    kinds: BTreeMap<String, WrittenKind>,
    /// Longest wait for a file written by another machine: `2m`.
    patience: Option<String>,
    /// Folder on a node's own disk where GPU stages copy what they read: `$TMPDIR`.
    scratch: Option<String>,
    /// Missing items (volumes, images) per job.
    #[schemars(range(min = 1))]
    items_per_job: Option<u64>,
    /// Maximum child processes (`executor: children`).
    #[schemars(range(min = 1))]
    children: Option<usize>,
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct WrittenSlurm {
    /// Default partition.
    partition: Option<String>,
    /// Account.
    account: Option<String>,
    /// Additional arguments for `sbatch`.
    options: Vec<String>,
    /// Generic resource for graphics cards: `gpu` or `gpu:a100`.
    gpu: Option<String>,
    /// Maximum concurrent jobs.
    #[schemars(range(min = 1))]
    max_jobs: Option<usize>,
    /// Maximum time limit per job: `4h`.
    max_time: Option<String>,
    /// Shell lines before the program: `module load cuda/13`.
    setup: Option<String>,
    /// Prefix command: `apptainer exec --nv image.sif`.
    prefix: Option<String>,
    /// Path to the program on nodes; by default this one.
    program: Option<String>,
    /// Time reserved for a last checkpoint: `5m`.
    lead: Option<String>,
    /// Memory factor after a job ran out of memory.
    #[schemars(range(min = 1.0))]
    more_memory: Option<f64>,
    /// False if the cluster must not requeue jobs.
    requeue: Option<bool>,
    /// Minimum time between queue queries: `15s`.
    look: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct WrittenKind {
    /// Partition.
    partition: Option<String>,
    /// CPU cores.
    cpus: Option<u16>,
    /// Memory: `64G`.
    memory: Option<String>,
    /// Graphics cards.
    gpus: Option<u16>,
    /// Time limit: `3d`.
    time: Option<String>,
}

/// Resources for a kind.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KindSite {
    pub partition: Option<String>,
    pub cpus: Option<u16>,
    /// Bytes.
    pub memory: Option<u64>,
    pub gpus: Option<u16>,
    /// Time limit.
    pub time: Option<Duration>,
}

/// Slurm settings.
#[derive(Clone, Debug, PartialEq)]
pub struct SlurmSite {
    /// Default partition.
    pub partition: Option<String>,
    pub account: Option<String>,
    /// Additional arguments for `sbatch`.
    pub options: Vec<String>,
    /// Generic resource for graphics cards.
    pub gpu: Option<String>,
    /// Maximum concurrent jobs.
    pub max_jobs: usize,
    /// Maximum time limit per job.
    pub max_time: Option<Duration>,
    /// Shell lines before the program.
    pub setup: Option<String>,
    /// Prefix command.
    pub prefix: Option<String>,
    program: Option<String>,
    /// Time reserved for a last checkpoint.
    pub lead: Duration,
    /// Memory factor after a job ran out of memory.
    pub more_memory: f64,
    /// True if the cluster may requeue jobs.
    pub requeue: bool,
    /// Minimum time between queue queries.
    pub look: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Site {
    pub executor: ExecutorName,
    pub slurm: SlurmSite,
    kinds: BTreeMap<String, KindSite>,
    patience: Duration,
    items_per_job: u64,
    /// Folder on a node's own disk for copies of what a GPU stage reads.
    pub scratch: Option<String>,
    /// Maximum child processes.
    pub children: usize,
}

impl SlurmSite {
    /// Settings as written, with parsed times; defaults filled in.
    fn of(
        written: WrittenSlurm,
        max_time: Option<Duration>,
        lead: Option<Duration>,
        look: Option<Duration>,
    ) -> SlurmSite {
        SlurmSite {
            partition: written.partition,
            account: written.account,
            options: written.options,
            gpu: written.gpu,
            max_jobs: written.max_jobs.unwrap_or(200),
            max_time,
            setup: written.setup,
            prefix: written.prefix,
            program: written.program,
            lead: lead.unwrap_or(Duration::from_secs(300)),
            more_memory: written.more_memory.unwrap_or(2.0),
            requeue: written.requeue.unwrap_or(true),
            look: look.unwrap_or(Duration::from_secs(15)),
        }
    }

    /// Path to the program on nodes.
    pub fn program(&self) -> String {
        self.program.clone().unwrap_or_else(|| {
            let own = std::env::current_exe().unwrap_or_else(|_| "voxflow".into());
            format!("'{}'", own.display())
        })
    }
}

impl Site {
    /// Reads the first site file found: `--site` or `VOXFLOW_SITE`, `site.yaml` in the home,
    /// `~/.config/voxflow/site.yaml`. Defaults to local execution.
    ///
    /// # Errors
    /// All mistakes in the file with their lines, or an unreadable named file.
    pub fn find(given: Option<&Path>, home: &Path) -> Result<Site> {
        if let Some(path) = given {
            return Site::read(path);
        }
        let config = std::env::var_os("XDG_CONFIG_HOME")
            .map(PathBuf::from)
            .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".config")));
        let usual = config.map(|config| config.join("voxflow/site.yaml"));
        let places = [Some(home.join("site.yaml")), usual];
        match places.into_iter().flatten().find(|path| path.is_file()) {
            Some(path) => Site::read(&path),
            None => Site::of(SiteFile::default()).map_err(|_| Error::usage("site: no default")),
        }
    }

    fn read(path: &Path) -> Result<Site> {
        let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
        let file = path.display().to_string();
        let kinds: Vec<&str> = voxflow_stages::KINDS.iter().map(|kind| kind.name).collect();
        workflow::settings::read(&file, &bytes, &schema(), |value: Value| {
            let written: SiteFile =
                serde_json::from_value(value).map_err(|error| vec![(vec![], error.to_string())])?;
            let unknown = written.kinds.keys().find(|name| !kinds.contains(&name.as_str()));
            if let Some(name) = unknown {
                let words = format!("there is no kind '{name}'");
                return Err(vec![(vec!["kinds".to_string(), name.clone()], words)]);
            }
            Site::of(written)
        })
        .map_err(complain)
    }

    fn of(written: SiteFile) -> std::result::Result<Site, workflow::settings::Troubles> {
        let mut troubles = vec![];
        let mut time = |path: &[&str], text: &Option<String>| {
            let parsed = text.as_deref().map(parse_size::age).transpose();
            parsed.unwrap_or_else(|trouble| note(&mut troubles, path, trouble))
        };
        let lead = time(&["slurm", "lead"], &written.slurm.lead);
        let look = time(&["slurm", "look"], &written.slurm.look);
        let max_time = time(&["slurm", "max_time"], &written.slurm.max_time);
        let patience = time(&["patience"], &written.patience);
        let mut kinds = BTreeMap::new();
        for (name, kind) in written.kinds {
            let time = time(&["kinds", &name, "time"], &kind.time);
            kinds.insert(name, (kind, time));
        }
        let mut with_memory = BTreeMap::new();
        for (name, (kind, time)) in kinds {
            let memory = kind.memory.as_deref().map(parse_size::size).transpose();
            let path = ["kinds", &name, "memory"];
            let memory = memory.unwrap_or_else(|trouble| note(&mut troubles, &path, trouble));
            let WrittenKind { partition, cpus, gpus, .. } = kind;
            with_memory.insert(name, KindSite { partition, cpus, memory, gpus, time });
        }
        if !troubles.is_empty() {
            return Err(troubles);
        }
        Ok(Site {
            executor: written.executor,
            slurm: SlurmSite::of(written.slurm, max_time, lead, look),
            kinds: with_memory,
            patience: patience.unwrap_or(Duration::from_secs(120)),
            scratch: written.scratch,
            items_per_job: written.items_per_job.unwrap_or(8),
            children: written.children.unwrap_or_else(crate::machine::cores),
        })
    }

    pub fn kind(&self, name: &str) -> KindSite {
        self.kinds.get(name).cloned().unwrap_or_default()
    }

    /// Maximum concurrent jobs.
    pub fn max_jobs(&self) -> usize {
        if self.executor == ExecutorName::Slurm { self.slurm.max_jobs } else { self.children }
    }

    /// Maximum time limit per job.
    pub fn max_time(&self) -> Option<Duration> {
        self.slurm.max_time
    }

    /// Default partition.
    pub fn partition(&self) -> Option<String> {
        self.slurm.partition.clone()
    }

    /// Longest wait for a file written by another machine.
    pub fn patience(&self) -> Duration {
        self.patience
    }

    /// Memory factor after a job ran out of memory.
    pub fn more_memory(&self) -> f64 {
        self.slurm.more_memory
    }

    /// Missing items (volumes, images) per job.
    pub fn items_per_job(&self) -> u64 {
        self.items_per_job
    }
}

/// JSON schema for site files.
pub fn schema() -> Value {
    schemars::generate::SchemaSettings::default()
        .with(|settings| settings.inline_subschemas = true)
        .into_generator()
        .into_root_schema_for::<SiteFile>()
        .to_value()
}

fn note<T>(
    troubles: &mut workflow::settings::Troubles,
    path: &[&str],
    trouble: String,
) -> Option<T> {
    troubles.push((path.iter().map(|key| (*key).to_string()).collect(), trouble));
    None
}

fn complain(mistakes: Vec<Diagnostic>) -> Error {
    let lines: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
    Error::usage(lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Site> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("site.yaml");
        std::fs::write(&path, text).unwrap();
        Site::find(Some(&path), folder.path())
    }

    #[test]
    fn a_site_says_what_each_kind_gets() {
        let site = read(
            "executor: slurm\nslurm: { partition: main, max_jobs: 20, max_time: 4h, lead: 30s }\n\
             kinds: { train: { partition: gpu, cpus: 16, memory: 64G, time: 3d } }\npatience: 1m\n",
        )
        .unwrap();
        assert_eq!((site.executor, site.max_jobs()), (ExecutorName::Slurm, 20));
        let train = site.kind("train");
        assert_eq!((train.cpus, train.memory), (Some(16), Some(64 << 30)));
        assert_eq!(train.partition.as_deref(), Some("gpu"));
        assert_eq!(site.kind("test"), KindSite::default());
        assert_eq!(site.slurm.lead, Duration::from_secs(30));
    }

    #[test]
    fn each_mistake_has_its_line_and_the_nearest_word() {
        for (text, words) in [
            ("executor: slum\n", ":1:11: key 'executor': must be 'here', 'children' or 'slurm'"),
            ("slurm:\n  partion: x\n", ":2:3: key 'slurm.partion': there is no such key"),
            ("slurm: { lead: 5x }\n", ":1:16: key 'slurm.lead': times are in"),
            ("kinds: { trian: {} }\n", "key 'kinds.trian': there is no kind 'trian'"),
            ("kinds: { train: { memory: 3Q } }\n", "key 'kinds.train.memory': sizes are in"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
