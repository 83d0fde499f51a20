//! Optimizers as tensor operations, with a state that can be kept in a checkpoint.

use crate::unet::{Parameter, Role};
use tch::{Kind, Tensor, no_grad};
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
}

impl Optimizer {
    /// An optimizer of a network's tensors that leaves frozen tensors alone. Marks tensors that need gradients.
    /// Biases directly before norms get none unless `noisy_biases`.
    pub fn new(
        settings: &Settings,
        parameters: &[Parameter],
        noisy_biases: bool,
        frozen: impl Fn(&str) -> bool,
    ) -> Optimizer {
        let learned = parameters.iter().filter(|parameter| parameter.role != Role::Statistic);
        let slots = learned.filter(|parameter| !frozen(&parameter.name)).map(|parameter| {
            let silent = parameter.role == Role::Quiet && !noisy_biases;
            let _ = parameter.tensor.set_requires_grad(!silent);
            slot(settings.name, parameter, silent)
        });
        Optimizer { settings: settings.clone(), slots: slots.collect(), steps: 0 }
    }

    /// Forgets the gradients.
    pub fn zero_grad(&mut self) {
        self.slots.iter_mut().filter(|slot| !slot.silent).for_each(|slot| slot.tensor.zero_grad());
    }

    /// The gradients there are.
    pub fn gradients(&self) -> Vec<Tensor> {
        let heard = self.slots.iter().filter(|slot| !slot.silent);
        heard.map(|slot| slot.tensor.grad()).filter(Tensor::defined).collect()
    }

    /// One step at this learning rate.
    pub fn step(&mut self, rate: f64) {
        self.steps += 1;
        no_grad(|| {
            let (settings, steps) = (&self.settings, self.steps);
            self.slots.iter_mut().for_each(|slot| slot.step(settings, rate, steps));
        });
    }

    /// The state by name, for a checkpoint.
    pub fn state(&self) -> Vec<(String, Tensor)> {
        let mut state = vec![("steps".to_string(), Tensor::from_slice(&[self.steps as i64]))];
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
        self.steps = steps.int64_value(&[0]) as u64;
        no_grad(|| {
            let copy = |name: String, target: &mut Tensor| {
                find(&name).filter(|found| found.size() == target.size()).map(|found| target.copy_(&found)).is_some()
            };
            self.slots.iter_mut().all(|slot| {
                copy(format!("first/{}", slot.name), &mut slot.first)
                    && slot.second.as_mut().is_none_or(|second| copy(format!("second/{}", slot.name), second))
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
        OptimizerName::Novograd => Some(Tensor::zeros([] as [i64; 0], (Kind::Float, tensor.device()))),
        OptimizerName::Adam | OptimizerName::Adamw => Some(zeros()),
    };
    Slot { name: parameter.name.clone(), first: zeros(), second, tensor, silent }
}

impl Slot {
    fn step(&mut self, settings: &Settings, rate: f64, steps: u64) {
        let gradient = if self.silent { Tensor::new() } else { self.tensor.grad() };
        if !gradient.defined() && settings.weight_decay == 0.0 {
            return;
        }
        let gradient = if gradient.defined() { gradient } else { self.tensor.zeros_like() };
        match settings.name {
            OptimizerName::Novograd => self.novograd(settings, rate, &gradient),
            OptimizerName::Adam | OptimizerName::Adamw => self.adam(settings, rate, &gradient, steps),
            OptimizerName::Sgd => self.sgd(settings, rate, &gradient, steps),
        }
    }

    /// Ginsburg et al. 2019 as MONAI does it: v ← ‖g‖² at first, else β₂v + (1−β₂)‖g‖²;
    /// m ← β₁m + g/(√v + eps) + decay·w; w ← w − rate·m.
    fn novograd(&mut self, settings: &Settings, rate: f64, gradient: &Tensor) {
        let [beta1, beta2] = settings.betas();
        let Some(second) = &mut self.second else { return };
        let square = gradient.square().sum(gradient.kind());
        let averaged = &*second * beta2 + &square * (1.0 - beta2);
        second.copy_(&square.where_self(&second.eq_tensor(&second.zeros_like()), &averaged));
        let mut update = gradient / (second.sqrt() + settings.eps);
        if settings.weight_decay != 0.0 {
            update += &self.tensor * settings.weight_decay;
        }
        self.first *= beta1;
        self.first += update;
        self.tensor -= &self.first * rate;
    }

    /// Kingma & Ba 2015, with decay added to the gradient; or Loshchilov & Hutter 2019, with it apart.
    fn adam(&mut self, settings: &Settings, rate: f64, gradient: &Tensor, steps: u64) {
        let [beta1, beta2] = settings.betas();
        let Some(second) = &mut self.second else { return };
        let decoupled = settings.name == OptimizerName::Adamw;
        if decoupled && settings.weight_decay != 0.0 {
            self.tensor *= 1.0 - rate * settings.weight_decay;
        }
        let coupled = !decoupled && settings.weight_decay != 0.0;
        let gradient = if coupled { gradient + &self.tensor * settings.weight_decay } else { gradient.shallow_clone() };
        let _ = self.first.lerp_(&gradient, 1.0 - beta1);
        *second *= beta2;
        *second += gradient.square() * (1.0 - beta2);
        let correction = |beta: f64| 1.0 - beta.powf(steps as f64);
        let root = second.sqrt() / correction(beta2).sqrt() + settings.eps;
        self.tensor -= &self.first / root * (rate / correction(beta1));
    }

    /// PyTorch's SGD: the first momentum is the first gradient.
    fn sgd(&mut self, settings: &Settings, rate: f64, gradient: &Tensor, steps: u64) {
        let decays = settings.weight_decay != 0.0;
        let gradient = if decays { gradient + &self.tensor * settings.weight_decay } else { gradient.shallow_clone() };
        if settings.momentum == 0.0 {
            self.tensor -= gradient * rate;
            return;
        }
        if steps > 1 {
            self.first *= settings.momentum;
            self.first += &gradient;
        } else {
            self.first.copy_(&gradient);
        }
        if settings.nesterov {
            self.tensor -= (gradient + &self.first * settings.momentum) * rate;
        } else {
            self.tensor -= &self.first * rate;
        }
    }
}
