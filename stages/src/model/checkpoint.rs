//! The checkpoint file format; `voxflow-net` defines the content.
//!
//! Layout: a magic line, the JSON's length (8 bytes, little-endian), the JSON state, the tensors as
//! safetensors, and the blake3 digest of all previous bytes.

use voxflow_cache::hash::{close, closed};

const MAGIC: &[u8] = b"voxflow checkpoint 1\n";

/// The checkpoint file for a JSON state and safetensors tensors.
pub fn join(state: &[u8], tensors: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(MAGIC.len() + 8 + state.len() + tensors.len() + 32);
    bytes.extend(MAGIC);
    bytes.extend((state.len() as u64).to_le_bytes());
    bytes.extend(state);
    bytes.extend(tensors);
    close(&mut bytes);
    bytes
}

/// State and tensors from a file; `None` if damaged.
pub fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    split_body(closed(bytes)?)
}

/// [`split`] for the bytes before the digest.
pub fn split_body(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = body.strip_prefix(MAGIC)?.split_first_chunk::<8>()?;
    rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_joined_comes_apart_and_a_length_that_lies_is_refused() {
        let whole = join(b"{}", b"tensors");
        assert_eq!(split(&whole), Some((&b"{}"[..], &b"tensors"[..])));
        assert_eq!(split(&whole[..whole.len() - 1]), None);
        let mut body = whole[..whole.len() - 32].to_vec();
        body[MAGIC.len()..MAGIC.len() + 8].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(split_body(&body), None);
    }
}
