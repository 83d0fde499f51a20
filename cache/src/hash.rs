//! Content digests and recipe fingerprints: 32 bytes of blake3, written as 64 hex digits.

use crate::disk;
use crate::error::{Error, Result};
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::marker::PhantomData;
use std::path::Path;
use std::str::FromStr;

/// Deserialises hex digits in place: an entry may hold a hundred thousand.
struct Hex<T>(PhantomData<T>);

macro_rules! hash_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 32]);

        impl $name {
            /// Raw bytes.
            pub fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// Wraps raw bytes.
            pub fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// 64 hex digits.
            pub fn to_hex(&self) -> String {
                blake3::Hash::from_bytes(self.0).to_hex().to_string()
            }

            /// First 12 hex digits, for display.
            pub fn short(&self) -> String {
                self.to_hex()[..12].to_string()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.to_hex())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.short())
            }
        }

        impl FromStr for $name {
            type Err = Error;
            fn from_str(text: &str) -> Result<Self> {
                blake3::Hash::from_hex(text)
                    .map(|hash| Self(*hash.as_bytes()))
                    .map_err(|_| Error::Other(format!("'{text}' is not 64 hex digits")))
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&blake3::Hash::from_bytes(self.0).to_hex())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(Hex::<$name>(PhantomData))
            }
        }

        impl serde::de::Visitor<'_> for Hex<$name> {
            type Value = $name;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("64 hex digits")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$name, E> {
                text.parse().map_err(E::custom)
            }
        }
    };
}

hash_type! {
    /// Blake3 hash over content: a file's bytes, or an artifact part's names and digests.
    Digest
}
hash_type! {
    /// Blake3 hash over a recipe's canonical form; the store's key for its artifact.
    Fingerprint
}

/// Read buffer size in bytes.
const PIECE: u64 = 4 << 20;
/// Minimum size for multi-threaded hashing.
const SEVERAL: usize = 256 << 10;

impl Digest {
    /// Digest over `bytes`.
    pub fn of(bytes: &[u8]) -> Digest {
        if bytes.len() < SEVERAL {
            return Digest(*blake3::hash(bytes).as_bytes());
        }
        Digest(*blake3::Hasher::new().update_rayon(bytes).finalize().as_bytes())
    }

    /// Digest over a file. Reads instead of mapping: truncation or disk failure then gives an
    /// error, not SIGBUS.
    pub fn of_file(path: &Path) -> Result<Digest> {
        let file = disk::open(path)?;
        let (mut hasher, mut spare) = (blake3::Hasher::new(), vec![]);
        let mut piece = next_piece(&file, path, vec![])?;
        while piece.len() >= SEVERAL {
            // The next piece is read while this one is hashed.
            let (_, next) = rayon::join(
                || hasher.update_rayon(&piece),
                || next_piece(&file, path, std::mem::take(&mut spare)),
            );
            spare = std::mem::replace(&mut piece, next?);
        }
        hasher.update(&piece);
        Ok(Digest(*hasher.finalize().as_bytes()))
    }
}

/// Appends the digest over `bytes`: an integrity check for files with fixed names.
pub fn close(bytes: &mut Vec<u8>) {
    let digest = Digest::of(bytes);
    bytes.extend(digest.as_bytes());
}

/// Content written by [`close`], if intact.
pub fn closed(bytes: &[u8]) -> Option<&[u8]> {
    let (body, digest) = bytes.split_last_chunk::<32>()?;
    (Digest::of(body).as_bytes() == digest).then_some(body)
}

/// Reads the next bytes of a file into a buffer that is used again.
fn next_piece(file: &File, path: &Path, mut piece: Vec<u8>) -> Result<Vec<u8>> {
    piece.clear();
    file.take(PIECE).read_to_end(&mut piece).map_err(Error::io("read", path))?;
    Ok(piece)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_file_opens_again_and_one_with_a_flipped_bit_or_a_cut_does_not() {
        let mut bytes = b"what is not finished".to_vec();
        close(&mut bytes);
        assert_eq!(closed(&bytes), Some(&b"what is not finished"[..]));
        for at in 0..bytes.len() {
            bytes[at] ^= 1;
            assert!(closed(&bytes).is_none() && closed(&bytes[..at]).is_none(), "at byte {at}");
            bytes[at] ^= 1;
        }
    }

    #[test]
    fn a_file_has_the_digest_of_its_bytes_whatever_its_length() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        let piece = PIECE as usize;
        for length in
            [0, 1, SEVERAL - 1, SEVERAL, piece - 1, piece, piece + 1, 2 * piece + SEVERAL + 7]
        {
            let bytes: Vec<u8> = (0..length).map(|at| (at * 31 + at / 256) as u8).collect();
            std::fs::write(&path, &bytes).expect("a file");
            assert_eq!(
                Digest::of_file(&path).expect("reads"),
                Digest::of(&bytes),
                "{length} bytes"
            );
        }
    }
}
