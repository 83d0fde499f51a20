//! Volumes as tensors.

use tch::kind::Element;
use tch::{Device, Tensor};

/// A volume's voxels (x fastest, channels slowest) as a tensor (1, C, X, Y, Z) on a device, which
/// also changes the layout in memory.
pub fn volume_tensor<T: Element>(
    voxels: &[T],
    channels: usize,
    shape: [usize; 3],
    device: Device,
) -> Tensor {
    let [x, y, z] = shape.map(|side| side as i64);
    let flat = Tensor::from_slice(voxels).to_device(device);
    flat.reshape([1, channels as i64, z, y, x]).permute([0, 1, 4, 3, 2]).contiguous()
}
