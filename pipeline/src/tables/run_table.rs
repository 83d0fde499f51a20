//! A roster: many runs, one a row, with what differs among them and what they found.

use super::column::{self, Column, Datum};
use super::summary::{Summary, unequal_test_sets};
use crate::runs::short;
use crate::text_table::{Cell, TextTable};
use std::cmp::Ordering;
use std::collections::BTreeSet;
use voxflow_stages::Kind;
use voxflow_stages::stage::Yields;

/// The metrics that people see of each scoring stage, unless they name others.
const SHOWN: [&str; 3] = ["dice", "hd95_mm", "surface_dice"];
/// Structures whose prediction is empty; shown where there are any.
const MISSED: &str = "missed";
/// The most parameters that people see.
const MOST_PARAMS: usize = 8;

/// Runs and the columns over them.
#[derive(Clone, Debug)]
pub struct RunTable {
    /// The runs in their order.
    pub runs: Vec<Summary>,
    /// The run that others are compared with.
    pub baseline: Option<Summary>,
    /// Parameters that differ.
    params: Vec<Column>,
    /// Final metrics.
    metrics: Vec<Column>,
    /// The names of all parameters, those that do not differ included.
    known: BTreeSet<String>,
}

impl RunTable {
    /// The runs with all parameters that differ and all metrics; with `measured` times and memory
    /// too.
    pub fn new(runs: Vec<Summary>, baseline: Option<Summary>, measured: bool) -> RunTable {
        let differs =
            |column: &Column| runs.iter().any(|run| column.of(run) != column.of(&runs[0]));
        let params = column::params(&runs);
        let known = params.iter().map(|param| param.name().to_string()).collect();
        let params = params.into_iter().filter(differs).collect();
        let mut metrics = column::metrics(&runs);
        let is_measured = |metric: &Column| {
            runs.iter().find_map(|run| metric.metric(run)).is_some_and(|one| one.found.measured)
        };
        metrics.retain(|metric| measured || !is_measured(metric));
        RunTable { runs, baseline, params, metrics, known }
    }

    /// A short table for people, with differences from the first run.
    pub fn in_short(runs: &[Summary]) -> TextTable {
        let mut roster = RunTable::new(runs.to_vec(), runs.first().cloned(), false);
        roster.for_people();
        roster.sheet(true)
    }

    /// Keeps only these metrics, by the names of their columns or by the names of the metrics
    /// alone.
    pub fn only(&mut self, names: &[String]) {
        let ends = |column: &Column, name: &String| {
            column.name() == name || column.name().ends_with(&format!(".{name}"))
        };
        self.metrics.retain(|metric| names.iter().any(|name| ends(metric, name)));
    }

    /// Keeps mean scores on validation and testing cases, else of the training, and few parameters.
    /// Gives how many parameters are left out.
    pub fn for_people(&mut self) -> usize {
        let of_kinds = |wanted: &[Yields]| -> Vec<Column> {
            let fits = |metric: &&Column| {
                let one = self.runs.iter().find_map(|run| metric.metric(run));
                one.is_some_and(|one| {
                    let name = one.found.metric.as_str();
                    let is_shown = SHOWN.contains(&name) || (name == MISSED && self.misses(metric));
                    let mean = one.found.label.is_none() && is_shown;
                    mean && wanted.contains(&Kind::yields_of(&one.kind))
                })
            };
            self.metrics.iter().filter(fits).cloned().collect()
        };
        let shown = of_kinds(&[Yields::ValidationScores, Yields::TestScores]);
        self.metrics = if shown.is_empty() { of_kinds(&[Yields::Curves]) } else { shown };
        self.few_params()
    }

    /// True if a count of missed structures is above 0 in any run: its other scores then are means
    /// over fewer cases.
    fn misses(&self, column: &Column) -> bool {
        let values = self.runs.iter().filter_map(|run| column.metric(run)?.found.value);
        values.into_iter().any(|missed| missed > 0.0)
    }

    /// Keeps as many parameters as people can take in. Gives how many are left out.
    pub fn few_params(&mut self) -> usize {
        let more = self.params.len().saturating_sub(MOST_PARAMS);
        self.params.truncate(MOST_PARAMS);
        more
    }

    /// Sorts by a column: what is better first, words by the alphabet, runs without a value last.
    pub fn sort(&mut self, by: &Column, reverse: bool) {
        let metric = matches!(by, Column::Metric(_)) && !by.is_better_low();
        let falling = metric != reverse;
        self.runs.sort_by(|one, two| match (by.of(one), by.of(two)) {
            (Some(a), Some(b)) if falling => b.order(&a),
            (Some(a), Some(b)) => a.order(&b),
            (one, two) => one.is_none().cmp(&two.is_none()),
        });
    }

    /// The runs as rows. For people runs have short names, and the baseline is marked.
    pub fn sheet(&self, people: bool) -> TextTable {
        let workflows = self.runs.iter().any(|run| run.workflow != self.runs[0].workflow);
        let mut columns = vec!["run".to_string()];
        columns.extend((workflows || !people).then(|| "workflow".to_string()));
        columns.push("outcome".to_string());
        let test_sets = unequal_test_sets(&self.runs).is_some();
        columns.extend(test_sets.then(|| "test set".to_string()));
        columns.extend(self.params.iter().map(|param| param.name().to_string()));
        for metric in &self.metrics {
            let heading = metric.heading(&self.known);
            columns.push(heading.clone());
            columns.extend(self.baseline.as_ref().map(|_| format!("Δ {heading}")));
        }
        let mut sheet = TextTable::new("", columns);
        for run in &self.runs {
            let name = if people { short(&run.run) } else { &run.run };
            let is_baseline =
                people && self.baseline.as_ref().is_some_and(|baseline| baseline.run == run.run);
            let mut row = vec![Cell::text(if is_baseline {
                format!("{name} (baseline)")
            } else {
                name.to_string()
            })];
            row.extend((workflows || !people).then(|| Cell::text(&run.workflow)));
            row.push(Cell::text(run.outcome.word()));
            row.extend(test_sets.then(|| run.test_set.as_deref().into()));
            row.extend(self.params.iter().map(|param| match param.of(run) {
                Some(Datum::Number(_)) if people => {
                    Cell::text(param.written(run).unwrap_or_default())
                }
                value => value.map_or(Cell::Empty, Datum::cell),
            }));
            for metric in &self.metrics {
                row.push(metric.of(run).map_or(Cell::Empty, Datum::cell));
                row.extend(
                    self.baseline.as_ref().map(|baseline| difference(metric, run, baseline)),
                );
            }
            sheet.push(row);
        }
        sheet
    }
}

fn difference(metric: &Column, run: &Summary, baseline: &Summary) -> Cell {
    match (metric.of(run), metric.of(baseline)) {
        (Some(Datum::Number(value)), Some(Datum::Number(before))) if run.run != baseline.run => {
            Cell::Change(value - before)
        }
        _ => Cell::Empty,
    }
}

impl Datum {
    /// As a cell of a sheet.
    pub fn cell(self) -> Cell {
        match self {
            Datum::Number(number) => Cell::Number(number),
            Datum::Words(words) => Cell::text(words),
        }
    }

    /// Numbers by size and before words, words by the alphabet.
    pub fn order(&self, other: &Datum) -> Ordering {
        match (self, other) {
            (Datum::Number(a), Datum::Number(b)) => a.total_cmp(b),
            (Datum::Words(a), Datum::Words(b)) => a.cmp(b),
            (Datum::Number(_), Datum::Words(_)) => Ordering::Less,
            (Datum::Words(_), Datum::Number(_)) => Ordering::Greater,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs;

    fn roster(baseline: bool) -> RunTable {
        let base = tempfile::tempdir().expect("a folder");
        let home = runs::tests::home(base.path());
        let runs: Vec<Summary> = home
            .all_runs()
            .expect("runs")
            .iter()
            .map(|folder| Summary::read(folder).expect("a summary"))
            .collect();
        let first = baseline.then(|| runs[0].clone());
        RunTable::new(runs, first, false)
    }

    #[test]
    fn people_see_a_row_for_each_run_with_the_best_first() {
        let mut roster = roster(true);
        roster.for_people();
        let by = Column::Metric("final.dice".into());
        roster.sort(&by, false);
        let expected = "\
run                workflow  outcome  model.optimizer.learning_rate  final.dice  Δ final.dice
──────────────────────────────────────────────────────────────────────────────────────────────
77ffee             spleen    done     0.9                                0.9000       +0.4000
abd456             demo      done     0.75                               0.7500       +0.2500
abc123 (baseline)  demo      done     0.5                                0.5000             –
";
        let text = roster.sheet(true).text(None);
        assert_eq!(text, expected, "\n{text}");
    }

    #[test]
    fn programs_get_every_metric_and_whole_ids() {
        let sheet = roster(false).sheet(false);
        assert_eq!(
            sheet.columns[..4],
            ["run", "workflow", "outcome", "model.optimizer.learning_rate"]
        );
        assert!(sheet.columns.contains(&"final.spleen.dice".to_string()), "{:?}", sheet.columns);
        assert_eq!(sheet.rows[0][0], Cell::text("20260101-000000-demo-abc123"));
    }
}
