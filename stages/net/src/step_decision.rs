//! Steps skipped by a value on the device, such as overflowed gradients. Both outcomes are computed
//! there: nothing waits for the value.

use crate::foreach::{self, cpu_scalar};
use tch::{Kind, Tensor};

/// A step's number, and the condition on the device under which it is taken.
pub enum StepDecision {
    /// The step is taken and has this number.
    Always(u64),
    /// A Bool and the step's number (fp64), both on the device and without sides.
    If(Tensor, Tensor),
}

impl StepDecision {
    /// A factor, or `idle` if the step is skipped.
    pub fn factor(&self, factor: f64, idle: f64) -> Tensor {
        match self {
            StepDecision::Always(_) => cpu_scalar(factor),
            StepDecision::If(taken, _) => {
                let options = (Kind::Double, taken.device());
                let [factor, idle] =
                    [factor, idle].map(|number| Tensor::full([] as [i64; 0], number, options));
                factor.where_self(taken, &idle)
            }
        }
    }

    /// A tensor on the device, or `idle` if the step is skipped.
    pub fn choose(&self, tensor: &Tensor, idle: &Tensor) -> Tensor {
        match self {
            StepDecision::Always(_) => tensor.shallow_clone(),
            StepDecision::If(taken, _) => tensor.where_self(taken, idle),
        }
    }

    /// Adam's correction of a moment that began at zero: 1 − β^steps.
    pub fn correction(&self, beta: f64) -> Tensor {
        match self {
            StepDecision::Always(steps) => cpu_scalar(1.0 - beta.powf(*steps as f64)),
            StepDecision::If(taken, steps) => {
                let correction: Tensor = 1.0 - Tensor::pow_scalar(beta, steps);
                correction.where_scalarother(taken, 1.0)
            }
        }
    }

    /// [`foreach::lerp`], or nothing if the step is skipped.
    pub fn lerp(&self, list: &[Tensor], others: &[Tensor], share: f64) {
        match self {
            StepDecision::Always(_) => foreach::lerp(list, others, share),
            StepDecision::If(..) => foreach::lerp_by(list, others, &self.factor(share, 0.0)),
        }
    }
}
