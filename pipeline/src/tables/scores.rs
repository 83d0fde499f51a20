//! Scores for people: what `validate` and `test` found for each label, and the one number of a run.

use super::metrics::MetricRow;
use crate::sheet::{Cell, Sheet};

/// The metrics shown for each label, in this order, each with its heading. Others are left to `show`.
const SHOWN: [(&str, &str); 8] = [
    ("dice", "dice"),
    ("hd95_mm", "hd95 mm"),
    ("surface_dice", "surface dice"),
    ("volume_ml", "volume ml"),
    ("reference_ml", "reference ml"),
    ("n", "cases"),
    ("missed", "missed"),
    ("false_positive", "false positive"),
];

/// The grids in the order of their weight.
const GRIDS: [&str; 3] = ["original", "resampled", "roundtrip"];

/// Scores of each label, one sheet for each scoring stage and grid, in the order in which they came.
pub fn scores(rows: &[MetricRow]) -> Vec<Sheet> {
    let mut places: Vec<(&str, Option<&str>, Option<&str>)> = vec![];
    for row in rows.iter().filter(|row| is_score(row)) {
        let place = (row.stage.as_str(), row.found.split.as_deref(), row.found.grid.as_deref());
        if !places.contains(&place) {
            places.push(place);
        }
    }
    places.into_iter().map(|place| sheet(rows, place)).collect()
}

fn is_score(row: &MetricRow) -> bool {
    matches!(row.kind.as_str(), "validate" | "test") && row.is_final() && !row.found.measured
}

fn sheet(rows: &[MetricRow], (stage, split, grid): (&str, Option<&str>, Option<&str>)) -> Sheet {
    let here: Vec<&MetricRow> = rows
        .iter()
        .filter(|row| is_score(row) && row.stage == stage)
        .filter(|row| row.found.split.as_deref() == split && row.found.grid.as_deref() == grid)
        .collect();
    let words: Vec<String> = [split.map(|split| format!("{split} cases")), grid.map(|grid| format!("{grid} grid"))]
        .into_iter()
        .flatten()
        .collect();
    let title = if words.is_empty() { stage.to_string() } else { format!("{stage} ({})", words.join(", ")) };
    let mut sheet = Sheet::new(title, std::iter::once("label").chain(SHOWN.map(|(_, heading)| heading)));
    for label in labels(&here) {
        let value = |name: &str| {
            here.iter()
                .find(|row| row.found.label.as_deref() == label && row.found.metric == name)
                .map(|row| &row.found)
        };
        let cells = SHOWN.iter().map(|(name, _)| cell(name, value(name).and_then(|found| found.value)));
        sheet.push(std::iter::once(Cell::text(label.unwrap_or("mean"))).chain(cells).collect());
    }
    sheet.without_empty_columns(2)
}

/// The labels in the order in which they came, the summary over labels last.
fn labels<'a>(rows: &[&'a MetricRow]) -> Vec<Option<&'a str>> {
    let mut labels: Vec<Option<&str>> = vec![];
    for row in rows {
        let label = row.found.label.as_deref();
        if !labels.contains(&label) {
            labels.push(label);
        }
    }
    labels.sort_by_key(Option::is_none);
    labels
}

fn cell(metric: &str, value: Option<f64>) -> Cell {
    match (metric, value) {
        ("n" | "missed" | "false_positive", Some(count)) if count >= 0.0 => Cell::Count(count as u64),
        (_, value) => value.into(),
    }
}

/// The one number of a run: the mean Dice of its last test, or else of its last validation, or else
/// of the validation inside its training. With the stage that found it.
pub fn headline(rows: &[MetricRow]) -> Option<(&str, f64)> {
    let dice = |kind: &str, grid: Option<&str>| {
        rows.iter().rev().find_map(|row| {
            let fits = row.kind == kind && row.found.metric == "dice" && row.is_summary() && row.found.label.is_none();
            let fits = fits && (grid.is_none() || row.found.grid.as_deref() == grid);
            row.found.value.filter(|_| fits).map(|value| (row.stage.as_str(), value))
        })
    };
    ["test", "validate", "train"]
        .into_iter()
        .find_map(|kind| GRIDS.iter().find_map(|grid| dice(kind, Some(grid))).or_else(|| dice(kind, None)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::tests::example;

    #[test]
    fn each_label_has_a_row_and_the_mean_comes_last() {
        let sheets = scores(&example("r1", 0.9).metrics);
        assert_eq!(sheets.len(), 1);
        assert_eq!(
            sheets[0].text(None),
            "final (testing cases, original grid)\nlabel     dice  cases\n\
             ──────────────────────\nspleen  0.9000      6\nmean    0.9000      –\n"
        );
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
