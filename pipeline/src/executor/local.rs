//! Stages on this machine.

use super::{Executor, MadeFacts, StageOrder, child, here};
use crate::gpus::Gpus;
use crate::stop::Stop;
use std::ffi::OsString;
use voxflow_stages::kind::Place;
use voxflow_stages::{Error, Host, Message, Result};

/// Runs kinds without libtorch in this process, others in a worker restricted to its leased cards.
#[derive(Debug)]
pub struct Local {
    gpus: Gpus,
}

impl Local {
    /// Uses the cards selected by `--device`.
    pub fn on(device: &str) -> Local {
        Local { gpus: Gpus::of_device(device) }
    }

    /// Number of graphics cards.
    pub fn gpus(&self) -> usize {
        self.gpus.count()
    }

    fn in_worker(&self, order: &StageOrder, host: &dyn Host, stop: &Stop) -> Result<MadeFacts> {
        let count = order.gpus.min(self.gpus.count());
        if count == 0 {
            let visible = (order.task.device == "cpu").then(OsString::new);
            return child::make(order, visible.as_deref(), host, stop);
        }
        if order.gpus > count {
            let words = format!(
                "{} GPUs are wanted and this machine has {count}; it goes on with {count}",
                order.gpus
            );
            host.tell(Message::Warning { words });
        }
        let lease = self.gpus.lease(count, &|| stop.is_asked(), &|words| {
            host.tell(Message::Waiting { words: words.into() })
        })?;
        let lease = lease.ok_or(Error::Stopped)?;
        let mut task = order.task.clone();
        task.ranks = count;
        if task.device.starts_with("cuda:") {
            // The only card that the worker sees.
            task.device = "cuda:0".into();
        }
        child::make(&StageOrder { task: &task, ..*order }, Some(&lease.visible()), host, stop)
    }
}

impl Executor for Local {
    fn make(&self, order: &StageOrder, host: &dyn Host, stop: &Stop) -> Result<MadeFacts> {
        match order.kind.place {
            Place::Here(run) => here::make(run, order, host),
            Place::Worker => self.in_worker(order, host, stop),
        }
    }
}
