//! A view's numbers, in row-major order and in the network's own kinds.

use crate::error::{Error, Result};
use crate::model::pickle::{Dtype, View};

/// A float view's numbers as fp32. Errors unless all are finite.
pub fn floats(view: &View, bytes: &[u8]) -> Result<Vec<f32>> {
    let values: Vec<f32> = match view.dtype {
        Dtype::F32 => gather(view, bytes, f32::from_le_bytes),
        Dtype::F64 => gather(view, bytes, |bytes| f64::from_le_bytes(bytes) as f32),
        Dtype::F16 => gather(view, bytes, |bytes| half(u16::from_le_bytes(bytes))),
        Dtype::Bf16 => gather(view, bytes, bfloat),
        other => {
            return Err(Error::failed(format!(
                "has numbers of kind {other:?}; weights are floats"
            )));
        }
    };
    match values.iter().find(|value| !value.is_finite()) {
        None => Ok(values),
        Some(value) => Err(Error::failed(format!("holds {value}, which is no finite fp32 number"))),
    }
}

/// A view's single whole number.
pub fn counter(view: &View, bytes: &[u8]) -> Result<i64> {
    let values: Vec<i64> = match view.dtype {
        Dtype::I64 => gather(view, bytes, i64::from_le_bytes),
        Dtype::I32 => gather(view, bytes, |bytes| i32::from_le_bytes(bytes).into()),
        other => return Err(Error::failed(format!("has numbers of kind {other:?}; it counts"))),
    };
    values.first().copied().ok_or_else(|| Error::failed("is empty"))
}

/// The strides of a tensor whose numbers lie in row-major order.
pub fn contiguous(shape: &[usize]) -> Result<Vec<usize>> {
    let mut strides = vec![1usize; shape.len()];
    for axis in (1..shape.len()).rev() {
        let stride = strides[axis].checked_mul(shape[axis].max(1));
        strides[axis - 1] =
            stride.ok_or_else(|| Error::failed("the product of its sides overflows"))?;
    }
    Ok(strides)
}

/// A view's numbers. The view was checked against the length of `bytes` when created. The stride
/// along a side of 1 is never used and may be any number.
fn gather<T, const N: usize>(view: &View, bytes: &[u8], number: impl Fn([u8; N]) -> T) -> Vec<T> {
    let count = view.count();
    let mut found = Vec::with_capacity(count);
    let mut index = vec![0; view.shape.len()];
    let mut at = view.offset;
    let (numbers, _) = bytes.as_chunks::<N>();
    for _ in 0..count {
        found.push(number(numbers[at]));
        for axis in (0..index.len()).rev() {
            index[axis] += 1;
            at = at.wrapping_add(view.strides[axis]);
            if index[axis] < view.shape[axis] {
                break;
            }
            at = at.wrapping_sub(view.strides[axis].wrapping_mul(view.shape[axis]));
            index[axis] = 0;
        }
    }
    found
}

/// The upper half of an fp32.
fn bfloat(bytes: [u8; 2]) -> f32 {
    f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16)
}

/// A 16-bit float: one sign, five exponent and ten fraction bits.
fn half(bits: u16) -> f32 {
    let (sign, exponent, fraction) =
        (u32::from(bits >> 15) << 31, (bits >> 10) & 31, u32::from(bits & 1023));
    match exponent {
        0 => f32::from_bits(sign | (fraction as f32 / 16_777_216.0).to_bits()),
        31 => f32::from_bits(sign | 0x7f80_0000 | fraction << 13),
        _ => f32::from_bits(sign | (u32::from(exponent) + 112) << 23 | fraction << 13),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::pickle::Storage;

    #[test]
    fn halves_are_read_at_every_scale() {
        let of = [0x0000, 0x8000, 0x0001, 0x03ff, 0x0400, 0x3c00, 0xc100, 0x7bff];
        let wanted = [0.0, -0.0, 5.960_464_5e-8, 6.097_555e-5, 6.103_515_6e-5, 1.0, -2.5, 65504.0];
        assert_eq!(of.map(half).map(f32::to_bits), wanted.map(f32::to_bits));
        assert!(half(0x7c00).is_infinite() && half(0x7e00).is_nan());
    }

    #[test]
    fn a_transposed_view_is_read_in_the_order_of_its_sides() {
        let bytes: Vec<u8> = (0..7).collect();
        let storage = Storage { key: "0", dtype: Some(Dtype::U8), count: 7 };
        let view = View::new(storage, Dtype::U8, 1, vec![3, 2], vec![1, 3]).unwrap();
        assert_eq!(gather(&view, &bytes, |[byte]| byte), [1, 4, 2, 5, 3, 6]);
    }
}
