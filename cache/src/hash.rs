//! Digests of contents and fingerprints of recipes: 32 bytes of blake3, written as 64 hex digits.

use crate::disk;
use crate::error::{Error, Result};
use std::fmt;
use std::io::Read;
use std::marker::PhantomData;
use std::path::Path;
use std::str::FromStr;

/// Reads hex digits where they lie: an entry may hold a hundred thousand of them.
struct Hex<T>(PhantomData<T>);

macro_rules! hash_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 32]);

        impl $name {
            /// The 32 bytes.
            pub fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// Takes 32 bytes as they are.
            pub fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The 64 hex digits.
            pub fn to_hex(&self) -> String {
                blake3::Hash::from_bytes(self.0).to_hex().to_string()
            }

            /// The first 12 hex digits, for people.
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
    /// The blake3 hash of some content: a file's bytes, or the list of an artifact's part.
    Digest
}
hash_type! {
    /// The blake3 hash of a recipe's canonical form: the key under which an artifact is kept.
    Fingerprint
}

/// Bytes of a file held in memory at a time.
const PIECE: u64 = 4 << 20;
/// From this many bytes on it pays to hash with all threads.
const SEVERAL: usize = 256 << 10;

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Digest {
        if bytes.len() < SEVERAL {
            return Digest(*blake3::hash(bytes).as_bytes());
        }
        Digest(*blake3::Hasher::new().update_rayon(bytes).finalize().as_bytes())
    }

    /// The digest of a file's bytes. Read and not mapped: a file that shrinks meanwhile, or a disk
    /// that fails, is then an error and not the end of the process.
    pub fn of_file(path: &Path) -> Result<Digest> {
        let file = disk::open(path)?;
        let read = |mut piece: Vec<u8>| {
            piece.clear();
            (&file)
                .take(PIECE)
                .read_to_end(&mut piece)
                .map_err(Error::io("read", path))
                .map(|_| piece)
        };
        let (mut hasher, mut piece, mut spare) = (blake3::Hasher::new(), read(vec![])?, vec![]);
        while piece.len() >= SEVERAL {
            // The next piece is read while this one is hashed.
            let (_, next) =
                rayon::join(|| hasher.update_rayon(&piece), || read(std::mem::take(&mut spare)));
            spare = std::mem::replace(&mut piece, next?);
        }
        hasher.update(&piece);
        Ok(Digest(*hasher.finalize().as_bytes()))
    }
}

/// Ends a file's bytes in their own digest, so that it says itself whether it is whole: it has no
/// name that could.
pub fn close(bytes: &mut Vec<u8>) {
    let digest = Digest::of(bytes);
    bytes.extend(digest.as_bytes());
}

/// The content of [`close`]d bytes, if intact.
pub fn closed(bytes: &[u8]) -> Option<&[u8]> {
    let (body, digest) = bytes.split_last_chunk::<32>()?;
    (Digest::of(body).as_bytes() == digest).then_some(body)
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
