//! Gradients together: their norm, their limit, and what is said when they are no numbers.

use crate::fit::Fit;
use tch::{Kind, Tensor, no_grad};
use voxflow_stages::Error;

/// The Euclidean norm of all gradients together.
pub fn norm(gradients: &[Tensor]) -> f64 {
    let squares: Vec<Tensor> = gradients.iter().map(|gradient| gradient.square().sum(Kind::Float)).collect();
    if squares.is_empty() {
        0.0
    } else {
        no_grad(|| Tensor::stack(&squares, 0).sum(Kind::Double).double_value(&[]).sqrt())
    }
}

/// Scales the gradients down so that their norm is `limit`, where it is more; as PyTorch's `clip_grad_norm_`.
pub fn clip(gradients: &mut [Tensor], norm: f64, limit: f64) {
    if norm > limit {
        no_grad(|| gradients.iter_mut().for_each(|gradient| *gradient *= limit / (norm + 1e-6)));
    }
}

impl Fit<'_> {
    /// The error of a loss or gradient that is no number: where it was met, and the way out.
    pub(crate) fn not_finite(&self, what: &str, value: f64, cases: &[String]) -> Error {
        let (epoch, step) = (self.state.epoch + 1, self.state.step + 1);
        let cases = if cases.is_empty() { String::new() } else { format!(" (cases {})", cases.join(", ")) };
        Error::failed(format!(
            "training: the {what} is {value} in epoch {epoch}, step {step}{cases}; lower 'learning_rate' \
             (it was {:.3e} there), set 'clip_gradients', or look at these images",
            self.rate()
        ))
    }
}
