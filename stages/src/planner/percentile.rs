//! Percentiles and medians over cases, computed as numpy does.

/// The percentile `q` (0 to 100): between order statistics, the nearer end as the starting point.
/// 0 without values.
pub fn percentile(values: &[f64], q: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let place = q / 100.0 * last as f64;
    let index = (place.floor() as usize).min(last);
    let (low, high) = (sorted[index], sorted[(index + 1).min(last)]);
    let part = place - index as f64;
    let width = high - low;
    if part >= 0.5 { high - width * (1.0 - part) } else { low + width * part }
}

/// The median of each of three columns.
pub fn median_of_each(rows: &[[f64; 3]]) -> [f64; 3] {
    std::array::from_fn(|axis| {
        percentile(&rows.iter().map(|row| row[axis]).collect::<Vec<_>>(), 50.0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_lie_between_order_statistics() {
        assert_eq!(percentile(&[3.0, 1.0, 2.0], 50.0), 2.0);
        assert_eq!(percentile(&[1.0, 2.0, 3.0, 10.0], 50.0), 2.5);
        assert_eq!(percentile(&[0.0, 10.0], 10.0), 1.0);
        assert_eq!(percentile(&[5.0], 10.0), 5.0);
        assert_eq!(median_of_each(&[[1.0, 5.0, 2.0], [3.0, 6.0, 2.0]]), [2.0, 5.5, 2.0]);
    }
}
