//! Gradients together: their norm, their limit, and what is said when they are no numbers.

use crate::fit::Fit;
use crate::foreach::{self, known};
use tch::{Kind, Tensor, no_grad};
use voxflow_stages::Error;

/// The Euclidean norm of all gradients together: fp64 without sides, on their device.
pub fn norm(gradients: &[Tensor]) -> Tensor {
    if gradients.is_empty() {
        return known(0.0);
    }
    no_grad(|| foreach::sums_of_squares(gradients).sum(Kind::Double).sqrt())
}

/// Scales the gradients down so that their norm is `limit`, where it is more; as PyTorch's
/// `clip_grad_norm_`.
pub fn clip(gradients: &[Tensor], norm: &Tensor, limit: f64) {
    let factor = no_grad(|| (known(limit) / (norm + 1e-6)).where_scalarother(&norm.gt(limit), 1.0));
    foreach::scale(gradients, &factor);
}

impl Fit<'_> {
    /// The error of a loss or gradient that is no number: where in this epoch it was met, and the
    /// way out.
    pub(crate) fn not_finite(&self, what: &str, value: f64, step: u64, cases: &[String]) -> Error {
        let (epoch, rate) = (self.state.epoch + 1, self.rate_at(step));
        let step = step + 1;
        let cases =
            if cases.is_empty() { String::new() } else { format!(" (cases {})", cases.join(", ")) };
        Error::failed(format!(
            "training: the {what} is {value} in epoch {epoch}, step {step}{cases}; lower 'learning_rate' \
             (it was {rate:.3e} there), set 'clip_gradients', or look at these images"
        ))
    }
}
