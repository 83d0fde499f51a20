//! Percentile bootstrap over cases (Efron 1979) with a fixed seed: equal scores give equal
//! intervals.

use super::{mean, quantile};
use voxflow_stages::random::Draw;

/// Number of resamples.
const RESAMPLES: usize = 2000;
/// Fewest cases for an interval: resamples of two know two values and their mean only.
const FEWEST_CASES: usize = 3;
/// Two-sided confidence level.
const LEVEL: f64 = 0.95;

/// Confidence interval at 95 %.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    pub low: f64,
    pub high: f64,
}

/// Cases drawn with replacement, the same for all scores of these cases.
pub struct Resamples {
    /// Index of a case, one row of `cases` indices per resample.
    drawn: Vec<u32>,
    cases: usize,
}

impl Resamples {
    /// For this many cases; empty below three.
    pub fn of(cases: usize) -> Resamples {
        let count = if cases < FEWEST_CASES { 0 } else { RESAMPLES * cases };
        let mut draw = Draw::new(0, 0, cases as u64, "bootstrap over cases");
        let drawn = (0..count).map(|_| draw.below(cases as u64) as u32).collect();
        Resamples { drawn, cases }
    }

    /// Interval of the mean over columns (labels) of each column's mean over cases, and each
    /// column's own. A column has a value per case, if defined. A resample without any defined
    /// value counts for no interval; `None` with fewer than three defined values.
    pub fn intervals(
        &self,
        columns: &[Vec<Option<f64>>],
    ) -> (Option<Interval>, Vec<Option<Interval>>) {
        let mut overall = vec![];
        let mut by_column: Vec<Vec<f64>> = vec![vec![]; columns.len()];
        for drawn in self.drawn.chunks_exact(self.cases.max(1)) {
            let means: Vec<Option<f64>> =
                columns.iter().map(|column| resampled_mean(column, drawn)).collect();
            overall.extend(mean(&means.iter().flatten().copied().collect::<Vec<_>>()));
            by_column.iter_mut().zip(means).for_each(|(all, mean)| all.extend(mean));
        }
        let enough = (0..self.cases)
            .filter(|case| columns.iter().any(|column| column[*case].is_some()))
            .count();
        let columns = by_column.into_iter().zip(columns).map(|(means, column)| {
            (column.iter().flatten().count() >= FEWEST_CASES).then(|| interval(means)).flatten()
        });
        let columns = columns.collect();
        ((enough >= FEWEST_CASES).then(|| interval(overall)).flatten(), columns)
    }
}

fn resampled_mean(column: &[Option<f64>], drawn: &[u32]) -> Option<f64> {
    let (mut sum, mut count) = (0.0, 0_u32);
    for value in drawn.iter().filter_map(|case| column[*case as usize]) {
        sum += value;
        count += 1;
    }
    (count > 0).then(|| sum / f64::from(count))
}

fn interval(mut means: Vec<f64>) -> Option<Interval> {
    means.sort_by(f64::total_cmp);
    let tail = (1.0 - LEVEL) / 2.0;
    Some(Interval { low: quantile(&means, tail)?, high: quantile(&means, 1.0 - tail)? })
}

impl Interval {
    pub fn overlaps(&self, other: &Interval) -> bool {
        self.low <= other.high && other.low <= self.high
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[f64]) -> Option<Interval> {
        let column = values.iter().copied().map(Some).collect();
        Resamples::of(values.len()).intervals(&[column]).0
    }

    /// The mean of four draws from 0, 0, 0, 1 is binomial: 0 in 32 % of resamples, above 0.5 in
    /// 5.1 %, 1 in 0.4 %.
    #[test]
    fn the_interval_of_a_binomial_mean_is_the_exact_one() {
        assert_eq!(of(&[0.0, 0.0, 0.0, 1.0]), Some(Interval { low: 0.0, high: 0.75 }));
    }

    /// `scipy.stats.bootstrap(…, method="percentile", n_resamples=200000)` gives 0.7400, 0.9067.
    #[test]
    fn the_interval_is_that_of_scipy() {
        let found = of(&[0.91, 0.62, 0.88, 0.79, 0.95, 0.84]).expect("an interval");
        assert!((found.low - 0.7400).abs() < 0.006, "{found:?}");
        assert!((found.high - 0.9067).abs() < 0.006, "{found:?}");
        assert_eq!(of(&[0.91, 0.62, 0.88, 0.79, 0.95, 0.84]), Some(found), "the seed is fixed");
    }

    #[test]
    fn labels_are_averaged_within_each_resample_and_gaps_are_left_out() {
        let spleen = vec![Some(0.9), Some(0.9), Some(0.9), None];
        let liver = vec![Some(0.5), None, None, None];
        let (overall, columns) = Resamples::of(4).intervals(&[spleen, liver]);
        assert_eq!(columns, [Some(Interval { low: 0.9, high: 0.9 }), None]);
        let overall = overall.expect("three cases have a score");
        assert!((overall.low - 0.7).abs() < 1e-12 && overall.high == 0.9, "{overall:?}");
    }

    #[test]
    fn two_cases_have_no_interval() {
        assert_eq!(of(&[0.5, 0.9]), None);
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn intervals_overlap_where_they_share_a_value() {
        let at = |low, high| Interval { low, high };
        assert!(at(0.1, 0.5).overlaps(&at(0.5, 0.6)) && !at(0.1, 0.4).overlaps(&at(0.5, 0.6)));
    }
}
