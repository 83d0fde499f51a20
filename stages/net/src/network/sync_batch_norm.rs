//! Batch norm with the statistics of the whole batch, whose parts are on several ranks.

use super::pass::BatchPart;
use crate::distributed::{Connection, differentiable_sum};
use tch::{Kind, Tensor, no_grad};

/// Running mean and variance, which are updated.
pub(super) struct Running<'a> {
    pub(super) mean: &'a Tensor,
    pub(super) variance: &'a Tensor,
    pub(super) momentum: f64,
}

/// PyTorch's `SyncBatchNorm`: normalises by mean and variance over the batches of all ranks, and
/// updates the running statistics by them (the variance with n − 1). Gradients flow through the
/// statistics to the items of all ranks. Sums of moments are taken in fp64, the rest in fp32.
pub(super) fn sync_batch_norm(
    x: &Tensor,
    [weight, bias]: [Option<&Tensor>; 2],
    running: &Running,
    eps: f64,
    (part, connection): (BatchPart, &'static Connection),
) -> Tensor {
    let kind = if x.kind() == Kind::Double { Kind::Double } else { Kind::Float };
    let wide = x.to_kind(kind);
    let channels = x.size()[1];
    let values = (x.numel() as i64 / channels) as f64;
    // An idle rank takes all steps, and counts nothing.
    let counted = if part.share.is_idle { 0.0 } else { 1.0 };
    let (variance, mean) = wide.var_mean_dim([0i64, 2, 3, 4].as_slice(), false, false);
    let [variance, mean] = [variance, mean].map(|moment| moment.to_kind(Kind::Double));
    let count = Tensor::full([1], values * counted, (Kind::Double, x.device()));
    let sums = &mean * (values * counted);
    let squares = (variance + mean.square()) * (values * counted);
    let all = differentiable_sum(&Tensor::cat(&[sums, squares, count], 0), connection);
    let count = all.narrow(0, 2 * channels, 1);
    let mean = all.narrow(0, 0, channels) / &count;
    let variance = (all.narrow(0, channels, channels) / &count - mean.square()).clamp_min(0.0);
    update(running, &mean, &variance, &count);
    let per_channel = |tensor: &Tensor| tensor.to_kind(kind).reshape([1, channels, 1, 1, 1]);
    let scale = (variance + eps).rsqrt();
    let out = (wide - per_channel(&mean)) * per_channel(&scale);
    let out = match weight {
        Some(weight) => out * per_channel(weight),
        None => out,
    };
    let out = match bias {
        Some(bias) => out + per_channel(bias),
        None => out,
    };
    out.to_kind(x.kind())
}

/// Moves the running statistics towards those of a batch with `count` values a channel.
fn update(running: &Running, mean: &Tensor, variance: &Tensor, count: &Tensor) {
    no_grad(|| {
        let unbiased = variance * count / (count - 1.0);
        for (kept, new) in [(running.mean, mean), (running.variance, &unbiased)] {
            let new = new.detach().to_kind(kept.kind());
            let _ = kept.shallow_clone().lerp_(&new, running.momentum);
        }
    });
}
