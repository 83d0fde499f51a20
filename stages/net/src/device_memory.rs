//! Free and peak memory of devices, and pinned host memory, through `shim/memory.cpp`.

use std::ffi::{c_int, c_void};
use tch::{Device, Tensor};

unsafe extern "C" {
    fn voxflow_device_memory(
        index: c_int,
        free: *mut i64,
        total: *mut i64,
        peak: *mut i64,
    ) -> c_int;
    fn voxflow_pinned(tensor: *const c_void) -> *mut c_void;
}

/// Bytes of a CUDA device.
#[derive(Clone, Copy, Debug)]
pub struct DeviceMemory {
    /// Free at the moment.
    pub free: u64,
    /// All of it.
    pub total: u64,
    /// Peak of libtorch's allocations in this process.
    pub peak: u64,
}

/// A device's memory; `None` for the processor, and before the first tensor on the device.
pub fn of(device: Device) -> Option<DeviceMemory> {
    let Device::Cuda(index) = device else { return None };
    let (mut free, mut total, mut peak) = (0, 0, 0);
    // SAFETY: writes three numbers, and catches every exception.
    let status = unsafe { voxflow_device_memory(index as c_int, &mut free, &mut total, &mut peak) };
    let [free, total, peak] = [free, total, peak].map(|bytes: i64| bytes.max(0) as u64);
    (status == 0).then_some(DeviceMemory { free, total, peak })
}

/// The tensor in pinned memory, from where copies to `device` run asynchronously; the tensor itself
/// for the processor.
pub fn pinned(tensor: Tensor, device: Device) -> Tensor {
    if !device.is_cuda() {
        return tensor;
    }
    // SAFETY: a tch tensor is a pointer to libtorch's; the shim gives a new one, or null.
    unsafe {
        let made = voxflow_pinned(tensor.as_ptr().cast());
        if made.is_null() { tensor } else { Tensor::from_ptr(made.cast()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_has_no_device_memory_and_a_device_that_is_not_there_does_no_harm() {
        assert!(of(Device::Cpu).is_none());
        assert!(of(Device::Cuda(7)).is_none());
        let tensor = Tensor::from_slice(&[1f32, 2.0]);
        assert!(pinned(tensor.shallow_clone(), Device::Cuda(7)).equal(&tensor));
    }
}
