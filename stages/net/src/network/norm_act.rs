//! Norm, dropout, activation and residual sum. On the processor everything but dropout is one fused
//! operation, `shim/norm_act.cpp`, with half the passes over memory of libtorch's separate ones.

use super::dropout::dropout;
use super::pass::{BatchPart, Pass};
use super::sync_batch_norm::{Running, sync_batch_norm};
use crate::distributed::Connection;
use crate::shim_error;
use std::ffi::{c_double, c_int, c_void};
use std::ptr::null;
use tch::{Device, Kind, Tensor};
use voxflow_stages::model::graph::{Activation, Op};

unsafe extern "C" {
    fn voxflow_norm_act(
        x: *const c_void,
        added: *const c_void,
        weight: *const c_void,
        bias: *const c_void,
        slope: *const c_void,
        mean: *const c_void,
        variance: *const c_void,
        measured: c_int,
        each_item: c_int,
        momentum: c_double,
        eps: c_double,
    ) -> *mut c_void;
}

/// A norm: learned scale and shift, and statistics.
#[derive(Debug)]
pub(super) struct Normalise {
    affine: Option<[Tensor; 2]>,
    statistics: NormStatistics,
}

#[derive(Debug)]
enum NormStatistics {
    /// Of the batch in training unless frozen, else the running statistics.
    Batch { mean: Tensor, variance: Tensor, tracked: Tensor, frozen: bool },
    /// Of each item.
    Item,
}

impl Normalise {
    const EPS: f64 = 1e-5;
    const MOMENTUM: f64 = 0.1;

    /// The norm of a node with its tensors: scale and shift, then mean, variance and counter.
    pub(super) fn new(op: &Op, tensors: &[Tensor], frozen: bool) -> Normalise {
        let (affine, statistics) = match (op, tensors) {
            (Op::Norm { affine: true, .. }, [weight, bias, rest @ ..]) => {
                (Some([weight.shallow_clone(), bias.shallow_clone()]), rest)
            }
            _ => (None, tensors),
        };
        let statistics = match statistics {
            [mean, variance, tracked] => NormStatistics::Batch {
                mean: mean.shallow_clone(),
                variance: variance.shallow_clone(),
                tracked: tracked.shallow_clone(),
                frozen,
            },
            _ => NormStatistics::Item,
        };
        Normalise { affine, statistics }
    }

    /// The same norm, of the same tensors.
    pub(super) fn shallow_clone(&self) -> Normalise {
        let affine =
            self.affine.as_ref().map(|affine| affine.each_ref().map(Tensor::shallow_clone));
        let statistics = match &self.statistics {
            NormStatistics::Batch { mean, variance, tracked, frozen } => NormStatistics::Batch {
                mean: mean.shallow_clone(),
                variance: variance.shallow_clone(),
                tracked: tracked.shallow_clone(),
                frozen: *frozen,
            },
            NormStatistics::Item => NormStatistics::Item,
        };
        Normalise { affine, statistics }
    }

    /// True if the statistics are computed from the input.
    fn uses_input_statistics(&self, pass: Pass) -> bool {
        match self.statistics {
            NormStatistics::Batch { frozen, .. } => pass.training && !frozen,
            NormStatistics::Item => true,
        }
    }

    /// The ranks over which statistics are taken, if they are not the input's alone.
    fn synchronised(&self, pass: Pass) -> Option<(BatchPart, &'static Connection)> {
        let part = pass.part.filter(|_| self.uses_input_statistics(pass))?;
        Some((part, part.sync_batch_norm.filter(|_| !self.is_instance_norm())?))
    }

    fn is_instance_norm(&self) -> bool {
        matches!(self.statistics, NormStatistics::Item)
    }

    /// Scale and shift.
    fn affine(&self) -> [Option<&Tensor>; 2] {
        self.affine.as_ref().map_or([None; 2], |affine| affine.each_ref().map(Some))
    }

    /// Running mean and variance.
    fn running(&self) -> [Option<&Tensor>; 2] {
        match &self.statistics {
            NormStatistics::Batch { mean, variance, .. } => [Some(mean), Some(variance)],
            NormStatistics::Item => [None; 2],
        }
    }

    /// Normalises by libtorch's operation.
    pub(super) fn forward(&self, x: &Tensor, pass: Pass) -> Tensor {
        let ([weight, bias], [mean, variance]) = (self.affine(), self.running());
        let (measured, momentum, eps) =
            (self.uses_input_statistics(pass), Self::MOMENTUM, Self::EPS);
        if let Some(ranks) = self.synchronised(pass)
            && let [Some(mean), Some(variance)] = [mean, variance]
        {
            let running = Running { mean, variance, momentum };
            return sync_batch_norm(x, [weight, bias], &running, eps, ranks);
        }
        if self.is_instance_norm() {
            x.instance_norm(weight, bias, mean, variance, measured, momentum, eps, true)
        } else {
            x.batch_norm(weight, bias, mean, variance, measured, momentum, eps, true)
        }
    }

    /// The counter of batches (`num_batches_tracked`) if the batch's statistics are used.
    pub(super) fn counter(&self, pass: Pass) -> Option<&Tensor> {
        match &self.statistics {
            NormStatistics::Batch { tracked, .. } => {
                self.uses_input_statistics(pass).then_some(tracked)
            }
            NormStatistics::Item => None,
        }
    }
}

fn pointer(tensor: &Tensor) -> *const c_void {
    tensor.as_ptr().cast::<c_void>()
}

fn or_null(tensor: Option<&Tensor>) -> *const c_void {
    tensor.map_or(null(), pointer)
}

/// The slope of an activation below 0: its tensor, or a constant.
pub(super) fn slope(
    activation: Activation,
    tensors: &[Tensor],
    (kind, device): (Kind, Device),
) -> Tensor {
    match activation {
        Activation::PRelu => tensors[0].shallow_clone(),
        Activation::LeakyRelu(slope) => Tensor::full([1], slope, (kind, device)),
    }
}

/// Norm, dropout and activation, in this order.
#[derive(Debug)]
pub(super) struct NormAct {
    pub(super) normalise: Normalise,
    pub(super) dropout: f64,
    /// The activation's slope below 0.
    pub(super) slope: Tensor,
}

impl NormAct {
    /// The result plus `added`.
    pub(super) fn forward(&self, x: &Tensor, added: Option<&Tensor>, pass: Pass) -> Tensor {
        if self.is_fused(x, pass) {
            return self.fused(x, added, pass);
        }
        let x = self.normalise.forward(x, pass);
        let x = if self.dropout > 0.0 { dropout(&x, self.dropout, pass) } else { x };
        let x = x.prelu(&self.slope.to_kind(x.kind()));
        added.map_or_else(|| x.shallow_clone(), |added| &x + added)
    }

    fn is_fused(&self, x: &Tensor, pass: Pass) -> bool {
        x.device() == Device::Cpu
            && matches!(x.kind(), Kind::Float | Kind::BFloat16)
            && self.slope.kind() == Kind::Float
            && (self.dropout == 0.0 || !pass.training)
            && self.normalise.synchronised(pass).is_none()
    }

    fn fused(&self, x: &Tensor, added: Option<&Tensor>, pass: Pass) -> Tensor {
        let input_statistics = c_int::from(self.normalise.uses_input_statistics(pass));
        let each_item = c_int::from(self.normalise.is_instance_norm());
        let [weight, bias] = self.normalise.affine().map(or_null);
        let [mean, variance] = self.normalise.running().map(or_null);
        let (added, slope) = (or_null(added), pointer(&self.slope));
        let (momentum, eps) = (Normalise::MOMENTUM, Normalise::EPS);
        // SAFETY: the tensors outlive the call, which updates the running statistics and returns a
        // new tensor or null.
        unsafe {
            let made = voxflow_norm_act(
                pointer(x),
                added,
                weight,
                bias,
                slope,
                mean,
                variance,
                input_statistics,
                each_item,
                momentum,
                eps,
            );
            if made.is_null() {
                shim_error::refused();
            }
            Tensor::from_ptr(made.cast())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::channels_last;
    use super::*;
    use std::cell::RefCell;
    use voxflow_stages::random::Draw;

    const TRAINING: Pass = Pass { training: true, compute: Kind::Float, part: None };
    const USE: Pass = Pass { training: false, compute: Kind::Float, part: None };

    thread_local! {
        /// A stream of this test alone: libtorch's generator is one for all tests that run at once.
        static DRAW: RefCell<Draw> = RefCell::new(Draw::new(2, 0, 0, "norm and activation"));
    }

    fn drawn(size: &[i64], next: fn(&mut Draw) -> f64) -> Tensor {
        let count = size.iter().product::<i64>() as usize;
        let values: Vec<f32> = DRAW.with_borrow_mut(|draw| {
            std::iter::repeat_with(|| next(draw) as f32).take(count).collect()
        });
        Tensor::from_slice(&values).reshape(size)
    }

    fn random(size: &[i64]) -> Tensor {
        drawn(size, Draw::normal)
    }

    fn spread(channels: i64, least: f64) -> Tensor {
        drawn(&[channels], Draw::unit) + least
    }

    fn affine(channels: i64) -> Option<[Tensor; 2]> {
        Some([0.5, -0.5].map(|least| spread(channels, least).set_requires_grad(true)))
    }

    fn batch(channels: i64, frozen: bool) -> Normalise {
        let affine = affine(channels);
        let statistics = NormStatistics::Batch {
            mean: spread(channels, -0.5),
            variance: spread(channels, 0.5),
            tracked: Tensor::zeros([] as [i64; 0], (Kind::Int64, Device::Cpu)),
            frozen,
        };
        Normalise { affine, statistics }
    }

    fn instance(affine: Option<[Tensor; 2]>) -> Normalise {
        Normalise { affine, statistics: NormStatistics::Item }
    }

    fn learned_slope() -> Tensor {
        Tensor::from_slice(&[0.25f32]).set_requires_grad(true)
    }

    /// The same in another kind, with tensors of its own.
    fn copy(norm_act: &NormAct, kind: Kind) -> NormAct {
        let copy = |tensor: &Tensor| {
            tensor.detach().to_kind(kind).copy().set_requires_grad(tensor.requires_grad())
        };
        let normalise = &norm_act.normalise;
        let statistics = match &normalise.statistics {
            NormStatistics::Item => NormStatistics::Item,
            NormStatistics::Batch { mean, variance, tracked, frozen } => NormStatistics::Batch {
                mean: copy(mean),
                variance: copy(variance),
                tracked: tracked.copy(),
                frozen: *frozen,
            },
        };
        let affine = normalise.affine.as_ref().map(|affine| affine.each_ref().map(copy));
        let normalise = Normalise { affine, statistics };
        NormAct { normalise, dropout: norm_act.dropout, slope: copy(&norm_act.slope) }
    }

    /// The result, the gradients of x, the learned tensors and what is added, and the running
    /// statistics.
    fn results(norm_act: &NormAct, x: &Tensor, added: Option<&Tensor>, pass: Pass) -> Vec<Tensor> {
        let alone = |tensor: &Tensor| tensor.detach().set_requires_grad(true);
        let (x, added) = (alone(x), added.map(alone));
        let out = norm_act.forward(&x, added.as_ref(), pass);
        let mut of = vec![&x];
        of.extend(Some(&norm_act.slope).filter(|slope| slope.requires_grad()));
        of.extend(&added);
        of.extend(norm_act.normalise.affine().into_iter().flatten());
        let kept = norm_act.normalise.running().into_iter().flatten();
        let gradients = Tensor::run_backward(&[out.square().sum(Kind::Double)], &of, false, false);
        let kept = kept.map(Tensor::shallow_clone);
        let all = std::iter::once(out.detach()).chain(gradients).chain(kept);
        all.map(|tensor| tensor.to_kind(Kind::Double)).collect()
    }

    /// Tensors laid out in every way that a network meets, and in one that it does not.
    fn layouts(x: &Tensor) -> [Tensor; 4] {
        let twice = channels_last(&Tensor::cat(&[x, x], 1));
        let odd = x.transpose(2, 4).contiguous().transpose(2, 4);
        [x.shallow_clone(), channels_last(x), twice.narrow(1, 0, x.size()[1]), odd]
    }

    fn held(found: &[Tensor], wanted: &[Tensor], most: f64, words: &str) {
        assert_eq!(found.len(), wanted.len());
        for (at, (found, wanted)) in found.iter().zip(wanted).enumerate() {
            let off = ((found - wanted).abs().max() / wanted.abs().max()).double_value(&[]);
            assert!(off < most, "{words}, result {at}: {off}");
        }
    }

    #[test]
    fn results_and_gradients_are_those_of_libtorch_in_double_precision() {
        for (channels, sides) in
            [(16, [5, 6, 7]), (2, [24, 25, 30]), (40, [3, 2, 3]), (5, [1, 1, 4]), (1, [3, 4, 5])]
        {
            let size = [[2, channels].as_slice(), &sides].concat();
            let (x, added) = (random(&size) * 2.0 + 3.0, random(&size));
            for (normalise, slope) in [
                (batch(channels, false), learned_slope()),
                (batch(channels, true), learned_slope()),
                (instance(None), learned_slope()),
                (instance(affine(channels)), Tensor::from_slice(&[0.01f32])),
            ] {
                let norm_act = NormAct { normalise, dropout: 0.0, slope };
                for (way, (x, added)) in layouts(&x).iter().zip(&layouts(&added)).enumerate() {
                    for pass in [TRAINING, USE] {
                        let [single, double] =
                            [Kind::Float, Kind::Double].map(|kind| copy(&norm_act, kind));
                        assert!(single.is_fused(x, pass));
                        let added = (way % 2 == 0).then_some(added);
                        let found = results(&single, x, added, pass);
                        let wide = |tensor: &Tensor| tensor.to_kind(Kind::Double);
                        let wanted = results(&double, &wide(x), added.map(wide).as_ref(), pass);
                        let words = format!(
                            "{channels} channels, {:?}, layout {way}, {pass:?}",
                            norm_act.normalise
                        );
                        held(&found, &wanted, 2e-5, &words);
                    }
                }
            }
        }
    }

    #[test]
    fn sixteen_bits_are_rounded_once_and_summed_in_more() {
        let slope = Tensor::from_slice(&[0.25f32]);
        let norm_act = NormAct { normalise: batch(16, false), dropout: 0.0, slope };
        let [x, added] =
            [0, 1].map(|_| channels_last(&random(&[2, 16, 8, 8, 8])).to_kind(Kind::BFloat16));
        let found = copy(&norm_act, Kind::Float).forward(&x, Some(&added), TRAINING);
        let [x, added] = [x, added].map(|tensor| tensor.to_kind(Kind::Float));
        let wanted = copy(&norm_act, Kind::Float)
            .forward(&x, Some(&added), TRAINING)
            .to_kind(Kind::BFloat16);
        assert_eq!(found.kind(), Kind::BFloat16);
        assert!(found.equal(&wanted));
        let no_number =
            Tensor::from_slice(&[f32::NAN; 16]).reshape([1, 16, 1, 1, 1]).to_kind(Kind::BFloat16);
        assert!(norm_act.forward(&no_number, None, USE).isnan().all().int64_value(&[]) == 1);
    }

    #[test]
    fn results_do_not_depend_on_the_number_of_threads() {
        let before = tch::get_num_threads();
        let (x, added) = (
            channels_last(&random(&[2, 24, 20, 20, 20])),
            channels_last(&random(&[2, 24, 20, 20, 20])),
        );
        let norm_act =
            NormAct { normalise: batch(24, false), dropout: 0.0, slope: learned_slope() };
        let with = |threads| {
            tch::set_num_threads(threads);
            results(&copy(&norm_act, Kind::Float), &x, Some(&added), TRAINING)
        };
        let (one, two) = (with(1), with(2));
        tch::set_num_threads(before);
        assert!(one.iter().zip(&two).all(|(one, two)| one.equal(two)));
    }
}
