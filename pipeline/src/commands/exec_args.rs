//! The flags that `run` and `sweep` share: how much at once, and on what.

use crate::execute::ExecOptions;
use crate::machine;
use crate::schedule::Slots;
use clap::Args;

/// Downloads at once.
const IO_SLOTS: usize = 4;

/// By what means stages are made.
#[derive(Clone, Debug, Args)]
pub struct ExecArgs {
    /// Go on after a failure with all that does not depend on it
    #[arg(long, short)]
    pub keep_going: bool,
    /// Concurrent stages on the processor
    #[arg(long, short, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub jobs: u16,
    /// Threads for each stage; by default the cores shared among the jobs. Training repeats bit by
    /// bit only with the same number
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
    /// Device for training and prediction: auto, cpu or cuda:N
    #[arg(long, value_name = "DEVICE", default_value = "auto", value_parser = device)]
    pub device: String,
}

/// A device as a person names it.
pub(super) fn device(text: &str) -> std::result::Result<String, String> {
    let numbered = text.strip_prefix("cuda:").is_some_and(|number| number.parse::<u8>().is_ok());
    match text {
        "auto" | "cpu" => Ok(text.into()),
        "cuda" => Ok("cuda:0".into()),
        _ if numbered => Ok(text.into()),
        _ => Err("write auto, cpu or cuda:N".into()),
    }
}

impl ExecArgs {
    /// Threads for each stage.
    pub fn threads(&self) -> usize {
        let shared = machine::cores() / usize::from(self.jobs);
        self.threads.map_or(shared.max(1), usize::from)
    }

    /// The manner in which stages are made; with `verify` stored bytes are read before they are
    /// reused.
    pub fn manner(&self, verify: bool) -> ExecOptions {
        ExecOptions {
            slots: Slots { io: IO_SLOTS, cpu: self.jobs.into(), gpu: 1 },
            threads: self.threads(),
            device: self.device.clone(),
            gpu_is_cpu: self.device == "cpu"
                || (self.device == "auto" && !machine::has_accelerator()),
            keep_going: self.keep_going,
            verify,
        }
    }
}
