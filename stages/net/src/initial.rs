//! Initial values as PyTorch's layers draw them, from our own stateless draws.

use tch::{Kind, Tensor};
use voxflow_stages::random::Draw;

/// Draws initial values: each tensor has a stream of its own, so that a seed gives the same weights
/// on every device and with any number of threads.
pub struct Initial {
    seed: u64,
    drawn: u64,
}

impl Initial {
    /// The values of a seed.
    pub fn new(seed: u64) -> Initial {
        Initial { seed, drawn: 0 }
    }

    /// Uniform in ±1/√`fan_in`: what `kaiming_uniform_(a=√5)` gives a convolution's weight, and
    /// PyTorch's convolutions their bias.
    pub fn uniform(&mut self, size: &[i64], fan_in: i64) -> Tensor {
        let bound = 1.0 / (fan_in as f64).sqrt();
        let mut draw = Draw::new(self.seed, 0, self.drawn, "initial weights");
        self.drawn += 1;
        let count = size.iter().product::<i64>();
        let values: Vec<f32> = (0..count).map(|_| draw.between(-bound, bound) as f32).collect();
        Tensor::from_slice(&values).reshape(size)
    }

    /// The same value everywhere.
    pub fn constant(size: &[i64], value: f64) -> Tensor {
        Tensor::full(size, value, (Kind::Float, tch::Device::Cpu))
    }
}
