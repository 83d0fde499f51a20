//! Volumes as tensors, and tensors' numbers without a copy.

use tch::kind::Element;
use tch::{Device, Kind, Tensor};
use voxflow_stages::{Error, Result};

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

/// The numbers of a contiguous fp32 tensor in the processor's memory, in its order.
pub fn floats(tensor: &Tensor) -> Result<&[f32]> {
    if tensor.kind() != Kind::Float
        || tensor.device() != Device::Cpu
        || !tensor.is_contiguous()
        || tensor.numel() == 0
    {
        return Err(Error::failed(format!(
            "a tensor {:?} of {:?} on {:?} is not a volume of fp32 in memory",
            tensor.size(),
            tensor.kind(),
            tensor.device()
        )));
    }
    // SAFETY: kind, place and layout were checked, and the tensor, which owns its storage together
    // with its other handles, outlives the slice. Callers change no tensor that shares the storage.
    Ok(unsafe { std::slice::from_raw_parts(tensor.data_ptr().cast::<f32>(), tensor.numel()) })
}
