//! Flags shared by `run` and `sweep`: parallelism, device, executor.

use super::place_args::PlaceArgs;
use crate::error::{Error, Result};
use crate::exec_options::ExecOptions;
use crate::executor::remote::{self, Remote};
use crate::executor::{Executor, Local};
use crate::home::Home;
use crate::machine;
use crate::resources::Resources;
use crate::site::{OnStop, Site};
use clap::Args;

/// Concurrent downloads.
const DOWNLOADS: u64 = 4;

#[derive(Clone, Debug, Args)]
pub struct ExecArgs {
    /// After a failure, continue with independent stages
    #[arg(long, short)]
    pub keep_going: bool,
    /// Concurrent CPU stages
    #[arg(
        long,
        short,
        value_name = "N",
        default_value_t = 1,
        value_parser = clap::value_parser!(u16).range(1..=1024)
    )]
    pub jobs: u16,
    /// Threads per stage; by default cores divided by jobs. Training is bit-reproducible only with
    /// the same number
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Device for training and prediction: auto, cpu, cuda (any card) or cuda:N (this card)
    #[arg(long, value_name = "DEVICE", default_value = "auto", value_parser = device)]
    pub device: String,
    /// The place where stages are made.
    #[command(flatten)]
    pub place: PlaceArgs,
    /// Treatment of cluster jobs when the run is stopped
    #[arg(long, value_enum, default_value_t)]
    pub on_stop: OnStop,
    /// Refuse a workflow that runs programs of its own (kind 'command')
    #[arg(long)]
    pub no_commands: bool,
}

impl Default for ExecArgs {
    /// The values without flags.
    fn default() -> ExecArgs {
        ExecArgs {
            keep_going: false,
            jobs: 1,
            threads: None,
            device: "auto".into(),
            place: PlaceArgs { executor: None, site: None },
            on_stop: OnStop::default(),
            no_commands: false,
        }
    }
}

/// Validates a device name.
pub(super) fn device(text: &str) -> std::result::Result<String, String> {
    let numbered = text.strip_prefix("cuda:").is_some_and(|number| number.parse::<u8>().is_ok());
    match text {
        "auto" | "cpu" | "cuda" => Ok(text.into()),
        _ if numbered => Ok(text.into()),
        _ => Err("write auto, cpu, cuda or cuda:N".into()),
    }
}

impl ExecArgs {
    /// Threads per CPU stage.
    pub fn threads(&self) -> usize {
        self.shared(usize::from(self.jobs))
    }

    fn shared(&self, stages: usize) -> usize {
        self.threads.map_or((machine::cores() / stages.max(1)).max(1), usize::from)
    }

    /// Executor and its budget. Graphics cards are queried only if `wants_card`: asking the driver
    /// takes longer than a run with nothing to do.
    pub fn executor(
        &self,
        site: Site,
        home: &Home,
        wants_card: bool,
        verify: bool,
    ) -> Result<(Box<dyn Executor>, ExecOptions)> {
        let store = std::path::absolute(home.store()).map_err(Error::io("find", home.store()))?;
        let Some(cluster) = remote::cluster_of(&site, &store) else {
            let local = Local::on(if wants_card { &self.device } else { "cpu" });
            let options = self.options(local.gpus(), verify);
            return Ok((Box::new(local), options));
        };
        let remote = Remote::new(cluster, site, store, self.on_stop);
        let jobs = remote.most_jobs() as u64;
        let mut options = self.options(0, verify);
        options.budget =
            Resources { io: DOWNLOADS, jobs, cpus: u64::MAX, memory: u64::MAX, gpus: 0 };
        Ok((Box::new(remote), options))
    }

    /// Execution options for a machine with `gpus` cards; `verify` reads stored bytes before reuse.
    pub fn options(&self, gpus: usize, verify: bool) -> ExecOptions {
        // A card that a person insists on counts, whatever the driver says of it.
        let gpus = if self.device.starts_with("cuda") { gpus.max(1) } else { gpus };
        let jobs = u64::from(self.jobs);
        let budget = Resources {
            io: DOWNLOADS,
            jobs,
            cpus: (machine::cores() as u64).max(jobs * self.threads() as u64),
            memory: machine::available_memory() / 10 * 9,
            gpus: gpus as u64,
        };
        ExecOptions {
            budget,
            threads: self.threads(),
            gpu_threads: self.shared(gpus),
            device: self.device.clone(),
            keep_going: self.keep_going,
            verify,
        }
    }
}
