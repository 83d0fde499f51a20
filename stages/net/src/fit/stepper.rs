//! Optimizer steps: gradient accumulation, loss scaling, clipping.

use super::model::Model;
use crate::distributed::{GradientReducer, Ranks};
use crate::grad_scaler::{GradScaler, LossScale};
use crate::gradients::{clip, norm};
use crate::optimizer::Optimizer;
use crate::weights::{NamedTensors, cpu_copies, with_prefix, without_prefix};
use std::collections::{BTreeMap, BTreeSet};
use tch::{Device, Tensor};
use voxflow_stages::kinds::train::Train;
use voxflow_stages::{Error, Result};

/// Prefix of the tensors in a checkpoint.
const OPTIMIZER: &str = "optimizer/";

/// Turns losses into steps of the optimizer.
pub struct Stepper {
    optimizer: Optimizer,
    scaler: GradScaler,
    reducer: GradientReducer,
    device: Device,
    /// Limit of the gradient norm.
    clip: Option<f64>,
    /// Batches per step.
    accumulate: u64,
}

/// An optimizer step.
pub struct Update {
    /// Norm of the gradients before clipping: fp64, without sides.
    pub norm: Tensor,
    /// A Bool on the device, false if the step was skipped because gradients overflowed; `None` if
    /// steps are never skipped (bf16, fp32).
    pub taken: Option<Tensor>,
}

impl Stepper {
    /// The first step of a training is next.
    pub fn new(params: &Train, model: &Model, device: Device, ranks: Ranks) -> Stepper {
        let optimizer = Optimizer::new(
            &params.optimizer,
            model.network().parameters(),
            params.noisy_biases,
            |name| model.is_frozen(name),
        );
        Stepper {
            optimizer,
            scaler: GradScaler::new(&LossScale::new(params.precision), device),
            reducer: GradientReducer::new(ranks),
            device,
            clip: params.clip_gradients,
            accumulate: params.accumulate as u64,
        }
    }

    /// Optimizer steps in an epoch of this many batches.
    pub fn steps_per_epoch(&self, batches: u64) -> u64 {
        batches.div_ceil(self.accumulate)
    }

    /// Batches of the next step, if this many are left in the epoch.
    pub fn batches_of_step(&self, left: u64) -> u64 {
        self.accumulate.min(left)
    }

    /// True if steps whose gradients overflow are skipped (fp16).
    pub fn skips_overflows(&self) -> bool {
        self.scaler.is_active()
    }

    /// Forgets the gradients of the last step.
    pub fn zero_grad(&mut self) {
        self.optimizer.zero_grad();
    }

    /// Adds the gradients of a loss.
    pub fn backward(&self, loss: &Tensor) {
        self.scaler.scale(loss).backward();
    }

    /// Adds the gradients so far, and the losses that they come from, up over all ranks.
    pub fn sum_over_ranks(&mut self, losses: Vec<Tensor>) -> Result<Vec<Tensor>> {
        self.reducer.sum(&self.optimizer.tensors_with_gradient(), losses)
    }

    /// Takes a step with the gradients so far, without waiting for the device.
    pub fn update(&mut self, rate: f64) -> Update {
        let gradients = self.optimizer.gradients();
        self.scaler.unscale(&gradients);
        let norm = norm(&gradients);
        if let Some(limit) = self.clip {
            clip(&gradients, &norm, limit);
        }
        let taken = self.scaler.update(&norm);
        match &taken {
            None => self.optimizer.step(rate),
            Some(taken) => self.optimizer.step_if(rate, taken),
        }
        Update { norm, taken }
    }

    /// The loss scale for a checkpoint. Waits for the device.
    pub fn loss_scale(&self) -> LossScale {
        self.scaler.state()
    }

    /// Copies of the optimizer's tensors for a checkpoint. Waits for the device.
    pub fn snapshot(&self) -> NamedTensors {
        with_prefix(OPTIMIZER, cpu_copies(self.optimizer.state()))
    }

    /// Restores a checkpoint's state. Errors if the checkpoint belongs to another optimizer.
    pub fn restore(&mut self, scale: &LossScale, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
        let state = without_prefix(OPTIMIZER, tensors);
        if !self.optimizer.restore(|name| state.get(name).map(Tensor::shallow_clone)) {
            return Err(Error::failed(
                "the checkpoint is of another optimizer; run with '--force' to begin anew",
            ));
        }
        self.scaler = GradScaler::new(scale, self.device);
        Ok(())
    }

    /// Takes over the state of the extended training. Errors on another optimizer or other
    /// parameters.
    pub fn extend(&mut self, scale: &LossScale, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
        let own = self.snapshot();
        let own: BTreeSet<&str> = own.iter().map(|(name, _)| name.as_str()).collect();
        let names = tensors.keys().map(String::as_str);
        let given: BTreeSet<&str> = names.filter(|name| name.starts_with(OPTIMIZER)).collect();
        if own != given || self.restore(scale, tensors).is_err() {
            return Err(Error::failed(
                "training: the one to extend had another optimizer, or froze other parameters; \
                 give 'optimizer.name' and 'freeze' the same values",
            ));
        }
        Ok(())
    }
}
