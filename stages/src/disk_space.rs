//! Space: about how many bytes a stage will write, told before it is made. Estimates, for a
//! warning: what is written is never limited by them.

use crate::task::Input;

/// A stage's input, not made yet.
#[derive(Clone, Debug)]
pub enum Upstream {
    /// It is there.
    Made(Input),
    /// Absent too, with about this many bytes expected.
    Foreseen(u64),
}

impl Upstream {
    /// Its bytes.
    pub fn bytes(&self) -> u64 {
        match self {
            Upstream::Made(input) => input.files.values().map(|file| file.blob.bytes).sum(),
            Upstream::Foreseen(bytes) => *bytes,
        }
    }
}
