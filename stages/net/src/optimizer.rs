//! Optimizers as operations on lists of tensors, with a state that can be kept in a checkpoint.
//!
//! A step may depend on what only the device knows (whether gradients overflowed): then its factors
//! are chosen there, so that a step that is left out changes nothing and nobody waits for the
//! answer.

use crate::foreach::{self, known};
use crate::network::Parameter;
use tch::{Kind, Tensor, no_grad};
use voxflow_stages::model::tensor_spec::TensorRole;
use voxflow_stages::model::{Optimizer as Settings, OptimizerName};

/// A learned tensor with its moments.
struct Slot {
    name: String,
    tensor: Tensor,
    /// Its gradient is taken as zero.
    silent: bool,
    first: Tensor,
    second: Option<Tensor>,
}

/// An optimizer of a network's learned tensors.
pub struct Optimizer {
    settings: Settings,
    slots: Vec<Slot>,
    steps: u64,
    /// How many of the steps were left out, on the device; none where no step could be.
    left_out: Option<Tensor>,
}

impl Optimizer {
    /// An optimizer of a network's tensors that leaves frozen tensors alone. Marks tensors that
    /// need gradients. Biases directly before norms get none unless `noisy_biases`.
    pub fn new(
        settings: &Settings,
        parameters: &[Parameter],
        noisy_biases: bool,
        frozen: impl Fn(&str) -> bool,
    ) -> Optimizer {
        let learned = parameters.iter().filter(|parameter| parameter.role.is_learned());
        let slots = learned.filter(|parameter| !frozen(&parameter.name)).map(|parameter| {
            let silent = parameter.role == TensorRole::BiasBeforeNorm && !noisy_biases;
            let _ = parameter.tensor.set_requires_grad(!silent);
            slot(settings.name, parameter, silent)
        });
        Optimizer { settings: settings.clone(), slots: slots.collect(), steps: 0, left_out: None }
    }

    /// Forgets the gradients.
    pub fn zero_grad(&mut self) {
        let heard = self.slots.iter().filter(|slot| !slot.silent);
        foreach::forget_gradients(
            &heard.map(|slot| slot.tensor.shallow_clone()).collect::<Vec<_>>(),
        );
    }

    /// The gradients there are.
    pub fn gradients(&self) -> Vec<Tensor> {
        let heard = self.slots.iter().filter(|slot| !slot.silent);
        heard.map(|slot| slot.tensor.grad()).filter(Tensor::defined).collect()
    }

    /// One step at this learning rate.
    pub fn step(&mut self, rate: f64) {
        self.steps += 1;
        self.advance(&Taking::Certain(self.steps), rate);
    }

    /// One step at this learning rate where `taken`, a Bool on the device, is true; elsewhere
    /// nothing but the gradients changes, and the step does not count.
    pub fn step_if(&mut self, rate: f64, taken: &Tensor) {
        self.steps += 1;
        let left_out = taken.logical_not().to_kind(Kind::Int64);
        let left_out =
            self.left_out.as_ref().map_or(left_out.shallow_clone(), |before| before + left_out);
        let steps = (self.steps as i64 - &left_out).to_kind(Kind::Double);
        self.left_out = Some(left_out);
        foreach::silence(&self.gradients(), taken);
        self.advance(&Taking::If(taken.shallow_clone(), steps), rate);
    }

    fn advance(&self, taking: &Taking, rate: f64) {
        let lists = self.lists();
        no_grad(|| match self.settings.name {
            _ if lists.tensors.is_empty() => {}
            OptimizerName::Novograd => lists.novograd(&self.settings, rate, taking),
            OptimizerName::Adam | OptimizerName::Adamw => lists.adam(&self.settings, rate, taking),
            OptimizerName::Sgd => lists.sgd(&self.settings, rate, taking),
        });
    }

    /// What a step works on: tensors without a gradient only where they decay.
    fn lists(&self) -> Lists {
        let mut lists = Lists::default();
        for slot in &self.slots {
            let gradient = if slot.silent { Tensor::new() } else { slot.tensor.grad() };
            if !gradient.defined() && self.settings.weight_decay == 0.0 {
                continue;
            }
            let zeros = || no_grad(|| slot.tensor.zeros_like().set_requires_grad(false));
            lists.gradients.push(if gradient.defined() { gradient } else { zeros() });
            lists.tensors.push(slot.tensor.shallow_clone());
            lists.first.push(slot.first.shallow_clone());
            lists.second.extend(slot.second.as_ref().map(Tensor::shallow_clone));
        }
        lists
    }

    /// The state by name, for a checkpoint. Waits for the device.
    pub fn state(&self) -> Vec<(String, Tensor)> {
        let left_out = self.left_out.as_ref().map_or(0, |steps| steps.int64_value(&[]));
        let mut state =
            vec![("steps".to_string(), Tensor::from_slice(&[self.steps as i64 - left_out]))];
        for slot in &self.slots {
            state.push((format!("first/{}", slot.name), slot.first.shallow_clone()));
            if let Some(second) = &slot.second {
                state.push((format!("second/{}", slot.name), second.shallow_clone()));
            }
        }
        state
    }

    /// Takes back a state; false if it is not one of this optimizer.
    pub fn restore(&mut self, find: impl Fn(&str) -> Option<Tensor>) -> bool {
        let Some(steps) = find("steps") else { return false };
        (self.steps, self.left_out) = (steps.int64_value(&[0]) as u64, None);
        no_grad(|| {
            let copy = |name: String, target: &mut Tensor| {
                find(&name)
                    .filter(|found| found.size() == target.size())
                    .map(|found| target.copy_(&found))
                    .is_some()
            };
            self.slots.iter_mut().all(|slot| {
                copy(format!("first/{}", slot.name), &mut slot.first)
                    && slot
                        .second
                        .as_mut()
                        .is_none_or(|second| copy(format!("second/{}", slot.name), second))
            })
        })
    }
}

fn slot(name: OptimizerName, parameter: &Parameter, silent: bool) -> Slot {
    let tensor = parameter.tensor.shallow_clone();
    let zeros = || no_grad(|| tensor.zeros_like().set_requires_grad(false));
    let second = match name {
        OptimizerName::Sgd => None,
        // A single fp32 number even where weights are fp64, as MONAI's.
        OptimizerName::Novograd => {
            Some(Tensor::zeros([] as [i64; 0], (Kind::Float, tensor.device())))
        }
        OptimizerName::Adam | OptimizerName::Adamw => Some(zeros()),
    };
    Slot { name: parameter.name.clone(), first: zeros(), second, tensor, silent }
}

/// Whether a step is taken, and the number it has if it is.
enum Taking {
    Certain(u64),
    /// A Bool, and an fp64 number, both on the device and without sides.
    If(Tensor, Tensor),
}

impl Taking {
    /// A factor, or what leaves everything as it is where the step is not taken.
    fn factor(&self, factor: f64, idle: f64) -> Tensor {
        match self {
            Taking::Certain(_) => known(factor),
            Taking::If(taken, _) => {
                let full = |number: f64| {
                    Tensor::full([] as [i64; 0], number, (Kind::Double, taken.device()))
                };
                full(factor).where_self(taken, &full(idle))
            }
        }
    }

    /// Of two tensors on the device the first, or the second where the step is not taken.
    fn choose(&self, tensor: &Tensor, idle: &Tensor) -> Tensor {
        match self {
            Taking::Certain(_) => tensor.shallow_clone(),
            Taking::If(taken, _) => tensor.where_self(taken, idle),
        }
    }

    /// Adam's correction of a moment that began at zero: 1 − β^steps.
    fn correction(&self, beta: f64) -> Tensor {
        match self {
            Taking::Certain(steps) => known(1.0 - beta.powf(*steps as f64)),
            Taking::If(taken, steps) => {
                let correction: Tensor = 1.0 - Tensor::pow_scalar(beta, steps);
                correction.where_scalarother(taken, 1.0)
            }
        }
    }

    fn lerp(&self, list: &[Tensor], others: &[Tensor], share: f64) {
        match self {
            Taking::Certain(_) => foreach::lerp(list, others, share),
            Taking::If(..) => foreach::lerp_by(list, others, &self.factor(share, 0.0)),
        }
    }
}

/// What a step works on, side by side.
#[derive(Default)]
struct Lists {
    tensors: Vec<Tensor>,
    gradients: Vec<Tensor>,
    first: Vec<Tensor>,
    second: Vec<Tensor>,
}

impl Lists {
    /// Ginsburg et al. 2019 as MONAI does it: v ← ‖g‖² at first, else β₂v + (1−β₂)‖g‖²;
    /// m ← β₁m + g/(√v + eps) + decay·w; w ← w − rate·m.
    fn novograd(&self, settings: &Settings, rate: f64, taking: &Taking) {
        let [beta1, beta2] = settings.betas();
        let squares = foreach::sums_of_squares(&self.gradients);
        let before = Tensor::stack(&self.second, 0);
        let averaged = &before * beta2 + &squares * (1.0 - beta2);
        let after = squares.where_self(&before.eq(0.0), &averaged).to_kind(before.kind());
        let after = taking.choose(&after, &before);
        foreach::copy(&self.second, &after.unbind(0));
        let update = foreach::divided(&self.gradients, &(after.sqrt() + settings.eps).unbind(0));
        self.decay(&update, settings, taking);
        foreach::scale(&self.first, &taking.factor(beta1, 1.0));
        foreach::add(&self.first, &update);
        foreach::subtract(&self.tensors, &foreach::scaled(&self.first, &taking.factor(rate, 0.0)));
    }

    /// Kingma & Ba 2015, with decay added to the gradient; or Loshchilov & Hutter 2019, with it
    /// apart.
    fn adam(&self, settings: &Settings, rate: f64, taking: &Taking) {
        let [beta1, beta2] = settings.betas();
        if settings.name == OptimizerName::Adam {
            self.decay(&self.gradients, settings, taking);
        } else if settings.weight_decay != 0.0 {
            foreach::scale(&self.tensors, &taking.factor(1.0 - rate * settings.weight_decay, 1.0));
        }
        taking.lerp(&self.first, &self.gradients, 1.0 - beta1);
        foreach::scale(&self.second, &taking.factor(beta2, 1.0));
        let squares = foreach::squares(&self.gradients);
        foreach::scale(&squares, &known(1.0 - beta2));
        foreach::add(&self.second, &squares);
        let roots = foreach::roots(&self.second);
        foreach::divide(&roots, &taking.correction(beta2).sqrt());
        foreach::raise(&roots, settings.eps);
        let update = foreach::divided(&self.first, &roots);
        foreach::scale(&update, &(taking.factor(rate, 0.0) / taking.correction(beta1)));
        foreach::subtract(&self.tensors, &update);
    }

    /// PyTorch's SGD. The first momentum is the first gradient, since momenta begin at zero.
    fn sgd(&self, settings: &Settings, rate: f64, taking: &Taking) {
        self.decay(&self.gradients, settings, taking);
        let rate = taking.factor(rate, 0.0);
        if settings.momentum == 0.0 {
            return foreach::subtract(&self.tensors, &foreach::scaled(&self.gradients, &rate));
        }
        foreach::scale(&self.first, &taking.factor(settings.momentum, 1.0));
        foreach::add(&self.first, &self.gradients);
        let update = if settings.nesterov {
            let ahead = foreach::scaled(&self.first, &known(settings.momentum));
            foreach::add(&ahead, &self.gradients);
            foreach::scale(&ahead, &rate);
            ahead
        } else {
            foreach::scaled(&self.first, &rate)
        };
        foreach::subtract(&self.tensors, &update);
    }

    /// Adds decay·w.
    fn decay(&self, to: &[Tensor], settings: &Settings, taking: &Taking) {
        if settings.weight_decay != 0.0 {
            foreach::add(
                to,
                &foreach::scaled(&self.tensors, &taking.factor(settings.weight_decay, 0.0)),
            );
        }
    }
}

#[cfg(test)]
#[path = "optimizer_tests.rs"]
mod tests;
