//! Score tables for reading, and a run's headline score.

use super::metrics::MetricRow;
use crate::text_table::{Cell, TextTable, short};
use std::collections::BTreeMap;
use voxflow_stages::Kind;
use voxflow_stages::Metric;
use voxflow_stages::stage::{Yields, fold_of_id};

/// Metrics shown per label with their headings and the counts of their cases, in this order;
/// `show --stage` prints the rest.
const SHOWN: [(&str, &str, &str); 3] = [
    ("dice", "dice", "n"),
    ("hd95_mm", "hd95 mm", "n_hd95_mm"),
    ("surface_dice", "surface dice", "n_surface_dice"),
];

/// Counts of structures, beside Dice; shown if not zero.
const COUNTS: [(&str, &str); 2] = [("missed", "missed"), ("false_positive", "false positive")];

/// Grids in order of precedence.
const GRIDS: [&str; 3] = ["original", "resampled", "roundtrip"];

/// Identity of a score group: stage, split, grid and label.
type ScoreGroup<'a> = (&'a str, Option<&'a str>, Option<&'a str>, Option<&'a str>);

/// A row per scoring stage, split, grid, label and metric, in order of appearance: mean ± standard
/// deviation over cases, 95 % bootstrap interval of the mean, median with quartiles, and the number
/// of cases; with the mean over several labels. Empty without scores.
pub fn scores(rows: &[MetricRow]) -> TextTable {
    let scored: Vec<&MetricRow> = rows.iter().filter(|row| is_score(row)).collect();
    let values: BTreeMap<(ScoreGroup, &str), Option<f64>> = scored
        .iter()
        .map(|row| ((place(row), row.found.metric.as_str()), row.found.value))
        .collect();
    let columns = ["stage", "cases", "grid", "label", "metric", "mean ± sd", "95 % CI"];
    let columns = columns.into_iter().chain(["median [IQR]", "n"]);
    let columns = columns.chain(COUNTS.map(|(_, heading)| heading));
    let mut sheet = TextTable::new("scores", columns);
    for group in groups(&scored) {
        for (metric, heading, n) in SHOWN {
            if values.contains_key(&(group, metric)) {
                let value = |name: &str| values.get(&(group, name)).copied().flatten();
                sheet.push(cells(group, heading, metric, n, &value));
            }
        }
    }
    sheet.without_empty_columns(6)
}

fn cells(
    (stage, split, grid, label): ScoreGroup,
    heading: &str,
    metric: &str,
    n: &str,
    value: &dyn Fn(&str) -> Option<f64>,
) -> Vec<Cell> {
    let of = |suffix: &str| value(&format!("{metric}{suffix}"));
    let range =
        |low: Option<f64>, high: Option<f64>| Some(format!("{}–{}", short(low?), short(high?)));
    let interval = range(of("_ci_low"), of("_ci_high"));
    let median = of("_median")
        .zip(range(of("_q1"), of("_q3")))
        .map(|(median, quartiles)| format!("{} [{quartiles}]", short(median)));
    let mut cells = vec![
        Cell::text(stage),
        split.into(),
        grid.into(),
        Cell::text(label.unwrap_or("mean")),
        Cell::text(heading),
        value(metric).map_or(Cell::Empty, |mean| Cell::Spread { mean, sd: of("_sd") }),
        interval.as_deref().into(),
        median.as_deref().into(),
        count(value(n)),
    ];
    cells.extend(COUNTS.iter().map(|(name, _)| match metric {
        "dice" => count(value(name).filter(|count| *count > 0.0)),
        _ => Cell::Empty,
    }));
    cells
}

fn count(value: Option<f64>) -> Cell {
    value.filter(|count| *count >= 0.0).map_or(Cell::Empty, |count| Cell::Count(count as u64))
}

fn is_score(row: &MetricRow) -> bool {
    Kind::yields_of(&row.kind).is_scores() && row.is_final() && !row.found.measured
}

fn place(row: &MetricRow) -> ScoreGroup<'_> {
    let found = &row.found;
    (&row.stage, found.split.as_deref(), found.grid.as_deref(), found.label.as_deref())
}

/// Groups in order of appearance, omitting means over a single label.
fn groups<'a>(rows: &[&'a MetricRow]) -> Vec<ScoreGroup<'a>> {
    let mut places: Vec<ScoreGroup> = vec![];
    for row in rows {
        if !places.contains(&place(row)) {
            places.push(place(row));
        }
    }
    places.iter().filter(|one| one.3.is_some() || labels(&places, one) != 2).copied().collect()
}

/// Number of labels beside a group, the mean included.
fn labels(groups: &[ScoreGroup], of: &ScoreGroup) -> usize {
    groups.iter().filter(|one| (one.0, one.1, one.2) == (of.0, of.1, of.2)).count()
}

/// Headline score with its stage: mean Dice from the last test, else the last validation, else
/// validation during training. Of stages made for each fold it is the folds' mean, under the id in
/// the file.
pub fn headline(rows: &[MetricRow]) -> Option<(&str, f64)> {
    headline_of(rows.iter().map(|row| (&*row.stage, &*row.kind, &row.found)))
}

/// [`headline`] for (stage, kind, metric) rows.
pub(super) fn headline_of<'a>(
    rows: impl DoubleEndedIterator<Item = (&'a str, &'a str, &'a Metric)> + Clone,
) -> Option<(&'a str, f64)> {
    dice_of(rows, &Yields::HEADLINE)
}

/// The last mean Dice from the first of `wanted` with any, preferring grids in order.
fn dice_of<'a>(
    rows: impl DoubleEndedIterator<Item = (&'a str, &'a str, &'a Metric)> + Clone,
    wanted: &[Yields],
) -> Option<(&'a str, f64)> {
    let dice = |wanted: Yields, grid: Option<&str>| {
        let found = rows.clone().filter_map(|(stage, kind, found)| {
            let mean = found.metric == "dice" && found.label.is_none() && found.case.is_none();
            let of_kind = Kind::yields_of(kind) == wanted;
            let fits = of_kind && mean && (grid.is_none() || found.grid.as_deref() == grid);
            found.value.filter(|_| fits).map(|value| (stage, value))
        });
        over_folds(found).map(|score| (score.stage, score.mean))
    };
    wanted.iter().find_map(|yields| {
        GRIDS.iter().find_map(|grid| dice(*yields, Some(grid))).or_else(|| dice(*yields, None))
    })
}

/// The score of a stage, or of all stages made for the folds of a stage in the file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct StageScore<'a> {
    /// The stage's id; of folds that in the file.
    pub stage: &'a str,
    pub mean: f64,
    /// Scored folds; `None` for a stage that is made once.
    pub folds: Option<usize>,
}

/// The last score among stages, in order: for a fold's stage the mean over all folds of their last
/// scores, since a fold alone has seen only a part of the cases.
pub(super) fn over_folds<'a>(
    found: impl DoubleEndedIterator<Item = (&'a str, f64)> + Clone,
) -> Option<StageScore<'a>> {
    let (stage, mean) = found.clone().next_back()?;
    let Some((written, _)) = fold_of_id(stage) else {
        return Some(StageScore { stage, mean, folds: None });
    };
    let of_folds = found.filter_map(|(stage, value)| {
        fold_of_id(stage).filter(|(other, _)| *other == written).map(|(_, fold)| (fold, value))
    });
    let by_fold: BTreeMap<u32, f64> = of_folds.collect();
    let folds = by_fold.len();
    let mean = by_fold.into_values().sum::<f64>() / folds as f64;
    Some(StageScore { stage: written, mean, folds: Some(folds) })
}

/// A run's mean Dice on validation and testing cases, each with its stage.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Headlines {
    /// Of the last stage that scores validation cases, else the training's last validation.
    pub validation: Option<(String, f64)>,
    pub test: Option<(String, f64)>,
}

impl Headlines {
    pub fn of(rows: &[MetricRow]) -> Headlines {
        Headlines::among(rows.iter().map(|row| (&*row.stage, &*row.kind, &row.found)))
    }

    pub(super) fn among<'a>(
        rows: impl DoubleEndedIterator<Item = (&'a str, &'a str, &'a Metric)> + Clone,
    ) -> Headlines {
        let of = |wanted: &[Yields]| {
            dice_of(rows.clone(), wanted).map(|(stage, dice)| (stage.to_string(), dice))
        };
        Headlines {
            validation: of(&[Yields::ValidationScores, Yields::Curves]),
            test: of(&[Yields::TestScores]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::spread;
    use crate::tables::spread::tests::tested;
    use crate::tables::tests::example;

    #[test]
    fn each_label_has_a_row_and_the_mean_comes_where_there_are_several() {
        let mut rows = example("r1", 0.9).metrics;
        let one = "\
scores
stage  cases    grid      label   metric   mean ± sd  n
────────────────────────────────────────────────────────
final  testing  original  spleen  dice        0.9000  6
final  testing  original  spleen  hd95 mm          –  –
";
        assert_eq!(scores(&rows).text(None), one, "\n{}", scores(&rows).text(None));
        let mut liver = rows
            .iter()
            .find(|row| row.stage == "final" && row.is_final())
            .expect("a score")
            .clone();
        liver.found.label = Some("liver".into());
        liver.found.value = Some(0.5);
        rows.push(liver);
        let dice = |row: &&Vec<Cell>| row[4] == Cell::text("dice");
        let labels: Vec<Cell> =
            scores(&rows).rows.iter().filter(dice).map(|row| row[3].clone()).collect();
        assert_eq!(labels, ["spleen", "mean", "liver"].map(Cell::text));
    }

    #[test]
    fn beside_each_mean_stand_its_deviation_interval_and_quartiles() {
        let mut rows = tested(&[("spleen", &[0.8, 0.85, 0.9, 0.95])]);
        spread::add(&mut rows, None);
        let text = scores(&rows).text(None);
        let dice = text.lines().find(|line| line.contains("dice")).expect("a row of Dice");
        assert!(dice.contains("0.8750 ± 0.0645"), "{text}");
        assert!(dice.contains("0.8750 [0.8375–0.9125]  4"), "{text}");
        assert!(text.contains("95 % CI"), "{text}");
    }

    #[test]
    fn what_nothing_scored_is_empty() {
        assert!(scores(&[]).rows.is_empty());
    }

    #[test]
    fn the_test_outweighs_the_training() {
        let mut rows = example("r1", 0.9).metrics;
        assert_eq!(headline(&rows), Some(("final", 0.9)));
        rows.retain(|row| row.kind == "train");
        assert_eq!(headline(&rows), Some(("model", 0.75)));
        assert_eq!(headline(&[]), None);
    }

    #[test]
    fn the_score_of_folds_is_their_mean_whichever_ended_last() {
        let row = |stage: &str, kind: &str, dice: f64, epoch: Option<u32>| {
            let mut row = example("r1", dice).metrics.remove(0);
            (row.stage, row.kind) = (stage.into(), kind.into());
            row.found = Metric::new("dice", dice).split("validation").grid("original");
            row.found.epoch = epoch;
            row
        };
        let curve =
            |fold: u32, dice, epoch| row(&format!("model-fold{fold}"), "train", dice, Some(epoch));
        let mut rows = vec![
            curve(1, 0.1, 1),
            curve(0, 0.2, 1),
            curve(1, 0.5, 2),
            curve(2, 0.9, 1),
            curve(0, 0.4, 2),
        ];
        assert_eq!(headline(&rows), Some(("model", (0.4 + 0.5 + 0.9) / 3.0)));
        let fold = |fold: u32, dice| row(&format!("scores-fold{fold}"), "validate", dice, None);
        rows.extend([fold(2, 0.9), fold(0, 0.6), fold(1, 0.3)]);
        assert_eq!(headline(&rows), Some(("scores", (0.6 + 0.3 + 0.9) / 3.0)));
        rows.push(row("chosen", "select", 0.7, None));
        let pooled = Some(("chosen".to_string(), 0.7));
        assert_eq!(Headlines::of(&rows), Headlines { validation: pooled, test: None });
    }

    #[test]
    fn validation_and_test_have_a_score_each() {
        let mut rows = example("r1", 0.9).metrics;
        let of = |stage: &str, dice| Some((stage.to_string(), dice));
        let both = Headlines { validation: of("model", 0.75), test: of("final", 0.9) };
        assert_eq!(Headlines::of(&rows), both);
        rows.retain(|row| row.kind == "test");
        assert_eq!(Headlines::of(&rows), Headlines { validation: None, ..both });
    }
}
