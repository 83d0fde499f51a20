//! Scores as rows: every case and label, the means over cases for each label, and the means over
//! labels.
//!
//! Two kinds of mean stand side by side. Ours is over the cases where the score is defined. MONAI's
//! (`monai_mean_…`) is that of its metrics' `aggregate`: over labels it averages each case's labels
//! first, then the cases that have any. Both are null where there is nothing to average; MONAI says
//! 0 there, which would read as a perfect distance. A missed organ thus improves HD95 in both, so
//! `missed` and `false_positive` are told beside them, and `n` says how many cases have the label
//! at all.

use crate::metric::score::{CaseScore, LabelScore};
use crate::record::Metric;

/// A score's name, and its field.
type ScoreColumn = (&'static str, fn(&LabelScore) -> Option<f64>);

const SCORES: [ScoreColumn; 4] = [
    ("dice", |score| score.dice),
    ("hd95_mm", |score| score.hd95_mm),
    ("surface_dice", |score| score.surface_dice),
    ("surface_dice_area", |score| score.surface_dice_area),
];

/// All rows of these cases, which have the same labels in the same order. In the summaries, `n` is
/// the number of cases whose reference has the label (those in mean Dice), `n_hd95_mm` and
/// `n_surface_dice` how many are in those means; over labels they are sums.
pub fn rows(cases: &[CaseScore], split: &str, grid: &str) -> Vec<Metric> {
    let mut rows: Vec<Metric> = cases.iter().flat_map(case_rows).collect();
    let names = cases.first().map(|case| case.labels.as_slice()).unwrap_or_default();
    let columns: Vec<Vec<&LabelScore>> = (0..names.len())
        .map(|label| cases.iter().filter_map(|case| case.labels.get(label)).collect())
        .collect();
    for (name, column) in names.iter().zip(&columns) {
        rows.extend(label_rows(column).into_iter().map(|row| row.label(&name.label)));
    }
    rows.extend(overall_rows(cases, &columns));
    rows.into_iter().map(|row| row.split(split).grid(grid)).collect()
}

/// The mean over labels of each label's mean Dice over cases: the score for choosing weights.
pub fn mean_dice(cases: &[CaseScore]) -> Option<f64> {
    let labels = cases.first().map_or(0, |case| case.labels.len());
    mean((0..labels).map(|label| mean(cases.iter().map(|case| case.labels.get(label)?.dice))))
}

fn case_rows(case: &CaseScore) -> Vec<Metric> {
    case.labels
        .iter()
        .flat_map(|score| {
            let mut rows: Vec<Metric> =
                SCORES.iter().map(|(name, value)| Metric::new(*name, value(score))).collect();
            rows.push(Metric::new("volume_ml", score.volume_ml));
            rows.push(Metric::new("reference_ml", score.reference_ml));
            rows.into_iter().map(|row| row.case(&case.case).label(&score.label)).collect::<Vec<_>>()
        })
        .collect()
}

fn label_rows(column: &[&LabelScore]) -> Vec<Metric> {
    let mut rows = vec![];
    for (name, value) in SCORES {
        let mean = mean(column.iter().map(|score| value(score)));
        rows.push(Metric::new(name, mean));
        rows.push(Metric::new(format!("monai_mean_{name}"), mean));
    }
    rows.push(Metric::new("volume_ml", mean(column.iter().map(|score| Some(score.volume_ml)))));
    rows.push(Metric::new(
        "reference_ml",
        mean(column.iter().map(|score| Some(score.reference_ml))),
    ));
    rows.extend(counts(column).map(|(name, count)| Metric::new(name, count)));
    rows
}

fn counts(column: &[&LabelScore]) -> [(&'static str, f64); 5] {
    [
        ("n", count(column, |score| score.dice.is_some())),
        ("n_hd95_mm", count(column, |score| score.hd95_mm.is_some())),
        ("n_surface_dice", count(column, |score| score.surface_dice.is_some())),
        ("missed", count(column, LabelScore::missed)),
        ("false_positive", count(column, LabelScore::false_positive)),
    ]
}

fn count(column: &[&LabelScore], fits: impl Fn(&LabelScore) -> bool) -> f64 {
    column.iter().filter(|score| fits(score)).count() as f64
}

fn overall_rows(cases: &[CaseScore], columns: &[Vec<&LabelScore>]) -> Vec<Metric> {
    let mut rows = vec![];
    for (name, value) in SCORES {
        rows.push(Metric::new(
            name,
            mean(columns.iter().map(|column| mean(column.iter().map(|score| value(score))))),
        ));
        let by_case = cases.iter().map(|case| mean(case.labels.iter().map(value)));
        rows.push(Metric::new(format!("monai_mean_{name}"), mean(by_case)));
    }
    let all: Vec<&LabelScore> = columns.iter().flatten().copied().collect();
    rows.extend(counts(&all).map(|(name, count)| Metric::new(name, count)));
    rows
}

/// The mean over `Some`; `None` if empty.
fn mean(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let (sum, count) =
        values.flatten().fold((0.0, 0u32), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(
        label: &str,
        dice: Option<f64>,
        hd95_mm: Option<f64>,
        volume_ml: f64,
        reference_ml: f64,
    ) -> LabelScore {
        let surface = if volume_ml + reference_ml > 0.0 { Some(dice.unwrap_or(0.0)) } else { None };
        let label = label.to_string();
        LabelScore {
            label,
            dice,
            hd95_mm,
            surface_dice: surface,
            surface_dice_area: surface,
            volume_ml,
            reference_ml,
        }
    }

    /// Three cases: good; spleen missed and a liver that is not there; nothing to find and nothing
    /// found.
    fn cases() -> Vec<CaseScore> {
        let labels = |a, b| vec![a, b];
        let good = labels(
            score("spleen", Some(0.9), Some(2.0), 180.0, 200.0),
            score("liver", Some(0.6), Some(9.0), 90.0, 100.0),
        );
        let bad = labels(
            score("spleen", Some(0.0), None, 0.0, 150.0),
            score("liver", None, None, 50.0, 0.0),
        );
        let none =
            labels(score("spleen", None, None, 0.0, 0.0), score("liver", None, None, 0.0, 0.0));
        let named = [("a", good), ("b", bad), ("c", none)];
        named.map(|(case, labels)| CaseScore { case: case.to_string(), labels }).to_vec()
    }

    fn find(rows: &[Metric], label: Option<&str>, metric: &str) -> Option<f64> {
        let row = rows.iter().find(|row| {
            row.case.is_none() && row.label.as_deref() == label && row.metric == metric
        });
        row.unwrap_or_else(|| panic!("no row {label:?} {metric}")).value
    }

    #[test]
    fn means_are_over_the_cases_where_a_score_is_defined() {
        let rows = rows(&cases(), "testing", "original");
        assert_eq!(find(&rows, Some("spleen"), "dice"), Some(0.45));
        assert_eq!(find(&rows, Some("spleen"), "hd95_mm"), Some(2.0));
        assert_eq!(
            find(&rows, Some("liver"), "surface_dice"),
            Some(0.3),
            "a false positive counts as 0"
        );
        assert_eq!(find(&rows, None, "dice"), Some((0.45 + 0.6) / 2.0));
        assert_eq!(mean_dice(&cases()), Some((0.45 + 0.6) / 2.0));
        assert_eq!(
            find(&rows, None, "monai_mean_dice"),
            Some((0.75 + 0.0) / 2.0),
            "each case's labels first"
        );
    }

    #[test]
    fn what_was_missed_or_invented_is_counted() {
        let rows = rows(&cases(), "testing", "original");
        let count = |label, metric| find(&rows, label, metric);
        assert_eq!(
            (count(Some("spleen"), "n"), count(Some("spleen"), "missed")),
            (Some(2.0), Some(1.0))
        );
        assert_eq!(
            (count(Some("liver"), "n"), count(Some("liver"), "false_positive")),
            (Some(1.0), Some(1.0))
        );
        assert_eq!(
            (count(Some("spleen"), "n_hd95_mm"), count(None, "missed")),
            (Some(1.0), Some(1.0))
        );
    }

    #[test]
    fn nothing_to_average_is_null() {
        let rows = rows(&cases()[1..], "validation", "resampled");
        assert_eq!(
            (find(&rows, None, "hd95_mm"), find(&rows, None, "monai_mean_hd95_mm")),
            (None, None)
        );
        let row = rows
            .iter()
            .find(|row| row.case.as_deref() == Some("c") && row.metric == "dice")
            .unwrap();
        assert_eq!(
            (row.value, row.split.as_deref(), row.grid.as_deref()),
            (None, Some("validation"), Some("resampled"))
        );
    }
}
