//! Options for a forward pass.

use crate::batch_share::BatchShare;
use crate::distributed::Connection;
use tch::Kind;

/// Options for a forward pass.
#[derive(Clone, Copy, Debug)]
pub struct Pass {
    /// Norms use (and update) the batch's statistics, dropout drops.
    pub training: bool,
    /// Numbers that convolutions compute in.
    pub compute: Kind,
    /// The images' part in a batch; `None` for a whole batch.
    pub part: Option<BatchPart>,
}

/// Images from a rank's share in a batch.
#[derive(Clone, Copy, Debug)]
pub struct BatchPart {
    /// Their place in the batch.
    pub share: BatchShare,
    /// Ranks whose images batch norm takes statistics over; `None` for the share alone.
    pub sync_batch_norm: Option<&'static Connection>,
}

impl Pass {
    /// A training pass over a whole batch.
    pub fn training(compute: Kind) -> Pass {
        Pass { training: true, compute, part: None }
    }

    /// An inference pass.
    pub fn inference(compute: Kind) -> Pass {
        Pass { training: false, compute, part: None }
    }
}
