//! Gradients of all tensors together: their norm and its limit.

use crate::foreach::{self, cpu_scalar};
use tch::{Kind, Tensor, no_grad};

/// Euclidean norm over all gradients: fp64, without sides, on their device.
pub fn norm(gradients: &[Tensor]) -> Tensor {
    if gradients.is_empty() {
        return cpu_scalar(0.0);
    }
    no_grad(|| foreach::sums_of_squares(gradients).sum(Kind::Double).sqrt())
}

/// Scales the gradients down to the norm `limit` if `norm` exceeds it, as PyTorch's
/// `clip_grad_norm_`.
pub fn clip(gradients: &[Tensor], norm: &Tensor, limit: f64) {
    let factor =
        no_grad(|| (cpu_scalar(limit) / (norm + 1e-6)).where_scalarother(&norm.gt(limit), 1.0));
    foreach::scale(gradients, &factor);
}
