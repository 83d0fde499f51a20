//! The options of a forward pass.

use tch::Kind;

/// The options of a forward pass.
#[derive(Clone, Copy, Debug)]
pub struct Pass {
    /// Norms use (and update) the statistics of the batch, dropout drops.
    pub training: bool,
    /// Numbers that convolutions compute in.
    pub compute: Kind,
}
