//! Automatic mixed precision: the numbers that convolutions compute in. Weights, norm statistics
//! and loss stay fp32; the loss scale of fp16 is in `grad_scaler`.

use crate::torch_flags;
use tch::{Device, Kind};
use voxflow_stages::model::Precision;

/// The numbers that convolutions compute in.
pub fn compute_kind(precision: Precision) -> Kind {
    match precision {
        Precision::Fp32 | Precision::Tf32 => Kind::Float,
        Precision::Bf16 => Kind::BFloat16,
        Precision::Fp16 => Kind::Half,
    }
}

/// Allows TF32 in fp32 convolutions while `work` runs if the precision is TF32, else forbids it.
pub fn in_precision<T>(precision: Precision, work: impl FnOnce() -> T) -> T {
    torch_flags::with_tf32(precision == Precision::Tf32, work)
}

/// True if libtorch has fast convolutions with these numbers on a device. On a processor without
/// 16-bit instructions it falls back to loops ten times as slow as fp32.
pub fn has_convolutions(compute: Kind, device: Device) -> bool {
    match (device, compute) {
        (Device::Cpu, Kind::BFloat16) => processor_has_bf16(),
        (Device::Cpu, Kind::Half) => processor_has_fp16(),
        _ => true,
    }
}

/// The instructions that oneDNN needs to compute in bf16.
#[cfg(target_arch = "x86_64")]
fn processor_has_bf16() -> bool {
    is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512dq")
}

/// The instructions that oneDNN needs to compute in fp16.
#[cfg(target_arch = "x86_64")]
fn processor_has_fp16() -> bool {
    is_x86_feature_detected!("avx512fp16")
}

#[cfg(not(target_arch = "x86_64"))]
fn processor_has_bf16() -> bool {
    true
}

#[cfg(not(target_arch = "x86_64"))]
fn processor_has_fp16() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tf32_is_fp32_to_all_but_the_convolutions_of_a_gpu() {
        assert_eq!(compute_kind(Precision::Tf32), Kind::Float);
        assert!(has_convolutions(Kind::Float, Device::Cpu));
    }
}
