//! The options of a forward pass.

use crate::batch_share::BatchShare;
use crate::distributed::Connection;
use tch::Kind;

/// The options of a forward pass.
#[derive(Clone, Copy, Debug)]
pub struct Pass {
    /// Norms use (and update) the statistics of the batch, dropout drops.
    pub training: bool,
    /// Numbers that convolutions compute in.
    pub compute: Kind,
    /// The part of the batch that the images are; `None` for all of it.
    pub part: Option<Part>,
}

/// Images that are a rank's share of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// Their place in the batch.
    pub share: BatchShare,
    /// The ranks over which batch norm takes its statistics; `None` for the share alone.
    pub sync_batch_norm: Option<&'static Connection>,
}

impl Pass {
    /// A pass of a training over a whole batch.
    pub fn training(compute: Kind) -> Pass {
        Pass { training: true, compute, part: None }
    }

    /// A pass of inference.
    pub fn inference(compute: Kind) -> Pass {
        Pass { training: false, compute, part: None }
    }
}
