//! NumPy's single numbers, as training programs write their scores.

use super::value::PickleValue;
use crate::error::{Error, Result};

/// A little-endian number by its type's code. The bytes may be Latin-1 text, as protocol 2 has
/// them.
pub(super) fn scalar<'a>(code: &str, value: PickleValue<'_>) -> Result<PickleValue<'a>> {
    let bytes = match value {
        PickleValue::Bytes(bytes) => bytes.to_vec(),
        PickleValue::Text(text) => latin1(text)?,
        _ => return Err(Error::failed("a number of NumPy's without its bytes")),
    };
    Ok(match code {
        "f8" => PickleValue::Float(f64::from_le_bytes(exact(code, &bytes)?)),
        "f4" => PickleValue::Float(f32::from_le_bytes(exact(code, &bytes)?).into()),
        "i8" => PickleValue::Int(i64::from_le_bytes(exact(code, &bytes)?)),
        "i4" => PickleValue::Int(i32::from_le_bytes(exact(code, &bytes)?).into()),
        "i2" => PickleValue::Int(i16::from_le_bytes(exact(code, &bytes)?).into()),
        "u4" => PickleValue::Int(u32::from_le_bytes(exact(code, &bytes)?).into()),
        "u2" => PickleValue::Int(u16::from_le_bytes(exact(code, &bytes)?).into()),
        "u1" => PickleValue::Int(u8::from_le_bytes(exact(code, &bytes)?).into()),
        "b1" => PickleValue::Bool(exact::<1>(code, &bytes)? != [0]),
        other => {
            let other = other.escape_debug();
            return Err(Error::failed(format!("numbers of NumPy's type '{other}' are not read")));
        }
    })
}

fn exact<const N: usize>(code: &str, bytes: &[u8]) -> Result<[u8; N]> {
    bytes
        .try_into()
        .map_err(|_| Error::failed(format!("{} bytes of a '{code}' of NumPy's", bytes.len())))
}

fn latin1(text: &str) -> Result<Vec<u8>> {
    let bytes = text.chars().map(|letter| u8::try_from(u32::from(letter)));
    bytes.collect::<Result<_, _>>().map_err(|_| Error::failed("bytes that are no Latin-1 text"))
}
