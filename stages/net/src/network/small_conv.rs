//! Convolutions to few channels on the processor, `shim/small_conv.cpp` and
//! `shim/small_conv_transposed.cpp`: several times as fast as libtorch's, whose blocks of channels
//! are mostly empty for them. 16-bit numbers are multiplied and summed in fp32 and the sum is
//! rounded. Results are laid out with channels first.

use crate::shim_error;
use std::ffi::c_void;
use tch::{Device, Kind, Tensor};

type ShimFunction =
    unsafe extern "C" fn(*const c_void, *const c_void, *const c_void) -> *mut c_void;

unsafe extern "C" {
    fn voxflow_small_conv(
        input: *const c_void,
        weight: *const c_void,
        bias: *const c_void,
    ) -> *mut c_void;
    fn voxflow_small_conv_transposed(
        input: *const c_void,
        weight: *const c_void,
        bias: *const c_void,
    ) -> *mut c_void;
}

/// Strides and padding of a convolution along x, y, z.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct ConvGeometry {
    pub(super) stride: [i64; 3],
    pub(super) padding: [i64; 3],
    /// Output padding of a transposed convolution.
    pub(super) transposed: Option<[i64; 3]>,
}

/// Convolutions of `weight` (outputs, inputs, 3, 3, 3).
const PLAIN: ConvGeometry = ConvGeometry { stride: [1; 3], padding: [1; 3], transposed: None };
/// Transposed convolutions of `weight` (inputs, outputs, 3, 3, 3).
const TRANSPOSED: ConvGeometry =
    ConvGeometry { stride: [2; 3], padding: [1; 3], transposed: Some([1; 3]) };
/// Larger products of input and output channels are left to libtorch.
const MAX_CHANNELS: i64 = 16;
/// Transposed convolutions of more output channels are left to libtorch.
const MAX_OUTPUTS: i64 = 4;

/// The convolution with gradients; `None` unless supported: on the processor, kernel 3×3×3, few
/// channels, strides and padding as above.
pub(super) fn convolve(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    geometry: ConvGeometry,
) -> Option<Tensor> {
    let on_processor = x.device() == Device::Cpu;
    let known = matches!(x.kind(), Kind::Float | Kind::BFloat16 | Kind::Half);
    let size = weight.size();
    let operation = match geometry {
        PLAIN if size[0] * size[1] <= MAX_CHANNELS => voxflow_small_conv as ShimFunction,
        TRANSPOSED if size[1] <= MAX_OUTPUTS => voxflow_small_conv_transposed,
        _ => return None,
    };
    (on_processor && known && size[2..] == [3; 3]).then(|| call(operation, x, weight, bias))
}

fn call(operation: ShimFunction, x: &Tensor, weight: &Tensor, bias: &Tensor) -> Tensor {
    let wide = [x, weight, bias].map(|tensor| tensor.to_kind(Kind::Float));
    let [input, weight, bias] = wide.each_ref().map(|tensor| tensor.as_ptr().cast::<c_void>());
    // SAFETY: the three tensors outlive the call, which returns a new tensor or null.
    let made = unsafe {
        let made = operation(input, weight, bias);
        if made.is_null() {
            shim_error::refused();
        }
        Tensor::from_ptr(made.cast())
    };
    made.to_kind(x.kind())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(size: &[i64]) -> Tensor {
        Tensor::randn(size, (Kind::Float, Device::Cpu)).set_requires_grad(true)
    }

    type Make = fn(&Tensor, &Tensor, &Tensor) -> Tensor;

    fn plain(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Tensor {
        convolve(x, weight, bias, PLAIN).unwrap()
    }

    fn transposed(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Tensor {
        convolve(x, weight, bias, TRANSPOSED).unwrap()
    }

    #[test]
    fn other_strides_and_paddings_are_left_to_libtorch() {
        let (x, weight, bias) = (random(&[1, 2, 4, 4, 4]), random(&[2, 2, 3, 3, 3]), random(&[2]));
        for known in [PLAIN, TRANSPOSED] {
            assert!(convolve(&x, &weight, &bias, known).is_some());
            for other in [
                ConvGeometry { stride: [2, 2, 1], ..known },
                ConvGeometry { padding: [1, 1, 0], ..known },
                ConvGeometry { transposed: Some([0; 3]), ..known },
            ] {
                assert!(convolve(&x, &weight, &bias, other).is_none(), "{other:?}");
            }
        }
        let wide = random(&[1, 8, 4, 4, 4]);
        assert!(convolve(&wide, &random(&[8, 8, 3, 3, 3]), &random(&[8]), PLAIN).is_none());
    }

    fn of_libtorch(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Tensor {
        x.conv3d(weight, Some(bias), 1, 1, 1, 1)
    }

    fn transposed_of_libtorch(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Tensor {
        x.conv_transpose3d(weight, Some(bias), 2, 1, 1, 1, 1)
    }

    /// The result and the gradients of its squares' sum.
    fn results(make: Make, x: &Tensor, weight: &Tensor, bias: &Tensor) -> Vec<Tensor> {
        let out = make(x, weight, bias);
        let gradients =
            Tensor::run_backward(&[out.square().sum(out.kind())], &[x, weight, bias], false, false);
        std::iter::once(out).chain(gradients).map(|tensor| tensor.to_kind(Kind::Double)).collect()
    }

    /// Ours in single precision beside libtorch's in double.
    fn held([ours, theirs]: [Make; 2], x: &Tensor, weight: &Tensor, bias: &Tensor) {
        let found = results(ours, x, weight, bias);
        let [wide_x, wide_weight, wide_bias] =
            [x, weight, bias].map(|tensor| tensor.to_kind(Kind::Double));
        let wanted = results(theirs, &wide_x, &wide_weight, &wide_bias);
        for (at, (found, wanted)) in found.iter().zip(&wanted).enumerate() {
            assert_eq!(found.size(), wanted.size());
            let off = (found - wanted).abs().max() / wanted.abs().max();
            assert!(
                off.double_value(&[]) < 1e-6,
                "{:?} by {:?}, result {at}: {off:?}",
                x.size(),
                weight.size()
            );
        }
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
            held([plain, of_libtorch], &x, &weight, &bias);
        }
    }

    #[test]
    fn transposed_results_and_gradients_are_those_of_libtorch_in_double_precision() {
        tch::manual_seed(4);
        for (inputs, outputs, sides) in [
            (32, 2, [4, 5, 24]),
            (7, 4, [3, 2, 16]),
            (20, 1, [1, 1, 1]),
            (16, 3, [1, 4, 7]),
            (48, 2, [2, 3, 33]),
        ] {
            let x = random(&[[2, inputs].as_slice(), &sides].concat());
            let (weight, bias) = (random(&[inputs, outputs, 3, 3, 3]), random(&[outputs]));
            held([transposed, transposed_of_libtorch], &x, &weight, &bias);
            let last = super::super::channels_last(&x).detach().set_requires_grad(true);
            held([transposed, transposed_of_libtorch], &last, &weight, &bias);
        }
    }

    #[test]
    fn results_do_not_depend_on_the_number_of_threads() {
        let before = tch::get_num_threads();
        let bias = random(&[2]);
        let with = |make: Make, x: &Tensor, weight: &Tensor, threads| {
            tch::set_num_threads(threads);
            results(make, x, weight, &bias)
        };
        let same = (plain as Make, random(&[2, 2, 16, 16, 16]), random(&[2, 2, 3, 3, 3]));
        let up = (transposed as Make, random(&[2, 24, 9, 9, 9]), random(&[24, 2, 3, 3, 3]));
        for (make, x, weight) in [same, up] {
            let (one, two) = (with(make, &x, &weight, 1), with(make, &x, &weight, 2));
            assert!(one[..3].iter().zip(&two).all(|(one, two)| one.equal(two)));
        }
        tch::set_num_threads(before);
    }
}
