//! Mixed precision: which numbers convolutions compute in. Weights, norm statistics and loss stay
//! fp32; the scale that keeps fp16 gradients from vanishing is `scaler`.

use tch::{Device, Kind};
use voxflow_stages::kinds::train::Precision;

/// The numbers convolutions compute in.
pub fn compute_kind(precision: Precision) -> Kind {
    match precision {
        Precision::Fp32 => Kind::Float,
        Precision::Bf16 => Kind::BFloat16,
        Precision::Fp16 => Kind::Half,
    }
}

/// Whether libtorch has fast convolutions of these numbers on a device. Where it has none (a
/// processor without instructions for 16 bits), it falls back to loops that are ten times as slow
/// as fp32.
pub fn has_convolutions(compute: Kind, device: Device) -> bool {
    match (device, compute) {
        (Device::Cpu, Kind::BFloat16) => processor_has_bf16(),
        (Device::Cpu, Kind::Half) => processor_has_fp16(),
        _ => true,
    }
}

/// What oneDNN asks of a processor before it computes in bf16.
#[cfg(target_arch = "x86_64")]
fn processor_has_bf16() -> bool {
    is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512dq")
}

/// What oneDNN asks of a processor before it computes in fp16.
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
