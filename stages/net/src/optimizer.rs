//! Optimizers as operations on tensor lists, with a state for checkpoints.
//!
//! A step may be skipped because gradients overflowed, which only the device knows. Its factors are
//! then chosen on the device: a skipped step changes nothing, and the processor does not wait.

use crate::foreach::{self, cpu_scalar};
use crate::network::NetworkTensor;
use crate::step_decision::StepDecision;
use tch::{Kind, Tensor, no_grad};
use voxflow_stages::model::tensor_spec::TensorRole;
use voxflow_stages::model::{OptimizerName, OptimizerParams};

/// A learned tensor and the optimizer's moments of it.
struct ParamState {
    name: String,
    tensor: Tensor,
    /// The gradient counts as zero (rounding noise of biases before norms).
    ignores_gradient: bool,
    first: Tensor,
    second: Option<Tensor>,
}

/// An optimizer of a network's learned tensors.
pub struct Optimizer {
    settings: OptimizerParams,
    params: Vec<ParamState>,
    steps: u64,
    /// Number of skipped steps, on the device; `None` until a step may be skipped.
    skipped: Option<Tensor>,
}

impl Optimizer {
    /// An optimizer for the learned tensors except frozen ones; marks the tensors that need
    /// gradients. Biases directly before norms need gradients only with `noisy_biases`.
    pub fn new(
        settings: &OptimizerParams,
        parameters: &[NetworkTensor],
        noisy_biases: bool,
        frozen: impl Fn(&str) -> bool,
    ) -> Optimizer {
        let learned = parameters.iter().filter(|parameter| parameter.role.is_learned());
        let params = learned.filter(|parameter| !frozen(&parameter.name)).map(|parameter| {
            let ignores_gradient = parameter.role == TensorRole::BiasBeforeNorm && !noisy_biases;
            let _ = parameter.tensor.set_requires_grad(!ignores_gradient);
            new_state(settings.name, parameter, ignores_gradient)
        });
        Optimizer { settings: settings.clone(), params: params.collect(), steps: 0, skipped: None }
    }

    /// Drops the gradients.
    pub fn zero_grad(&mut self) {
        let learned = self.params.iter().filter(|param| !param.ignores_gradient);
        foreach::zero_grad(&learned.map(|param| param.tensor.shallow_clone()).collect::<Vec<_>>());
    }

    /// The tensors that the last backward pass gave gradients.
    pub fn tensors_with_gradient(&self) -> Vec<Tensor> {
        let learned = self.params.iter().filter(|param| !param.ignores_gradient);
        let tensors = learned.map(|param| param.tensor.shallow_clone());
        tensors.filter(|tensor| tensor.grad().defined()).collect()
    }

    /// The gradients of the last backward pass.
    pub fn gradients(&self) -> Vec<Tensor> {
        self.tensors_with_gradient().iter().map(Tensor::grad).collect()
    }

    /// A step at this learning rate.
    pub fn step(&mut self, rate: f64) {
        self.steps += 1;
        self.advance(&StepDecision::Always(self.steps), rate);
    }

    /// A step at this learning rate if `taken`, a Bool on the device, is true. Otherwise the
    /// gradients become zero, the tensors stay, and the step does not count.
    pub fn step_if(&mut self, rate: f64, taken: &Tensor) {
        self.steps += 1;
        let skipped = taken.logical_not().to_kind(Kind::Int64);
        let skipped =
            self.skipped.as_ref().map_or(skipped.shallow_clone(), |before| before + skipped);
        let steps = (self.steps as i64 - &skipped).to_kind(Kind::Double);
        self.skipped = Some(skipped);
        foreach::zero_unless(taken, &self.gradients());
        self.advance(&StepDecision::If(taken.shallow_clone(), steps), rate);
    }

    fn advance(&self, decision: &StepDecision, rate: f64) {
        let lists = self.lists();
        if !lists.tensors.is_empty() {
            no_grad(|| rule(self.settings.name).step(&lists, &self.settings, rate, decision));
        }
    }

    /// The lists of a step. Tensors that no loss reaches keep their values, as PyTorch's. Those
    /// whose gradients are ignored take part only if weights decay.
    fn lists(&self) -> ParamLists {
        let mut lists = ParamLists::default();
        for param in &self.params {
            let gradient = if param.ignores_gradient { Tensor::new() } else { param.tensor.grad() };
            let decays = param.ignores_gradient && self.settings.weight_decay != 0.0;
            if !gradient.defined() && !decays {
                continue;
            }
            lists.gradients.push(if gradient.defined() {
                gradient
            } else {
                zeros_like(&param.tensor)
            });
            lists.tensors.push(param.tensor.shallow_clone());
            lists.first.push(param.first.shallow_clone());
            lists.second.extend(param.second.as_ref().map(Tensor::shallow_clone));
        }
        lists
    }

    /// The state by name for a checkpoint. Waits for the device.
    pub fn state(&self) -> Vec<(String, Tensor)> {
        let skipped = self.skipped.as_ref().map_or(0, |steps| steps.int64_value(&[]));
        let mut state =
            vec![("steps".to_string(), Tensor::from_slice(&[self.steps as i64 - skipped]))];
        for param in &self.params {
            state.push((format!("first/{}", param.name), param.first.shallow_clone()));
            if let Some(second) = &param.second {
                state.push((format!("second/{}", param.name), second.shallow_clone()));
            }
        }
        state
    }

    /// Takes a state back; false if it is of another optimizer.
    pub fn restore(&mut self, find: impl Fn(&str) -> Option<Tensor>) -> bool {
        let Some(steps) = find("steps") else { return false };
        (self.steps, self.skipped) = (steps.int64_value(&[0]) as u64, None);
        for param in &mut self.params {
            let first = find(&format!("first/{}", param.name));
            let second = find(&format!("second/{}", param.name));
            let is_known = copy_into(&mut param.first, first)
                && param.second.as_mut().is_none_or(|target| copy_into(target, second));
            if !is_known {
                return false;
            }
        }
        true
    }
}

fn new_state(name: OptimizerName, parameter: &NetworkTensor, ignores_gradient: bool) -> ParamState {
    let tensor = parameter.tensor.shallow_clone();
    ParamState {
        name: parameter.name.clone(),
        first: zeros_like(&tensor),
        second: rule(name).second_moment(&tensor),
        tensor,
        ignores_gradient,
    }
}

fn zeros_like(tensor: &Tensor) -> Tensor {
    no_grad(|| tensor.zeros_like().set_requires_grad(false))
}

/// False if the tensor is missing or has another shape.
fn copy_into(target: &mut Tensor, found: Option<Tensor>) -> bool {
    let found = found.filter(|found| found.size() == target.size());
    found.map(|found| no_grad(|| target.copy_(&found))).is_some()
}

/// Tensors, gradients and moments side by side.
#[derive(Default)]
struct ParamLists {
    tensors: Vec<Tensor>,
    gradients: Vec<Tensor>,
    first: Vec<Tensor>,
    second: Vec<Tensor>,
}

impl ParamLists {
    /// Adds decay·w.
    fn decay(&self, to: &[Tensor], settings: &OptimizerParams, decision: &StepDecision) {
        if settings.weight_decay != 0.0 {
            foreach::add(
                to,
                &foreach::scaled(&self.tensors, &decision.factor(settings.weight_decay, 0.0)),
            );
        }
    }
}

/// An optimizer's rule. A new one is an `impl` and a row in [`rule`].
trait UpdateRule {
    /// The second moment of a tensor before the first step; `None` for rules without one.
    fn second_moment(&self, tensor: &Tensor) -> Option<Tensor>;
    /// Changes tensors and moments by one step.
    fn step(
        &self,
        lists: &ParamLists,
        settings: &OptimizerParams,
        rate: f64,
        decision: &StepDecision,
    );
}

fn rule(name: OptimizerName) -> &'static dyn UpdateRule {
    match name {
        OptimizerName::Novograd => &Novograd,
        OptimizerName::Adam => &Adam { decoupled: false },
        OptimizerName::Adamw => &Adam { decoupled: true },
        OptimizerName::Sgd => &Sgd,
    }
}

/// Ginsburg et al. 2019 as MONAI does it: v ← ‖g‖² at first, else β₂v + (1−β₂)‖g‖²;
/// m ← β₁m + g/(√v + eps) + decay·w; w ← w − rate·m.
struct Novograd;

impl UpdateRule for Novograd {
    /// A single fp32 number even where weights are fp64, as MONAI's.
    fn second_moment(&self, tensor: &Tensor) -> Option<Tensor> {
        Some(Tensor::zeros([] as [i64; 0], (Kind::Float, tensor.device())))
    }

    fn step(
        &self,
        lists: &ParamLists,
        settings: &OptimizerParams,
        rate: f64,
        decision: &StepDecision,
    ) {
        let [beta1, beta2] = settings.betas();
        let squares = foreach::sums_of_squares(&lists.gradients);
        let before = Tensor::stack(&lists.second, 0);
        let averaged = &before * beta2 + &squares * (1.0 - beta2);
        let after = squares.where_self(&before.eq(0.0), &averaged).to_kind(before.kind());
        let after = decision.choose(&after, &before);
        foreach::copy(&lists.second, &after.unbind(0));
        let update = foreach::divided(&lists.gradients, &(after.sqrt() + settings.eps).unbind(0));
        lists.decay(&update, settings, decision);
        foreach::scale(&lists.first, &decision.factor(beta1, 1.0));
        foreach::add(&lists.first, &update);
        foreach::subtract(
            &lists.tensors,
            &foreach::scaled(&lists.first, &decision.factor(rate, 0.0)),
        );
    }
}

/// Kingma & Ba 2015, with decay added to the gradient; or Loshchilov & Hutter 2019, with it
/// apart.
struct Adam {
    decoupled: bool,
}

impl UpdateRule for Adam {
    fn second_moment(&self, tensor: &Tensor) -> Option<Tensor> {
        Some(zeros_like(tensor))
    }

    fn step(
        &self,
        lists: &ParamLists,
        settings: &OptimizerParams,
        rate: f64,
        decision: &StepDecision,
    ) {
        let [beta1, beta2] = settings.betas();
        if !self.decoupled {
            lists.decay(&lists.gradients, settings, decision);
        } else if settings.weight_decay != 0.0 {
            foreach::scale(
                &lists.tensors,
                &decision.factor(1.0 - rate * settings.weight_decay, 1.0),
            );
        }
        decision.lerp(&lists.first, &lists.gradients, 1.0 - beta1);
        foreach::scale(&lists.second, &decision.factor(beta2, 1.0));
        let squares = foreach::squared(&lists.gradients);
        foreach::scale(&squares, &cpu_scalar(1.0 - beta2));
        foreach::add(&lists.second, &squares);
        let roots = foreach::square_roots(&lists.second);
        foreach::divide(&roots, &decision.correction(beta2).sqrt());
        foreach::add_scalar(&roots, settings.eps);
        let update = foreach::divided(&lists.first, &roots);
        foreach::scale(&update, &(decision.factor(rate, 0.0) / decision.correction(beta1)));
        foreach::subtract(&lists.tensors, &update);
    }
}

/// PyTorch's SGD. The first momentum is the first gradient, since momenta begin at zero.
struct Sgd;

impl UpdateRule for Sgd {
    fn second_moment(&self, _tensor: &Tensor) -> Option<Tensor> {
        None
    }

    fn step(
        &self,
        lists: &ParamLists,
        settings: &OptimizerParams,
        rate: f64,
        decision: &StepDecision,
    ) {
        lists.decay(&lists.gradients, settings, decision);
        let rate = decision.factor(rate, 0.0);
        if settings.momentum == 0.0 {
            return foreach::subtract(&lists.tensors, &foreach::scaled(&lists.gradients, &rate));
        }
        foreach::scale(&lists.first, &decision.factor(settings.momentum, 1.0));
        foreach::add(&lists.first, &lists.gradients);
        let update = if settings.nesterov {
            let ahead = foreach::scaled(&lists.first, &cpu_scalar(settings.momentum));
            foreach::add(&ahead, &lists.gradients);
            foreach::scale(&ahead, &rate);
            ahead
        } else {
            foreach::scaled(&lists.first, &rate)
        };
        foreach::subtract(&lists.tensors, &update);
    }
}

#[cfg(test)]
#[path = "optimizer_tests.rs"]
mod tests;
