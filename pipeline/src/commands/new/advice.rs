//! Advice: settings that follow from the size of the images. They are a beginning, with their
//! reasons in the draft's comments.

/// A resampled volume of median size has at most so many voxels (about 200 × 200 × 200).
const VOXELS: f64 = 8e6;
/// The product of the strides along each axis of the network that is drafted.
pub(super) const STRIDE: usize = 16;
/// The largest patch side.
const SIDE: usize = 96;

/// The grid to resample to: the median spacing, its finest axes coarsened until a median volume has
/// at most 8 million voxels; to two digits.
pub(super) fn spacing_mm(shape: [usize; 3], median_mm: [f64; 3]) -> [f64; 3] {
    let extent: [f64; 3] = std::array::from_fn(|axis| shape[axis] as f64 * median_mm[axis]);
    let voxels = |floor: f64| -> f64 {
        (0..3).map(|axis| extent[axis] / median_mm[axis].max(floor)).product()
    };
    let mut floor = median_mm.iter().copied().fold(f64::INFINITY, f64::min);
    while voxels(floor) > VOXELS {
        floor *= 1.02;
    }
    median_mm.map(|mm| two_digits(mm.max(floor)))
}

/// 0.7852 → 0.79, 12.34 → 12.
fn two_digits(number: f64) -> f64 {
    let unit = 10f64.powi(number.log10().floor() as i32 - 1);
    // Divided, not multiplied: 79 × 0.01 is not the nearest number to 0.79.
    (number / unit).round() / (1.0 / unit).round().max(1.0) * if unit > 1.0 { unit } else { 1.0 }
}

/// The patch: 96 voxels along each axis, or the largest multiple of the stride that fits a median
/// volume on the new grid, at least one stride.
pub(super) fn patch(shape: [usize; 3], median_mm: [f64; 3], spacing_mm: [f64; 3]) -> [usize; 3] {
    std::array::from_fn(|axis| {
        let size = (shape[axis] as f64 * median_mm[axis] / spacing_mm[axis]) as usize;
        (size / STRIDE * STRIDE).clamp(STRIDE, SIDE)
    })
}

/// How many cases to keep for the test and for choosing weights: a fifth and a seventh, at least
/// one each.
pub(super) fn held_out(labelled: usize) -> (usize, usize) {
    let testing = (labelled / 5).max(1);
    let validation = (labelled / 7).max(1);
    (testing, validation)
}

/// Fewer labelled cases than this are validated in folds.
const FEW: usize = 30;
const FOLDS: usize = 5;

/// The number of folds for few cases, each with at least one patient; `None` for many, or too few
/// for two folds.
pub(super) fn folds(labelled: usize, patients: usize) -> Option<usize> {
    let (testing, _) = held_out(labelled);
    // Each testing case is of another patient at most.
    let folds = FOLDS.min(patients.saturating_sub(testing));
    (is_few(labelled) && folds > 1).then_some(folds)
}

/// True if one split says little about so many cases.
pub(super) fn is_few(labelled: usize) -> bool {
    labelled < FEW
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_finest_axes_are_coarsened() {
        assert_eq!(spacing_mm([512, 512, 90], [0.79, 0.79, 5.0]), [1.4, 1.4, 5.0]);
        assert_eq!(spacing_mm([36, 50, 35], [1.0, 1.0, 1.0]), [1.0, 1.0, 1.0]);
        assert_eq!(spacing_mm([320, 320, 20], [0.6249, 0.6249, 3.6]), [0.62, 0.62, 3.6]);
        assert_eq!([0.7852, 12.34, 0.0314, 1.0].map(two_digits), [0.79, 12.0, 0.031, 1.0]);
    }

    #[test]
    fn a_patch_fits_the_network_and_a_median_volume() {
        assert_eq!(patch([512, 512, 90], [0.79, 0.79, 5.0], [1.4, 1.4, 5.0]), [96, 96, 80]);
        assert_eq!(patch([36, 50, 35], [1.0; 3], [1.0; 3]), [32, 48, 32]);
        assert_eq!(patch([320, 320, 10], [0.6, 0.6, 4.0], [0.6, 0.6, 4.0]), [96, 96, 16]);
    }

    #[test]
    fn few_cases_still_leave_one_for_each_part() {
        assert_eq!([3, 20, 41].map(held_out), [(1, 1), (4, 2), (8, 5)]);
    }

    #[test]
    fn few_cases_are_validated_in_folds_of_whole_patients() {
        let found = [(3, 3), (12, 12), (12, 3), (12, 6), (29, 29), (30, 30)];
        let folds = found.map(|(cases, patients)| folds(cases, patients));
        assert_eq!(folds, [Some(2), Some(5), None, Some(4), Some(5), None]);
    }
}
