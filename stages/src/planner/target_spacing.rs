//! The spacing that all cases are resampled to, and the order of axes that follows.

use super::DatasetFingerprint;
use super::percentile::{median_of_each, percentile};
use crate::image::resize::ANISOTROPY_THRESHOLD;

/// The percentile of spacings taken along an anisotropic axis.
const ANISOTROPIC_PERCENTILE: f64 = 10.0;

/// The median spacing; along an axis with far larger and far fewer voxels than the others, the
/// tenth percentile, but no finer than the others.
pub fn fullres(fingerprint: &DatasetFingerprint) -> [f64; 3] {
    let mut target = median_of_each(&fingerprint.spacings);
    let shapes: Vec<[f64; 3]> =
        fingerprint.shapes_after_crop.iter().map(|shape| shape.map(|n| n as f64)).collect();
    let size = median_of_each(&shapes);
    let worst = largest(target);
    let others: Vec<usize> = (0..3).filter(|axis| *axis != worst).collect();
    let coarsest_other = target[others[0]].max(target[others[1]]);
    let smallest_other = size[others[0]].min(size[others[1]]);
    let has_aniso_spacing = target[worst] > ANISOTROPY_THRESHOLD * coarsest_other;
    let has_aniso_voxels = size[worst] * ANISOTROPY_THRESHOLD < smallest_other;
    if has_aniso_spacing && has_aniso_voxels {
        let along: Vec<f64> = fingerprint.spacings.iter().map(|mm| mm[worst]).collect();
        let fine = percentile(&along, ANISOTROPIC_PERCENTILE);
        target[worst] = if fine < coarsest_other { coarsest_other + 1e-5 } else { fine };
    }
    target
}

/// The axis of the largest spacing first, the others in their order.
pub fn transpose_forward(target: [f64; 3]) -> [usize; 3] {
    let first = largest(target);
    let others: Vec<usize> = (0..3).filter(|axis| *axis != first).collect();
    [first, others[0], others[1]]
}

/// The first axis with the largest value.
fn largest(values: [f64; 3]) -> usize {
    (1..3).fold(0, |best, axis| if values[axis] > values[best] { axis } else { best })
}
