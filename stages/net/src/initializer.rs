//! Initial values of a network, distributed as PyTorch's layers draw them.

use tch::{Device, Kind, Tensor};
use voxflow_stages::model::tensor_spec::{InitialValue, TensorSpec};
use voxflow_stages::random::Draw;

/// Draws initial values. Each tensor has its own random stream: a seed gives the same weights on
/// every device and with any number of threads.
pub struct Initializer {
    seed: u64,
    drawn: u64,
}

impl Initializer {
    /// Starts with the first tensor.
    pub fn new(seed: u64) -> Initializer {
        Initializer { seed, drawn: 0 }
    }

    /// The next tensor's values, on the processor.
    pub fn tensor(&mut self, spec: &TensorSpec) -> Tensor {
        let size: Vec<i64> = spec.shape.iter().map(|side| *side as i64).collect();
        let kind = if spec.is_counter() { Kind::Int64 } else { Kind::Float };
        match spec.initial {
            InitialValue::Uniform { fan_in } => self.uniform(&size, fan_in),
            InitialValue::Normal { std } => self.normal(&size, std),
            InitialValue::Constant(value) => Tensor::full(&size, value, (kind, Device::Cpu)),
        }
    }

    /// Uniform in ±1/√`fan_in`.
    fn uniform(&mut self, size: &[i64], fan_in: usize) -> Tensor {
        let bound = 1.0 / (fan_in as f64).sqrt();
        self.drawn(size, |draw| draw.between(-bound, bound))
    }

    /// Normal around 0.
    fn normal(&mut self, size: &[i64], std: f64) -> Tensor {
        self.drawn(size, |draw| draw.normal() * std)
    }

    fn drawn(&mut self, size: &[i64], next: impl Fn(&mut Draw) -> f64) -> Tensor {
        let mut draw = Draw::new(self.seed, 0, self.drawn, "initial weights");
        self.drawn += 1;
        let count = size.iter().product::<i64>();
        let values: Vec<f32> = (0..count).map(|_| next(&mut draw) as f32).collect();
        Tensor::from_slice(&values).reshape(size)
    }
}
