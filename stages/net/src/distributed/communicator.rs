//! Operations on all ranks' tensors.

use tch::Tensor;
use voxflow_stages::Result;

/// Sums over ranks. All ranks call the same operations in the same order, on contiguous tensors
/// with equal size and kind. The result has the same bits on every rank.
pub trait Communicator: Send + Sync {
    /// Name and version, for a training's record.
    fn backend(&self) -> String;

    /// Replaces a tensor (Float or Double) by the sum over all ranks.
    fn all_reduce(&self, tensor: &mut Tensor) -> Result<()>;

    /// Replaces a tensor (Float or Double) by rank 0's.
    fn broadcast(&self, tensor: &mut Tensor) -> Result<()>;

    /// Ends operations that wait for a failed rank, from any thread. Nothing may be called
    /// afterwards.
    fn abort(&self) {}
}
