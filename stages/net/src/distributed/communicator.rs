//! Operations on the tensors of all ranks.

use tch::Tensor;
use voxflow_stages::Result;

/// Sums over ranks, by one library or another. All ranks call the same operations in the same order
/// on contiguous tensors of equal size and kind. The result has the same bits on every rank.
pub trait Communicator: Send + Sync {
    /// Its name and version, for the record of a training.
    fn backend(&self) -> String;

    /// Replaces a tensor (Float or Double) by the sum over all ranks.
    fn all_reduce(&self, tensor: &mut Tensor) -> Result<()>;

    /// Replaces a tensor (Float or Double) by that of rank 0.
    fn broadcast(&self, tensor: &mut Tensor) -> Result<()>;

    /// Ends operations that wait for a rank which failed, from any thread. Nothing may be called
    /// after it.
    fn abort(&self) {}
}
