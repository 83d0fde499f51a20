//! The scale that keeps fp16 gradients from vanishing: it halves when gradients overflow and
//! doubles after a while without, as PyTorch's `GradScaler` with its defaults. It lives on the
//! device, so that no step waits for the answer whether gradients overflowed; for other precisions
//! there is none.

use crate::foreach;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor, no_grad};
use voxflow_stages::kinds::train::Precision;

/// A scaler as a checkpoint keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scale {
    /// The factor on the loss.
    pub scale: f64,
    /// Steps since the last overflow or growth.
    pub steady: u32,
    active: bool,
}

impl Scale {
    /// What the training of a precision begins with.
    pub fn new(precision: Precision) -> Scale {
        let active = precision == Precision::Fp16;
        Scale { scale: if active { 65_536.0 } else { 1.0 }, steady: 0, active }
    }
}

/// The scale and its age on the device.
pub struct Scaler(Option<Active>);

struct Active {
    scale: Tensor,
    steady: Tensor,
}

impl Scaler {
    const GROW_AFTER: i64 = 2000;

    /// The scaler that a checkpoint kept.
    pub fn new(kept: &Scale, device: Device) -> Scaler {
        Scaler(kept.active.then(|| Active {
            scale: Tensor::from_slice(&[kept.scale as f32]).to_device(device),
            steady: Tensor::from_slice(&[kept.steady as i32]).to_device(device),
        }))
    }

    /// What a checkpoint keeps of it. Waits for the device.
    pub fn keep(&self) -> Scale {
        match &self.0 {
            None => Scale { scale: 1.0, steady: 0, active: false },
            Some(Active { scale, steady }) => Scale {
                scale: scale.double_value(&[0]),
                steady: steady.int64_value(&[0]) as u32,
                active: true,
            },
        }
    }

    /// Whether gradients are scaled at all.
    pub fn active(&self) -> bool {
        self.0.is_some()
    }

    /// The loss whose gradients are the scaled ones.
    pub fn scaled(&self, loss: &Tensor) -> Tensor {
        self.0.as_ref().map_or_else(|| loss.shallow_clone(), |active| loss * active.scale.squeeze())
    }

    /// Divides the gradients by the scale.
    pub fn unscale(&self, gradients: &[Tensor]) {
        if let Some(active) = &self.0 {
            // A power of two: its reciprocal is exact.
            foreach::scale(gradients, &no_grad(|| active.scale.squeeze().reciprocal()));
        }
    }

    /// Learns whether the gradients (their norm) were finite; gives that as a Bool on the device,
    /// where a step depends on it.
    pub fn accept(&mut self, norm: &Tensor) -> Option<Tensor> {
        let Active { scale, steady } = self.0.as_mut()?;
        let finite = norm.isfinite();
        let overflow = finite.logical_not().to_kind(Kind::Float);
        let _ = scale.internal_amp_update_scale_(steady, &overflow, 2.0, 0.5, Self::GROW_AFTER);
        Some(finite)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_halves_on_overflow_and_doubles_after_two_thousand_steady_steps() {
        let mut scaler = Scaler::new(&Scale::new(Precision::Fp16), Device::Cpu);
        let accept = |scaler: &mut Scaler, norm: f64| {
            bool::try_from(scaler.accept(&foreach::known(norm)).unwrap())
        };
        assert!(
            !accept(&mut scaler, f64::INFINITY).unwrap() && !accept(&mut scaler, f64::NAN).unwrap()
        );
        assert_eq!(scaler.keep(), Scale { scale: 16_384.0, steady: 0, active: true });
        (0..1999).for_each(|_| assert!(accept(&mut scaler, 1.0).unwrap()));
        assert_eq!(scaler.keep(), Scale { scale: 16_384.0, steady: 1999, active: true });
        let mut scaler = Scaler::new(&scaler.keep(), Device::Cpu);
        assert!(accept(&mut scaler, 1.0).unwrap());
        assert_eq!(scaler.keep(), Scale { scale: 32_768.0, steady: 0, active: true });
    }

    #[test]
    fn other_precisions_scale_nothing_and_never_leave_a_step_out() {
        let mut scaler = Scaler::new(&Scale::new(Precision::Bf16), Device::Cpu);
        assert!(!scaler.active() && scaler.accept(&foreach::known(f64::NAN)).is_none());
        assert_eq!(scaler.keep(), Scale::new(Precision::Bf16));
    }
}
