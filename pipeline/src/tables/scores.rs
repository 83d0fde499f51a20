//! Score tables for reading, and a run's headline score.

use super::metrics::MetricRow;
use crate::text_table::{Cell, TextTable};
use voxflow_stages::Kind;
use voxflow_stages::Metric;
use voxflow_stages::stage::Yields;

/// Metrics shown per label with their headings, in this order; `show` prints the rest.
const SHOWN: [(&str, &str); 6] = [
    ("dice", "dice"),
    ("hd95_mm", "hd95 mm"),
    ("surface_dice", "surface dice"),
    ("n", "n"),
    ("missed", "missed"),
    ("false_positive", "false positive"),
];

/// Grids in order of precedence.
const GRIDS: [&str; 3] = ["original", "resampled", "roundtrip"];

/// Identity of a score group: stage, split, grid and label.
type ScoreGroup<'a> = (&'a str, Option<&'a str>, Option<&'a str>, Option<&'a str>);

/// A row per scoring stage, split, grid and label, in order of appearance, with the mean over
/// several labels. Empty without scores.
pub fn scores(rows: &[MetricRow]) -> TextTable {
    let scored: Vec<&MetricRow> = rows.iter().filter(|row| is_score(row)).collect();
    let columns =
        ["stage", "cases", "grid", "label"].into_iter().chain(SHOWN.map(|(_, heading)| heading));
    let mut sheet = TextTable::new("scores", columns);
    for place in places(&scored) {
        let (stage, split, grid, label) = place;
        let mut cells =
            vec![Cell::text(stage), split.into(), grid.into(), Cell::text(label.unwrap_or("mean"))];
        cells.extend(SHOWN.iter().map(|(name, _)| cell(name, value(&scored, place, name))));
        sheet.push(cells);
    }
    sheet.without_empty_columns(5)
}

/// A metric's value in a group.
fn value(rows: &[&MetricRow], group: ScoreGroup, metric: &str) -> Option<f64> {
    rows.iter().find(|row| row.found.metric == metric && place(row) == group)?.found.value
}

fn is_score(row: &MetricRow) -> bool {
    let shown = SHOWN.iter().any(|(name, _)| *name == row.found.metric);
    shown && Kind::yields_of(&row.kind).is_scores() && row.is_final() && !row.found.measured
}

fn place(row: &MetricRow) -> ScoreGroup<'_> {
    let found = &row.found;
    (&row.stage, found.split.as_deref(), found.grid.as_deref(), found.label.as_deref())
}

/// Groups in order of appearance, omitting means over a single label.
fn places<'a>(rows: &[&'a MetricRow]) -> Vec<ScoreGroup<'a>> {
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

/// Counts as integers; zero error counts as empty cells.
fn cell(metric: &str, value: Option<f64>) -> Cell {
    match (metric, value) {
        ("missed" | "false_positive", Some(0.0)) => Cell::Empty,
        ("n" | "missed" | "false_positive", Some(count)) if count >= 0.0 => {
            Cell::Count(count as u64)
        }
        (_, value) => value.into(),
    }
}

/// Headline score with its stage: mean Dice from the last test, else the last validation, else
/// validation during training.
pub fn headline(rows: &[MetricRow]) -> Option<(&str, f64)> {
    headline_of(rows.iter().map(|row| (&*row.stage, &*row.kind, &row.found)))
}

/// [`headline`] for (stage, kind, metric) rows.
pub(super) fn headline_of<'a>(
    rows: impl DoubleEndedIterator<Item = (&'a str, &'a str, &'a Metric)> + Clone,
) -> Option<(&'a str, f64)> {
    let dice = |wanted: Yields, grid: Option<&str>| {
        rows.clone().rev().find_map(|(stage, kind, found)| {
            let mean = found.metric == "dice" && found.label.is_none() && found.case.is_none();
            let of_kind = Kind::yields_of(kind) == wanted;
            let fits = of_kind && mean && (grid.is_none() || found.grid.as_deref() == grid);
            found.value.filter(|_| fits).map(|value| (stage, value))
        })
    };
    Yields::HEADLINE.into_iter().find_map(|yields| {
        GRIDS.iter().find_map(|grid| dice(yields, Some(grid))).or_else(|| dice(yields, None))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::tests::example;

    #[test]
    fn each_label_has_a_row_and_the_mean_comes_where_there_are_several() {
        let mut rows = example("r1", 0.9).metrics;
        let one = "\
scores
stage  cases    grid      label     dice  n
────────────────────────────────────────────
final  testing  original  spleen  0.9000  6
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
        let labels: Vec<Cell> = scores(&rows).rows.iter().map(|row| row[3].clone()).collect();
        assert_eq!(labels, ["spleen", "mean", "liver"].map(Cell::text));
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
}
