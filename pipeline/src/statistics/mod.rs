//! Descriptive statistics, confidence intervals and tests of scores over cases.

mod bootstrap;
mod wilcoxon;

pub use bootstrap::{Interval, Resamples};
pub use wilcoxon::{Wilcoxon, wilcoxon};

/// `None` without values.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Sample standard deviation (divisor n − 1); `None` for fewer than two values.
pub fn standard_deviation(values: &[f64]) -> Option<f64> {
    let mean = mean(values).filter(|_| values.len() > 1)?;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    Some((squares / (values.len() - 1) as f64).sqrt())
}

/// Quantile of sorted values with linear interpolation (type 7 of Hyndman and Fan, NumPy's
/// default); `None` without values.
pub fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let at = share.clamp(0.0, 1.0) * last as f64;
    let (below, above) = (at.floor() as usize, at.ceil() as usize);
    Some(sorted[below] + (sorted[above] - sorted[below]) * (at - at.floor()))
}

/// Lower quartile, median and upper quartile; `None` without values.
pub fn quartiles(values: &[f64]) -> Option<[f64; 3]> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    Some([quantile(&sorted, 0.25)?, quantile(&sorted, 0.5)?, quantile(&sorted, 0.75)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(one: Option<f64>, other: f64) -> bool {
        one.is_some_and(|one| (one - other).abs() < 1e-12)
    }

    /// `numpy.mean`, `numpy.std(ddof=1)` and `numpy.quantile` of the same values.
    #[test]
    fn mean_deviation_and_quartiles_are_those_of_numpy() {
        let values = [0.91, 0.62, 0.88, 0.79, 0.95, 0.84];
        assert!(close(mean(&values), 0.8316666666666667));
        assert!(close(standard_deviation(&values), 0.11754431788336969));
        let [lower, median, upper] = quartiles(&values).expect("values");
        assert!(close(Some(lower), 0.8025) && close(Some(median), 0.86), "{lower} {median}");
        assert!(close(Some(upper), 0.9025), "{upper}");
    }

    #[test]
    fn without_enough_values_there_is_no_number() {
        assert_eq!((mean(&[]), quartiles(&[]), quantile(&[], 0.5)), (None, None, None));
        assert_eq!(standard_deviation(&[0.5]), None);
        assert_eq!(quartiles(&[0.5]), Some([0.5; 3]));
    }
}
