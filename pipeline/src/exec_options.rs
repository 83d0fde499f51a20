//! Execution on this machine: options, threads, and shares of stages.

use crate::resources::Resources;
use crate::workflow::StageSpec;
use voxflow_stages::stage::Pool;

#[derive(Clone, Debug)]
pub struct ExecOptions {
    /// Resources on this machine available to stages.
    pub budget: Resources,
    /// Threads per CPU stage.
    pub threads: usize,
    /// Threads per GPU stage.
    pub gpu_threads: usize,
    /// Device: auto, cpu, cuda or cuda:N.
    pub device: String,
    /// After a failure, continue with independent stages.
    pub keep_going: bool,
    /// Read every blob before reuse.
    pub verify: bool,
}

impl ExecOptions {
    /// Resources taken by a stage on this machine. Without a graphics card, GPU stages run on the
    /// CPU. GPU stages reserve cores only if the workflow says so.
    pub fn wants(&self, stage: &StageSpec) -> Resources {
        let asked = &stage.resources;
        let none = Resources { memory: asked.memory.unwrap_or(0), ..Resources::default() };
        match stage.kind.pool {
            Pool::Io => Resources { io: 1, ..none },
            Pool::Gpu if self.budget.gpus > 0 => {
                let cpus = asked.cpus.map_or(0, u64::from);
                Resources { gpus: asked.gpus.map_or(1, u64::from), cpus, ..none }
            }
            Pool::Cpu | Pool::Gpu => {
                Resources { jobs: 1, cpus: self.threads_of(stage) as u64, ..none }
            }
        }
    }

    /// Thread count for a stage.
    pub fn threads_of(&self, stage: &StageSpec) -> usize {
        let has_card = stage.kind.pool == Pool::Gpu && self.budget.gpus > 0;
        let usual = if has_card { self.gpu_threads } else { self.threads };
        stage.resources.cpus.map_or(usual, usize::from)
    }
}
