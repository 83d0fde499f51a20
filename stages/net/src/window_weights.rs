//! Weights of a window's voxels, by which overlapping windows are blended.

use std::sync::{Mutex, PoisonError};
use tch::{Device, Kind, Tensor};
use voxflow_stages::model::Blend;

/// The weights of a window of these sides and this blending, as numbers of a kind on a device.
struct WindowWeights {
    window: ([usize; 3], Blend),
    options: (Kind, Device),
    values: Tensor,
}

/// [`importance_map`] on a device. The last map is kept for every volume, flip and network of a
/// stage: making it anew would wait for the device each time.
pub fn window_weights(roi: [usize; 3], blend: Blend, options: (Kind, Device)) -> Tensor {
    static LAST: Mutex<Option<WindowWeights>> = Mutex::new(None);
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    let window = (roi, blend);
    let kept = last.as_ref().filter(|kept| (kept.window, kept.options) == (window, options));
    if let Some(kept) = kept {
        return kept.values.shallow_clone();
    }
    let (kind, device) = options;
    let values = importance_map(roi, blend).to_kind(kind).to_device(device);
    *last = Some(WindowWeights { window, options, values: values.shallow_clone() });
    values
}

/// nnU-Net's weights (1, 1, X, Y, Z): the impulse at voxel side/2 through a Gaussian filter with
/// σ = side/8 that ends at 4σ, with the peak 10, in 16 bits; zeros become the smallest other value.
fn nnunet_importance_map(roi: [usize; 3]) -> Tensor {
    let options = (Kind::Double, Device::Cpu);
    let [x, y, z] = [0, 1, 2].map(|axis| {
        let sigma = roi[axis] as f64 / 8.0;
        let radius = (4.0 * sigma + 0.5).floor();
        let mut shape = [1i64; 5];
        shape[axis + 2] = roi[axis] as i64;
        let offset = Tensor::arange(roi[axis] as i64, options) - (roi[axis] / 2) as f64;
        let inside = offset.abs().le(radius).to_kind(Kind::Double);
        ((offset.square() / (-2.0 * sigma * sigma)).exp() * inside).reshape(shape)
    });
    let map = (x * y * z * 10.0).to_kind(Kind::Half).to_kind(Kind::Float);
    let zero = map.eq(0.0);
    let least = map.masked_fill(&zero, f64::INFINITY).min();
    map.where_self(&zero.logical_not(), &least)
}

/// A window's voxel weights (1, 1, X, Y, Z): 1, or a Gaussian with σ = side/8, at least 0.001.
fn importance_map(roi: [usize; 3], blend: Blend) -> Tensor {
    let options = (Kind::Float, Device::Cpu);
    match blend {
        Blend::Constant => {
            let [x, y, z] = roi.map(|side| side as i64);
            return Tensor::ones([1, 1, x, y, z], options);
        }
        Blend::GaussianNnunet => return nnunet_importance_map(roi),
        Blend::Gaussian => {}
    }
    // The Gaussian is the product of one along each axis.
    let [x, y, z] = [0, 1, 2].map(|axis| {
        let sigma = roi[axis] as f64 * 0.125;
        let centre = (roi[axis] as f64 - 1.0) / 2.0;
        let mut shape = [1i64; 5];
        shape[axis + 2] = roi[axis] as i64;
        let offset = Tensor::arange(roi[axis] as i64, options) - centre;
        (offset.square() / (-2.0 * sigma * sigma)).exp().reshape(shape)
    });
    let map = x * y * z;
    let least = map.min().double_value(&[]).max(1e-3);
    map.clamp_min(least)
}
