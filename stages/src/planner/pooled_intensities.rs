//! Intensities of all cases together.
//!
//! nnU-Net draws equally many voxels from each case, so that each has the same weight however large
//! its labels are. Here the same weights are given to all voxels, and nothing is drawn.

use super::IntensityProperties;
use crate::image::intensity_distribution::IntensityDistribution;

/// The intensities of one channel, from its distribution in each case; `None` if no case has a
/// labelled voxel.
pub fn pooled(cases: &[&IntensityDistribution]) -> Option<IntensityProperties> {
    let cases: Vec<_> = cases.iter().filter(|case| case.summary.voxels > 0).collect();
    let count = cases.len() as f64;
    let mean = mean_of(&cases, |case| case.summary.mean);
    let variance =
        mean_of(&cases, |case| case.summary.variance + (case.summary.mean - mean).powi(2));
    let mut bins: Vec<(f32, f64)> = cases
        .iter()
        .flat_map(|case| {
            let voxels = case.summary.voxels as f64;
            case.bins.iter().map(move |(value, count)| (*value, f64::from(*count) / voxels))
        })
        .collect();
    bins.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let percentile = |q: f64| value_at(&bins, q / 100.0 * count);
    let min = cases.iter().map(|case| case.summary.min).min_by(f32::total_cmp)?;
    let max = cases.iter().map(|case| case.summary.max).max_by(f32::total_cmp)?;
    Some(IntensityProperties {
        max: f64::from(max),
        mean,
        median: percentile(50.0)?,
        min: f64::from(min),
        percentile_00_5: percentile(0.5)?,
        percentile_99_5: percentile(99.5)?,
        std: variance.sqrt(),
    })
}

fn mean_of(
    cases: &[&&IntensityDistribution],
    value: impl Fn(&IntensityDistribution) -> f64,
) -> f64 {
    cases.iter().map(|case| value(case)).sum::<f64>() / cases.len() as f64
}

/// The first value that this weight of voxels does not exceed.
fn value_at(bins: &[(f32, f64)], weight: f64) -> Option<f64> {
    let mut below = 0.0;
    let reached = bins.iter().find(|(_, share)| {
        below += share;
        below >= weight
    });
    reached.or(bins.last()).map(|(value, _)| f64::from(*value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_case_has_the_same_weight() {
        let large = IntensityDistribution::of(vec![0.0; 900]);
        let small = IntensityDistribution::of(vec![10.0, 10.0, 20.0]);
        let empty = IntensityDistribution::default();
        let found = pooled(&[&large, &small, &empty]).unwrap();
        assert!((found.mean - 20.0 / 3.0).abs() < 1e-12, "{found:?}");
        let variance = (200.0 / 9.0 + (20.0f64 / 3.0).powi(2) + (20.0f64 / 3.0).powi(2)) / 2.0;
        assert!((found.std - variance.sqrt()).abs() < 1e-12, "{found:?}");
        assert_eq!((found.min, found.max, found.percentile_99_5), (0.0, 20.0, 20.0));
        assert_eq!((found.median, found.percentile_00_5), (0.0, 0.0));
        assert_eq!(pooled(&[&empty]), None);
    }
}
