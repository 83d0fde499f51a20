//! Norm, dropout and activation, and what is added to them. On the processor all but dropout is one
//! operation, `shim/activation.cpp`: half the passes over memory of libtorch's own.

use super::Pass;
use std::ffi::{c_double, c_int, c_void};
use std::ptr::null;
use tch::{Device, Kind, Tensor};

unsafe extern "C" {
    fn voxflow_activation(
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

#[derive(Debug)]
pub(super) enum Normalise {
    Batch {
        weight: Tensor,
        bias: Tensor,
        mean: Tensor,
        variance: Tensor,
        tracked: Tensor,
        frozen: bool,
    },
    Instance,
}

impl Normalise {
    const EPS: f64 = 1e-5;
    const MOMENTUM: f64 = 0.1;

    /// Whether the statistics are those of what is normalised.
    fn is_measured(&self, pass: Pass) -> bool {
        match self {
            Normalise::Batch { frozen, .. } => pass.training && !frozen,
            Normalise::Instance => true,
        }
    }

    fn forward(&self, x: &Tensor, pass: Pass) -> Tensor {
        let measured = self.is_measured(pass);
        match self {
            Normalise::Batch { weight, bias, mean, variance, .. } => {
                let (weight, bias) = (Some(weight), Some(bias));
                let (mean, variance) = (Some(mean), Some(variance));
                x.batch_norm(
                    weight,
                    bias,
                    mean,
                    variance,
                    measured,
                    Self::MOMENTUM,
                    Self::EPS,
                    true,
                )
            }
            Normalise::Instance => {
                let none = None::<&Tensor>;
                x.instance_norm(none, none, none, none, measured, Self::MOMENTUM, Self::EPS, true)
            }
        }
    }

    /// Counts a batch whose statistics were taken.
    fn count(&self, pass: Pass) {
        if let Normalise::Batch { tracked, .. } = self
            && self.is_measured(pass)
        {
            let _ = tracked.shallow_clone().g_add_scalar_(1);
        }
    }
}

/// Norm, dropout and activation, in this order.
#[derive(Debug)]
pub(super) struct After {
    pub(super) normalise: Normalise,
    pub(super) dropout: f64,
    pub(super) slope: Tensor,
}

impl After {
    /// With `added` to what comes out.
    pub(super) fn forward(&self, x: &Tensor, added: Option<&Tensor>, pass: Pass) -> Tensor {
        self.normalise.count(pass);
        if self.is_one_operation(x, pass) {
            return self.at_once(x, added, pass);
        }
        let x = self.normalise.forward(x, pass);
        let x = if self.dropout > 0.0 { x.dropout(self.dropout, pass.training) } else { x };
        let x = x.prelu(&self.slope.to_kind(x.kind()));
        added.map_or_else(|| x.shallow_clone(), |added| &x + added)
    }

    fn is_one_operation(&self, x: &Tensor, pass: Pass) -> bool {
        x.device() == Device::Cpu
            && matches!(x.kind(), Kind::Float | Kind::BFloat16)
            && self.slope.kind() == Kind::Float
            && (self.dropout == 0.0 || !pass.training)
    }

    fn at_once(&self, x: &Tensor, added: Option<&Tensor>, pass: Pass) -> Tensor {
        let pointer = |tensor: &Tensor| tensor.as_ptr().cast::<c_void>();
        let (measured, each_item) =
            (self.normalise.is_measured(pass), matches!(self.normalise, Normalise::Instance));
        let [weight, bias, mean, variance] = match &self.normalise {
            Normalise::Batch { weight, bias, mean, variance, .. } => {
                [weight, bias, mean, variance].map(pointer)
            }
            Normalise::Instance => [null(); 4],
        };
        let (added, slope) = (added.map_or(null(), pointer), pointer(&self.slope));
        let (measured, each_item) = (c_int::from(measured), c_int::from(each_item));
        let (momentum, eps) = (Normalise::MOMENTUM, Normalise::EPS);
        // SAFETY: a tch tensor is a pointer to libtorch's; the shim reads those given, moves the
        // running statistics, and gives a new tensor, or null.
        unsafe {
            let made = voxflow_activation(
                pointer(x),
                added,
                weight,
                bias,
                slope,
                mean,
                variance,
                measured,
                each_item,
                momentum,
                eps,
            );
            assert!(!made.is_null(), "libtorch refused a norm with its activation");
            Tensor::from_ptr(made.cast())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::channels_last;
    use super::*;

    const TRAINING: Pass = Pass { training: true, compute: Kind::Float };
    const USE: Pass = Pass { training: false, compute: Kind::Float };

    fn random(size: &[i64]) -> Tensor {
        Tensor::randn(size, (Kind::Float, Device::Cpu))
    }

    fn batch(channels: i64, frozen: bool) -> Normalise {
        let spread = |least: f64| Tensor::rand([channels], (Kind::Float, Device::Cpu)) + least;
        Normalise::Batch {
            weight: spread(0.5).set_requires_grad(true),
            bias: (spread(-0.5)).set_requires_grad(true),
            mean: spread(-0.5),
            variance: spread(0.5),
            tracked: Tensor::zeros([] as [i64; 0], (Kind::Int64, Device::Cpu)),
            frozen,
        }
    }

    /// The same in another kind, with tensors of its own.
    fn copy(after: &After, kind: Kind) -> After {
        let copy = |tensor: &Tensor| {
            tensor.detach().to_kind(kind).copy().set_requires_grad(tensor.requires_grad())
        };
        let normalise = match &after.normalise {
            Normalise::Instance => Normalise::Instance,
            Normalise::Batch { weight, bias, mean, variance, tracked, frozen } => {
                Normalise::Batch {
                    weight: copy(weight),
                    bias: copy(bias),
                    mean: copy(mean),
                    variance: copy(variance),
                    tracked: tracked.copy(),
                    frozen: *frozen,
                }
            }
        };
        After { normalise, dropout: after.dropout, slope: copy(&after.slope) }
    }

    /// The result, the gradients of x, the learned tensors and what is added, and the running
    /// statistics.
    fn results(after: &After, x: &Tensor, added: Option<&Tensor>, pass: Pass) -> Vec<Tensor> {
        let alone = |tensor: &Tensor| tensor.detach().set_requires_grad(true);
        let (x, added) = (alone(x), added.map(alone));
        let out = after.forward(&x, added.as_ref(), pass);
        let mut of = vec![&x, &after.slope];
        of.extend(&added);
        let mut kept = vec![];
        if let Normalise::Batch { weight, bias, mean, variance, .. } = &after.normalise {
            of.extend([weight, bias]);
            kept.extend([mean, variance]);
        }
        let gradients = Tensor::run_backward(&[out.square().sum(Kind::Double)], &of, false, false);
        let kept = kept.into_iter().map(Tensor::shallow_clone);
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
        tch::manual_seed(2);
        for (channels, sides) in
            [(16, [5, 6, 7]), (2, [24, 25, 30]), (40, [3, 2, 3]), (5, [1, 1, 4]), (1, [3, 4, 5])]
        {
            let size = [[2, channels].as_slice(), &sides].concat();
            let (x, added) = (random(&size) * 2.0 + 3.0, random(&size));
            for normalise in [batch(channels, false), batch(channels, true), Normalise::Instance] {
                let after = After {
                    normalise,
                    dropout: 0.0,
                    slope: Tensor::from_slice(&[0.25f32]).set_requires_grad(true),
                };
                for (way, (x, added)) in layouts(&x).iter().zip(&layouts(&added)).enumerate() {
                    for pass in [TRAINING, USE] {
                        let [single, double] =
                            [Kind::Float, Kind::Double].map(|kind| copy(&after, kind));
                        assert!(single.is_one_operation(x, pass));
                        let added = (way % 2 == 0).then_some(added);
                        let found = results(&single, x, added, pass);
                        let wide = |tensor: &Tensor| tensor.to_kind(Kind::Double);
                        let wanted = results(&double, &wide(x), added.map(wide).as_ref(), pass);
                        let words = format!(
                            "{channels} channels, {:?}, layout {way}, {pass:?}",
                            after.normalise
                        );
                        held(&found, &wanted, 2e-5, &words);
                    }
                }
            }
        }
    }

    #[test]
    fn sixteen_bits_are_rounded_once_and_summed_in_more() {
        tch::manual_seed(3);
        let after = After {
            normalise: batch(16, false),
            dropout: 0.0,
            slope: Tensor::from_slice(&[0.25f32]),
        };
        let [x, added] =
            [0, 1].map(|_| channels_last(&random(&[2, 16, 8, 8, 8])).to_kind(Kind::BFloat16));
        let found = copy(&after, Kind::Float).forward(&x, Some(&added), TRAINING);
        let [x, added] = [x, added].map(|tensor| tensor.to_kind(Kind::Float));
        let wanted =
            copy(&after, Kind::Float).forward(&x, Some(&added), TRAINING).to_kind(Kind::BFloat16);
        assert_eq!(found.kind(), Kind::BFloat16);
        assert!(found.equal(&wanted));
        let no_number =
            Tensor::from_slice(&[f32::NAN; 16]).reshape([1, 16, 1, 1, 1]).to_kind(Kind::BFloat16);
        assert!(after.forward(&no_number, None, USE).isnan().all().int64_value(&[]) == 1);
    }

    #[test]
    fn results_do_not_depend_on_the_number_of_threads() {
        let before = tch::get_num_threads();
        let (x, added) = (
            channels_last(&random(&[2, 24, 20, 20, 20])),
            channels_last(&random(&[2, 24, 20, 20, 20])),
        );
        let after = After {
            normalise: batch(24, false),
            dropout: 0.0,
            slope: Tensor::from_slice(&[0.25f32]).set_requires_grad(true),
        };
        let with = |threads| {
            tch::set_num_threads(threads);
            results(&copy(&after, Kind::Float), &x, Some(&added), TRAINING)
        };
        let (one, two) = (with(1), with(2));
        tch::set_num_threads(before);
        assert!(one.iter().zip(&two).all(|(one, two)| one.equal(two)));
    }
}
