//! Loss scaling for fp16, as PyTorch's `GradScaler` with its defaults: the scale keeps gradients
//! from vanishing, halves when they overflow and doubles after 2000 steps without overflow. The
//! scale stays on the device: steps never wait to learn if gradients overflowed.

use crate::foreach;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor, no_grad};
use voxflow_stages::model::Precision;

/// The state of a scaler in a checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LossScale {
    /// Factor on the loss.
    pub scale: f64,
    /// Steps since the last overflow or growth.
    pub steady: u32,
    active: bool,
}

impl LossScale {
    /// The state before the first step of a training.
    pub fn new(precision: Precision) -> LossScale {
        let active = precision == Precision::Fp16;
        LossScale { scale: if active { 65_536.0 } else { 1.0 }, steady: 0, active }
    }

    /// The state in a training that goes on in this precision.
    pub fn in_precision(self, precision: Precision) -> LossScale {
        let new = LossScale::new(precision);
        if new.active == self.active { self } else { new }
    }
}

/// A loss scaler; it does nothing unless the precision is fp16.
pub struct GradScaler(Option<DeviceScale>);

struct DeviceScale {
    scale: Tensor,
    steady: Tensor,
}

impl GradScaler {
    const GROW_AFTER: i64 = 2000;

    /// The scaler of a state.
    pub fn new(state: &LossScale, device: Device) -> GradScaler {
        GradScaler(state.active.then(|| DeviceScale {
            scale: Tensor::from_slice(&[state.scale as f32]).to_device(device),
            steady: Tensor::from_slice(&[state.steady as i32]).to_device(device),
        }))
    }

    /// The state for a checkpoint. Waits for the device.
    pub fn state(&self) -> LossScale {
        match &self.0 {
            None => LossScale { scale: 1.0, steady: 0, active: false },
            Some(DeviceScale { scale, steady }) => LossScale {
                scale: scale.double_value(&[0]),
                steady: steady.int64_value(&[0]) as u32,
                active: true,
            },
        }
    }

    /// True if gradients are scaled.
    pub fn is_active(&self) -> bool {
        self.0.is_some()
    }

    /// The loss times the scale.
    pub fn scale(&self, loss: &Tensor) -> Tensor {
        self.0.as_ref().map_or_else(|| loss.shallow_clone(), |active| loss * active.scale.squeeze())
    }

    /// Divides the gradients by the scale.
    pub fn unscale(&self, gradients: &[Tensor]) {
        if let Some(active) = &self.0 {
            // The scale is a power of two, so its reciprocal is exact.
            foreach::scale(gradients, &no_grad(|| active.scale.squeeze().reciprocal()));
        }
    }

    /// Updates the scale after gradients with this norm. Returns a Bool on the device, true if they
    /// are finite and the step may be taken; `None` if gradients are not scaled.
    pub fn update(&mut self, norm: &Tensor) -> Option<Tensor> {
        let DeviceScale { scale, steady } = self.0.as_mut()?;
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
        let mut scaler = GradScaler::new(&LossScale::new(Precision::Fp16), Device::Cpu);
        let update = |scaler: &mut GradScaler, norm: f64| {
            bool::try_from(scaler.update(&foreach::cpu_scalar(norm)).unwrap())
        };
        assert!(
            !update(&mut scaler, f64::INFINITY).unwrap() && !update(&mut scaler, f64::NAN).unwrap()
        );
        assert_eq!(scaler.state(), LossScale { scale: 16_384.0, steady: 0, active: true });
        (0..1999).for_each(|_| assert!(update(&mut scaler, 1.0).unwrap()));
        assert_eq!(scaler.state(), LossScale { scale: 16_384.0, steady: 1999, active: true });
        let mut scaler = GradScaler::new(&scaler.state(), Device::Cpu);
        assert!(update(&mut scaler, 1.0).unwrap());
        assert_eq!(scaler.state(), LossScale { scale: 32_768.0, steady: 0, active: true });
    }

    #[test]
    fn other_precisions_scale_nothing_and_never_leave_a_step_out() {
        let mut scaler = GradScaler::new(&LossScale::new(Precision::Bf16), Device::Cpu);
        assert!(!scaler.is_active() && scaler.update(&foreach::cpu_scalar(f64::NAN)).is_none());
        assert_eq!(scaler.state(), LossScale::new(Precision::Bf16));
    }
}
