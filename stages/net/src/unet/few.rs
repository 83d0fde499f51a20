//! The convolution among few channels on the processor, `shim/convolution.cpp`: several times as fast
//! there as libtorch's own, whose blocks of channels are mostly empty.

use std::ffi::c_void;
use tch::{Device, Kind, Tensor};

unsafe extern "C" {
    fn voxflow_few_convolution(input: *const c_void, weight: *const c_void, bias: *const c_void) -> *mut c_void;
}

/// More inputs times outputs than this are left to libtorch.
const MOST: i64 = 16;

/// Whether a convolution of `x` with `weight` (outputs, inputs, 3, 3, 3), stride 1 and padding 1 is done here.
pub(super) fn suits(x: &Tensor, weight: &Tensor, stride: [i64; 3]) -> bool {
    let size = weight.size();
    (x.device(), stride) == (Device::Cpu, [1; 3])
        && matches!(x.kind(), Kind::Float | Kind::BFloat16 | Kind::Half)
        && size[2..] == [3; 3]
        && size[0] * size[1] <= MOST
}

/// The convolution, with gradients: numbers of 16 bits are multiplied and summed in fp32, and the sum is
/// rounded. Its result is laid out with channels first.
pub(super) fn convolve(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Tensor {
    let kind = x.kind();
    let wide = [x, weight, bias].map(|tensor| tensor.to_kind(Kind::Float));
    let [x, weight, bias] = wide.each_ref().map(|tensor| tensor.as_ptr().cast::<c_void>());
    // SAFETY: a tch tensor is a pointer to libtorch's; the shim reads three that live on, and gives a new one
    // or null.
    unsafe {
        let made = voxflow_few_convolution(x, weight, bias);
        assert!(!made.is_null(), "libtorch refused a convolution among few channels");
        Tensor::from_ptr(made.cast()).to_kind(kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(size: &[i64]) -> Tensor {
        Tensor::randn(size, (Kind::Float, Device::Cpu)).set_requires_grad(true)
    }

    /// The result and the gradients of its squares' sum.
    fn results(x: &Tensor, weight: &Tensor, bias: &Tensor, ours: bool) -> Vec<Tensor> {
        let out = if ours { convolve(x, weight, bias) } else { x.conv3d(weight, Some(bias), 1, 1, 1, 1) };
        let gradients = Tensor::run_backward(&[out.square().sum(out.kind())], &[x, weight, bias], false, false);
        std::iter::once(out).chain(gradients).map(|tensor| tensor.to_kind(Kind::Double)).collect()
    }

    #[test]
    fn results_and_gradients_are_those_of_libtorch_in_double_precision() {
        tch::manual_seed(1);
        for (inputs, outputs, sides) in [
            (2, 2, [7, 6, 40]),
            (3, 3, [4, 5, 17]),
            (1, 4, [3, 3, 3]),
            (4, 1, [1, 2, 96]),
            (2, 3, [2, 1, 1]),
            (2, 2, [5, 1, 2]),
        ] {
            let x = random(&[[2, inputs].as_slice(), &sides].concat());
            let (weight, bias) = (random(&[outputs, inputs, 3, 3, 3]), random(&[outputs]));
            assert!(suits(&x, &weight, [1; 3]) && !suits(&x, &weight, [2, 1, 1]));
            let found = results(&x, &weight, &bias, true);
            let double = [&x, &weight, &bias].map(|tensor| tensor.to_kind(Kind::Double));
            let wanted = results(&double[0], &double[1], &double[2], false);
            for (found, wanted) in found.iter().zip(&wanted) {
                let off = (found - wanted).abs().max() / wanted.abs().max();
                assert!(off.double_value(&[]) < 1e-6, "{inputs} to {outputs}, {sides:?}: {off:?}");
            }
        }
    }

    #[test]
    fn results_do_not_depend_on_the_number_of_threads() {
        let (x, weight, bias) = (random(&[2, 2, 16, 16, 16]), random(&[2, 2, 3, 3, 3]), random(&[2]));
        let before = tch::get_num_threads();
        let with = |threads| {
            tch::set_num_threads(threads);
            results(&x, &weight, &bias, true)
        };
        let (one, two) = (with(1), with(2));
        tch::set_num_threads(before);
        assert!(one[..3].iter().zip(&two).all(|(one, two)| one.equal(two)));
    }
}
