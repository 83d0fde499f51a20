//! Remembers: recipes, fingerprints, artifacts, and the store on disk that keeps them.
//!
//! This crate knows bytes and hashes. It knows nothing of images, YAML, stages or networks:
//! those live in `voxflow-stages` and `voxflow`.

pub mod artifact;
pub mod error;
pub mod hash;
pub mod recipe;

pub use artifact::{Artifact, Blob, FileStat, Reference};
pub use error::{Error, Result};
pub use hash::{Digest, Fingerprint};
pub use recipe::Recipe;
