//! Spread of scores over cases, derived from the rows of single cases.
//!
//! Each mean over cases gets rows for standard deviation, quartiles and the bootstrap interval of
//! the mean: `dice_sd`, `dice_q1`, `dice_median`, `dice_q3`, `dice_ci_low`, `dice_ci_high`. Over
//! labels, deviation and quartiles are those of each case's mean over labels, and the counts `n`,
//! `n_hd95_mm` and `n_surface_dice` become numbers of cases: stages report sums over labels.

use super::metrics::MetricRow;
use crate::statistics::{self, Resamples};
use std::collections::BTreeMap;
use voxflow_stages::{Kind, Metric};

/// Suffixes of derived metrics: standard deviation, quartiles, interval.
const SUFFIXES: [&str; 6] = ["_sd", "_q1", "_median", "_q3", "_ci_low", "_ci_high"];
/// Counts of cases with the score.
const COUNTS: [(&str, &str); 3] =
    [("n", "dice"), ("n_hd95_mm", "hd95_mm"), ("n_surface_dice", "surface_dice")];
/// Fewest cases with a spread.
const FEWEST: usize = 2;

/// True for metrics that this module derives from others.
pub(super) fn is_derived(metric: &str) -> bool {
    SUFFIXES.iter().any(|suffix| metric.ends_with(suffix))
}

/// Adds the derived rows of a stage, or of all stages, unless present.
pub(super) fn add(rows: &mut Vec<MetricRow>, stage: Option<&str>) {
    let asked = rows.iter().filter(|row| stage.is_none_or(|stage| row.stage == stage));
    let mut groups = of_cases(asked);
    for row in rows.iter().filter(|row| row.is_final() && is_derived(&row.found.metric)) {
        groups.remove(&place(row));
    }
    if groups.is_empty() {
        return;
    }
    let groups: Vec<(OwnPlace, Spreads)> = groups
        .into_iter()
        .map(|((stage, split, grid), group)| {
            let [split, grid] = [split, grid].map(|word| word.map(str::to_string));
            ((stage.to_string(), split, grid), group.spreads())
        })
        .collect();
    let mut derived = vec![];
    for row in rows.iter_mut().filter(|row| row.is_final()) {
        let Some((_, spreads)) = groups.iter().find(|(at, _)| is_at(at, row)) else { continue };
        count_cases(&mut row.found, spreads);
        let key = (row.found.metric.clone(), row.found.label.clone());
        for (suffix, value) in spreads.by_metric.get(&key).into_iter().flatten() {
            let metric = format!("{}{suffix}", row.found.metric);
            let found = Metric { metric, value: Some(*value), ..row.found.clone() };
            derived.push(MetricRow { found, ..row.clone() });
        }
    }
    rows.extend(derived);
}

/// Stage, split and grid.
type ScoreKey<'a> = (&'a str, Option<&'a str>, Option<&'a str>);
type OwnPlace = (String, Option<String>, Option<String>);

fn place(row: &MetricRow) -> ScoreKey<'_> {
    (&row.stage, row.found.split.as_deref(), row.found.grid.as_deref())
}

fn is_at(at: &OwnPlace, row: &MetricRow) -> bool {
    (at.0.as_str(), at.1.as_deref(), at.2.as_deref()) == place(row)
}

/// Replaces a sum over labels by the number of cases.
fn count_cases(found: &mut Metric, spreads: &Spreads) {
    let score = COUNTS.iter().find(|(name, _)| *name == found.metric);
    if let (None, Some((_, score))) = (&found.label, score) {
        found.value = spreads.cases.get(*score).map(|cases| *cases as f64).or(found.value);
    }
}

/// For each label the number of a case with its score.
type ScoresByLabel<'a> = BTreeMap<&'a str, Vec<(usize, f64)>>;

/// A metric, and its label if it is of one.
type MetricOfLabel = (String, Option<String>);

/// Scores of single cases by metric, label and case.
#[derive(Default)]
struct CaseScores<'a> {
    /// Numbers of the cases, in order of appearance.
    cases: BTreeMap<&'a str, usize>,
    values: BTreeMap<&'a str, ScoresByLabel<'a>>,
}

/// Derived numbers of a place.
struct Spreads {
    /// Number of cases with the metric for any label.
    cases: BTreeMap<String, usize>,
    /// Suffix and value by metric and label; without label over labels.
    by_metric: BTreeMap<MetricOfLabel, Vec<(&'static str, f64)>>,
}

fn of_cases<'a>(
    rows: impl Iterator<Item = &'a MetricRow>,
) -> BTreeMap<ScoreKey<'a>, CaseScores<'a>> {
    let mut groups: BTreeMap<ScoreKey, CaseScores> = BTreeMap::new();
    for row in rows.filter(|row| Kind::yields_of(&row.kind).is_scores()) {
        let found = &row.found;
        let (Some(case), Some(label)) = (&found.case, &found.label) else { continue };
        let group = groups.entry(place(row)).or_default();
        let next = group.cases.len();
        let case = *group.cases.entry(case).or_insert(next);
        let column = group.values.entry(&found.metric).or_default().entry(label).or_default();
        column.extend(found.value.map(|value| (case, value)));
    }
    groups
}

impl CaseScores<'_> {
    fn spreads(&self) -> Spreads {
        let resamples = Resamples::of(self.cases.len());
        let mut spreads = Spreads { cases: BTreeMap::new(), by_metric: BTreeMap::new() };
        for (metric, labels) in &self.values {
            let columns: Vec<Vec<Option<f64>>> =
                labels.values().map(|column| self.filled(column)).collect();
            let (overall, by_label) = resamples.intervals(&columns);
            let means = self.means_over_labels(&columns);
            spreads.cases.insert(metric.to_string(), means.len());
            spreads.by_metric.insert((metric.to_string(), None), of(&means, overall));
            for ((label, column), interval) in labels.keys().zip(&columns).zip(by_label) {
                let values: Vec<f64> = column.iter().flatten().copied().collect();
                let key = (metric.to_string(), Some(label.to_string()));
                spreads.by_metric.insert(key, of(&values, interval));
            }
        }
        spreads
    }

    /// A column with a place for every case.
    fn filled(&self, column: &[(usize, f64)]) -> Vec<Option<f64>> {
        let mut all = vec![None; self.cases.len()];
        column.iter().for_each(|(case, value)| all[*case] = Some(*value));
        all
    }

    /// Each case's mean over the labels with a value; cases without any are left out.
    fn means_over_labels(&self, columns: &[Vec<Option<f64>>]) -> Vec<f64> {
        (0..self.cases.len())
            .filter_map(|case| {
                let values: Vec<f64> = columns.iter().filter_map(|column| column[case]).collect();
                statistics::mean(&values)
            })
            .collect()
    }
}

fn of(values: &[f64], interval: Option<statistics::Interval>) -> Vec<(&'static str, f64)> {
    let [sd, q1, median, q3, low, high] = SUFFIXES;
    let Some(quartiles) = statistics::quartiles(values).filter(|_| values.len() >= FEWEST) else {
        return vec![];
    };
    let mut numbers = vec![(q1, quartiles[0]), (median, quartiles[1]), (q3, quartiles[2])];
    numbers.extend(statistics::standard_deviation(values).map(|value| (sd, value)));
    numbers.extend(interval.iter().flat_map(|at| [(low, at.low), (high, at.high)]));
    numbers
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::tables::tests::example;

    /// A test of two labels, each with these Dice by case; the means and `n` as `test` reports
    /// them.
    pub(crate) fn tested(by_label: &[(&str, &[f64])]) -> Vec<MetricRow> {
        let like = example("r1", 0.9).metrics.pop().expect("a mean");
        let row = |found: Metric| MetricRow {
            found: found.split("testing").grid("original"),
            ..like.clone()
        };
        let mut rows = vec![];
        let (mut means, mut count) = (vec![], 0.0);
        for (label, values) in by_label {
            for (case, value) in values.iter().enumerate() {
                let case = format!("case_{}", case + 1);
                rows.push(row(Metric::new("dice", *value).case(&case).label(label)));
                rows.push(row(Metric::new("hd95_mm", None).case("case_1").label(label)));
            }
            let mean = statistics::mean(values).expect("values");
            means.push(mean);
            count += values.len() as f64;
            rows.push(row(Metric::new("dice", mean).label(label)));
            rows.push(row(Metric::new("n", values.len() as f64).label(label)));
        }
        rows.push(row(Metric::new("dice", statistics::mean(&means))));
        rows.push(row(Metric::new("hd95_mm", None)));
        rows.push(row(Metric::new("n", count)));
        rows
    }

    fn value(rows: &[MetricRow], label: Option<&str>, metric: &str) -> Option<f64> {
        let fits = |row: &&MetricRow| {
            row.found.label.as_deref() == label
                && row.found.metric == metric
                && row.found.case.is_none()
        };
        let found: Vec<&MetricRow> = rows.iter().filter(fits).collect();
        assert!(found.len() <= 1, "{metric} is there {} times", found.len());
        found.first()?.found.value
    }

    #[test]
    fn means_over_cases_get_their_deviation_quartiles_and_interval() {
        let mut rows = tested(&[("spleen", &[0.8, 0.9, 1.0]), ("liver", &[0.4, 0.5, 0.6])]);
        add(&mut rows, None);
        let spleen = |metric| value(&rows, Some("spleen"), metric).expect(metric);
        assert!((spleen("dice_sd") - 0.1).abs() < 1e-12);
        assert!((spleen("dice_q1") - 0.85).abs() < 1e-12);
        assert_eq!(spleen("dice_median"), 0.9);
        assert!(spleen("dice_ci_low") >= 0.8 && spleen("dice_ci_high") <= 1.0);
        let all = |metric| value(&rows, None, metric).expect(metric);
        assert!((all("dice_sd") - 0.1).abs() < 1e-12, "of the cases' means: 0.6, 0.7, 0.8");
        assert!((all("dice_median") - 0.7).abs() < 1e-12);
        assert!(all("dice_ci_low") < 0.7 && all("dice_ci_high") > 0.7);
    }

    #[test]
    fn over_labels_n_counts_cases() {
        let mut rows = tested(&[("spleen", &[0.8, 0.9]), ("liver", &[0.4, 0.5])]);
        assert_eq!(value(&rows, None, "n"), Some(4.0), "as stages report it");
        add(&mut rows, None);
        assert_eq!(value(&rows, None, "n"), Some(2.0));
        assert_eq!(value(&rows, Some("liver"), "n"), Some(2.0));
    }

    #[test]
    fn no_number_stands_where_there_is_none_and_a_second_time_adds_nothing() {
        let mut rows = tested(&[("spleen", &[0.8, 0.9])]);
        add(&mut rows, Some("another"));
        assert!(!rows.iter().any(|row| is_derived(&row.found.metric)));
        add(&mut rows, Some("final"));
        assert_eq!(value(&rows, None, "dice_ci_low"), None, "two cases have no interval");
        assert_eq!(value(&rows, None, "hd95_mm_median"), None, "no case has a distance");
        let once = rows.clone();
        add(&mut rows, None);
        assert_eq!(rows, once);
    }
}
