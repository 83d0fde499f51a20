//! What a training keeps between its steps, and how it goes on from a checkpoint.

use crate::checkpoint::{self, Checkpoint};
use crate::fit::{Fit, Named};
use crate::scaler::{Scale, Scaler};
use crate::{device, weights};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Instant;
use tch::{Tensor, no_grad};
use voxflow_stages::kinds::train::Precision;
use voxflow_stages::{Error, Message, Metric, Result};

/// Everything of a training that is not a tensor.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct State {
    /// Epochs finished.
    pub epoch: u32,
    /// Batches of the epoch in hand that are done.
    pub batch: u64,
    /// Optimizer steps done.
    pub step: u64,
    /// Sums over the epoch in hand.
    pub sums: Sums,
    /// All rows of finished epochs.
    pub metrics: Vec<Metric>,
    /// The newest validation score.
    pub dice: Option<f64>,
    /// The epoch with the best validation score, and the score.
    pub best: Option<(u32, f64)>,
    /// The loss scale, as of the newest checkpoint.
    pub scaler: Scale,
    /// Seconds of training in finished epochs.
    pub train_seconds: f64,
    /// Seconds of validation.
    pub validate_seconds: f64,
    /// Where and with what each stretch of the training ran.
    pub stretches: Vec<Stretch>,
}

/// A stretch of a training: from one start of the worker to its end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stretch {
    /// Steps done when it began.
    pub from_step: u64,
    /// The device in words.
    pub device: String,
    /// Threads of libtorch.
    pub threads: usize,
    /// Version of libtorch.
    pub libtorch: String,
    /// Version of this program.
    pub voxflow: String,
}

/// Sums over the steps of an epoch.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Sums {
    loss: f64,
    norm: f64,
    steps: u64,
    finite_norms: u64,
}

impl Sums {
    /// Adds a step. A norm that overflowed (fp16) is left out.
    pub fn add(&mut self, loss: f64, norm: f64) {
        self.loss += loss;
        self.steps += 1;
        if norm.is_finite() {
            self.norm += norm;
            self.finite_norms += 1;
        }
    }

    /// The mean loss so far.
    pub fn mean_loss(&self) -> f64 {
        self.loss / self.steps.max(1) as f64
    }

    /// The mean loss and gradient norm, and a fresh start.
    pub fn take(&mut self) -> (f64, f64) {
        let means = (self.mean_loss(), self.norm / self.finite_norms.max(1) as f64);
        *self = Sums::default();
        means
    }
}

impl State {
    /// The state before the first step.
    pub fn new(precision: Precision) -> State {
        State {
            epoch: 0,
            batch: 0,
            step: 0,
            sums: Sums::default(),
            metrics: vec![],
            dice: None,
            best: None,
            scaler: Scale::new(precision),
            train_seconds: 0.0,
            validate_seconds: 0.0,
            stretches: vec![],
        }
    }

    /// The number of the batch in hand since the start.
    pub fn number(&self, batches: u64) -> u64 {
        u64::from(self.epoch) * batches + self.batch
    }
}

impl Fit<'_> {
    /// Goes on from the newest valid checkpoint, if there is one, and tells the rows of its epochs:
    /// whoever listens now has not heard them.
    pub(crate) fn resume(&mut self) -> Result<()> {
        let (found, complaints) = checkpoint::newest::<State>(self.cx.unfinished()?);
        complaints.into_iter().for_each(|words| self.cx.warn(words));
        if let Some(Checkpoint { state, tensors }) = found {
            self.restore(&tensors)?;
            self.state = state;
            self.scaler = Scaler::new(&self.state.scaler, self.place.device);
            self.state.metrics.iter().for_each(|row| self.cx.tell(Message::Metric(row.clone())));
            self.cx.tell(Message::Resumed { epoch: self.state.epoch, step: self.state.step });
        }
        self.state.stretches.push(Stretch {
            from_step: self.state.step,
            device: self.place.name.clone(),
            threads: self.cx.threads(),
            libtorch: device::LIBTORCH.into(),
            voxflow: env!("CARGO_PKG_VERSION").into(),
        });
        Ok(())
    }

    fn restore(&mut self, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
        let under = |folder: &str| -> BTreeMap<String, Tensor> {
            let named = tensors
                .iter()
                .filter_map(|(name, tensor)| Some((name.strip_prefix(folder)?, tensor)));
            named.map(|(name, tensor)| (name.to_string(), tensor.shallow_clone())).collect()
        };
        weights::fill(&self.network, &under("weights/"))?;
        if let Some(average) = &self.average {
            weights::fill(average, &under("average/"))?;
        }
        let best = under("best/");
        self.best = (!best.is_empty()).then(|| best.into_iter().collect());
        let optimizer = under("optimizer/");
        if !self.optimizer.restore(|name| optimizer.get(name).map(Tensor::shallow_clone)) {
            return Err(Error::failed(
                "the checkpoint is of another optimizer; run with '--force' to begin anew",
            ));
        }
        Ok(())
    }

    /// Waits for the steps so far, and begins to write a checkpoint of this moment.
    pub(crate) fn save(&mut self) -> Result<()> {
        self.settle()?;
        self.state.scaler = self.scaler.keep();
        let mut tensors = under("weights/", weights::snapshot(&self.network));
        if let Some(average) = &self.average {
            tensors.extend(under("average/", weights::snapshot(average)));
        }
        if let Some(best) = &self.best {
            let best = best.iter().map(|(name, tensor)| (name.clone(), tensor.shallow_clone()));
            tensors.extend(under("best/", best.collect()));
        }
        let copied = self.optimizer.state().into_iter().map(|(name, tensor)| (name, copy(&tensor)));
        tensors.extend(under("optimizer/", copied.collect()));
        self.saved = Instant::now();
        self.writer.begin(self.state.step, &self.state, tensors)
    }
}

fn under(folder: &str, tensors: Named) -> Named {
    tensors.into_iter().map(|(name, tensor)| (format!("{folder}{name}"), tensor)).collect()
}

fn copy(tensor: &Tensor) -> Tensor {
    no_grad(|| tensor.detach().to_device(tch::Device::Cpu).copy())
}
