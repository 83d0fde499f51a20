//! Dice: the overlap between two voxel sets, from their counts.

/// 2·|P ∩ R| / (|P| + |R|). `None` where the reference is empty, as MONAI's `compute_dice` with its
/// default `ignore_empty`.
pub fn dice(prediction: u64, reference: u64, both: u64) -> Option<f64> {
    (reference > 0).then(|| 2.0 * both as f64 / (prediction + reference) as f64)
}

#[cfg(test)]
mod tests {
    use super::dice;

    #[test]
    fn dice_is_overlap_over_mean_size_and_undefined_without_a_reference() {
        assert_eq!(dice(4, 6, 3), Some(0.6));
        assert_eq!((dice(0, 6, 0), dice(4, 0, 0), dice(0, 0, 0)), (Some(0.0), None, None));
    }
}
