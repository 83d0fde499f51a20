//! Mixed precision: which numbers convolutions compute in, and the scale that keeps fp16 gradients
//! from vanishing. Weights, norm statistics and loss stay fp32.

use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor, no_grad};
use voxflow_stages::kinds::train::Precision;

/// The numbers convolutions compute in.
pub fn compute_kind(precision: Precision) -> Kind {
    match precision {
        Precision::Fp32 => Kind::Float,
        Precision::Bf16 => Kind::BFloat16,
        Precision::Fp16 => Kind::Half,
    }
}

/// Whether libtorch has fast convolutions of these numbers on a device. Where it has none (a processor
/// without instructions for 16 bits), it falls back to loops that are ten times as slow as fp32.
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
    is_x86_feature_detected!("avx512bw") && is_x86_feature_detected!("avx512vl") && is_x86_feature_detected!("avx512dq")
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

/// A loss scale that halves when gradients overflow and doubles after a while without, as PyTorch's
/// `GradScaler` with its defaults. For other precisions it stays 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scaler {
    /// The factor on the loss.
    pub scale: f64,
    /// Steps since the last overflow or growth.
    pub steady: u32,
    active: bool,
}

impl Scaler {
    const GROW_AFTER: u32 = 2000;

    /// The scaler of a precision.
    pub fn new(precision: Precision) -> Scaler {
        let active = precision == Precision::Fp16;
        Scaler { scale: if active { 65_536.0 } else { 1.0 }, steady: 0, active }
    }

    /// Whether gradients are scaled at all.
    pub fn active(&self) -> bool {
        self.active
    }

    /// Divides the gradients by the scale.
    pub fn unscale(&self, gradients: &mut [Tensor]) {
        if self.active {
            no_grad(|| gradients.iter_mut().for_each(|gradient| *gradient *= 1.0 / self.scale));
        }
    }

    /// Learns whether the gradients were finite; true if a step may be taken with them.
    pub fn accept(&mut self, finite: bool) -> bool {
        if !self.active {
            return finite;
        }
        self.steady = if finite { self.steady + 1 } else { 0 };
        if !finite {
            self.scale /= 2.0;
        } else if self.steady >= Self::GROW_AFTER {
            (self.scale, self.steady) = (self.scale * 2.0, 0);
        }
        finite
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_halves_on_overflow_and_doubles_after_two_thousand_steady_steps() {
        let mut scaler = Scaler::new(Precision::Fp16);
        assert!(!scaler.accept(false));
        assert_eq!(scaler.scale, 32_768.0);
        (0..2000).for_each(|_| assert!(scaler.accept(true)));
        assert_eq!(scaler.scale, 65_536.0);
    }
}
