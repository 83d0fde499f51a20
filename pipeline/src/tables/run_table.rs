//! Runs as rows, with differing parameters and results as columns.

use super::column::{self, Column, Datum};
use super::score_at_time;
use super::summary::{RunSummary, unequal_test_sets};
use crate::runs::short;
use crate::text_table::{Cell, TextTable};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use voxflow_stages::Kind;
use voxflow_stages::stage::{Yields, fold_of_id};

/// Metrics shown per scoring stage by default.
const SHOWN: [&str; 3] = ["dice", "hd95_mm", "surface_dice"];
/// Count of structures with empty predictions; shown if nonzero.
const MISSED: &str = "missed";
/// Maximum number of parameters shown.
const MOST_PARAMS: usize = 8;

/// Runs with their columns.
#[derive(Clone, Debug)]
pub struct RunTable {
    pub runs: Vec<RunSummary>,
    /// Run to compare against.
    pub baseline: Option<RunSummary>,
    /// Parameters that differ.
    params: Vec<Column>,
    metrics: Vec<Column>,
    /// Names of all parameters, including equal ones.
    known: BTreeSet<String>,
    /// Number of identical runs folded into a run, by its id.
    pub repeats: BTreeMap<String, usize>,
}

impl RunTable {
    /// Table with all differing parameters and metrics; `measured` includes times and memory.
    pub fn new(runs: Vec<RunSummary>, baseline: Option<RunSummary>, measured: bool) -> RunTable {
        let mut params = column::params(&runs);
        let known = params.iter().map(|param| param.name().to_string()).collect();
        params.retain(|param| runs.iter().any(|run| param.of(run) != param.of(&runs[0])));
        let mut metrics = column::metrics(&runs);
        metrics.retain(|metric| {
            let found = runs.iter().find_map(|run| metric.metric(run));
            measured || !found.is_some_and(|one| one.found.measured)
        });
        RunTable { runs, baseline, params, metrics, known, repeats: BTreeMap::new() }
    }

    /// Short table with differences from the first run.
    pub fn in_short(runs: &[RunSummary]) -> TextTable {
        let mut roster = RunTable::new(runs.to_vec(), runs.first().cloned(), false);
        roster.for_people();
        roster.sheet(true)
    }

    /// Columns of a score at a time, of the stages wanted: those to compare runs by, and those of
    /// single folds.
    pub fn scores_at(
        &self,
        metric: &str,
        is_wanted: impl Fn(&str) -> bool,
    ) -> (Vec<Column>, Vec<Column>) {
        let mean = score_at_time::mean_name(metric);
        let columns = column::metrics(&self.runs).into_iter().filter(|column| {
            let one = self.runs.iter().find_map(|run| column.metric(run));
            one.is_some_and(|one| {
                [metric, &mean].contains(&&*one.found.metric) && is_wanted(&one.stage)
            })
        });
        let end = format!(".{metric}");
        columns.partition(|column| {
            column.name().strip_suffix(&end).is_none_or(|stage| fold_of_id(stage).is_none())
        })
    }

    /// Shows these metrics first, whatever else is shown.
    pub fn show_first(&mut self, first: Vec<Column>) {
        self.metrics.retain(|column| !first.contains(column));
        self.metrics.splice(0..0, first);
    }

    /// Keeps only metrics of these stages.
    pub fn only_stages(&mut self, is_wanted: impl Fn(&str) -> bool) {
        let runs = &self.runs;
        self.metrics.retain(|metric| {
            let found = runs.iter().find_map(|run| metric.metric(run));
            found.is_none_or(|one| is_wanted(&one.stage))
        });
    }

    /// Keeps only these metrics, by column or metric name.
    pub fn only(&mut self, names: &[String]) {
        self.metrics.retain(|metric| {
            let column = metric.name();
            names.iter().any(|name| column == name || column.ends_with(&format!(".{name}")))
        });
    }

    /// Keeps mean scores on validation and testing cases (else the training's) and few parameters;
    /// returns the number of omitted parameters.
    pub fn for_people(&mut self) -> usize {
        let shown =
            self.means(&[Yields::ValidationScores, Yields::TestScores, Yields::ForeignScores]);
        self.metrics = if shown.is_empty() { self.means(&[Yields::Curves]) } else { shown };
        self.few_params()
    }

    /// Columns with mean scores over labels, from kinds yielding any of `wanted`.
    fn means(&self, wanted: &[Yields]) -> Vec<Column> {
        let columns = self.metrics.iter().filter(|metric| {
            let one = self.runs.iter().find_map(|run| metric.metric(run));
            one.is_some_and(|one| {
                let name = one.found.metric.as_str();
                let is_shown = SHOWN.contains(&name) || (name == MISSED && self.misses(metric));
                let is_mean = one.found.label.is_none() && is_shown;
                is_mean && wanted.contains(&Kind::yields_of(&one.kind))
            })
        });
        columns.cloned().collect()
    }

    /// True if any run missed structures; its other means then cover fewer cases.
    fn misses(&self, column: &Column) -> bool {
        let values = self.runs.iter().filter_map(|run| column.metric(run)?.found.value);
        values.into_iter().any(|missed| missed > 0.0)
    }

    /// Truncates parameters to [`MOST_PARAMS`]; returns the number omitted.
    pub fn few_params(&mut self) -> usize {
        let more = self.params.len().saturating_sub(MOST_PARAMS);
        self.params.truncate(MOST_PARAMS);
        more
    }

    /// Sorts by a column: best first, text alphabetically, runs without value last.
    pub fn sort(&mut self, by: &Column, reverse: bool) {
        let metric = matches!(by, Column::Metric(_)) && !by.is_better_low();
        let falling = metric != reverse;
        self.runs.sort_by(|one, two| match (by.of(one), by.of(two)) {
            (Some(a), Some(b)) if falling => b.order(&a),
            (Some(a), Some(b)) => a.order(&b),
            (one, two) => one.is_none().cmp(&two.is_none()),
        });
    }

    /// Rows; `people` selects short run names and marks the baseline.
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
            let mut row = vec![Cell::text(self.name(run, people))];
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

impl RunTable {
    fn name(&self, run: &RunSummary, people: bool) -> String {
        let is_baseline = self.baseline.as_ref().is_some_and(|baseline| baseline.run == run.run);
        let repeats = self.repeats.get(&run.run).filter(|count| **count > 0);
        let repeats = repeats.map(|count| format!(" (+{count})")).unwrap_or_default();
        match (people, is_baseline) {
            (false, _) => run.run.clone(),
            (true, false) => format!("{}{repeats}", short(&run.run)),
            (true, true) => format!("{}{repeats} (baseline)", short(&run.run)),
        }
    }
}

fn difference(metric: &Column, run: &RunSummary, baseline: &RunSummary) -> Cell {
    match (metric.of(run), metric.of(baseline)) {
        (Some(Datum::Number(value)), Some(Datum::Number(before))) if run.run != baseline.run => {
            Cell::Change(value - before)
        }
        _ => Cell::Empty,
    }
}

impl Datum {
    pub fn cell(self) -> Cell {
        match self {
            Datum::Number(number) => Cell::Number(number),
            Datum::Words(words) => Cell::text(words),
        }
    }

    /// Numbers by size and before text; text alphabetically.
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
        let runs: Vec<RunSummary> = home
            .all_runs()
            .expect("runs")
            .iter()
            .map(|folder| RunSummary::read(folder).expect("a summary"))
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
    fn folded_runs_are_counted_and_stages_can_be_chosen() {
        let mut roster = roster(false);
        roster.repeats = [("20260101-000000-demo-abc123".to_string(), 2)].into();
        roster.only_stages(|stage| stage == "model");
        let sheet = roster.sheet(true);
        assert_eq!(sheet.rows[0][0], Cell::text("abc123 (+2)"));
        assert!(sheet.columns.contains(&"model.dice".to_string()), "{:?}", sheet.columns);
        assert!(!sheet.columns.iter().any(|name| name.starts_with("final")), "{:?}", sheet.columns);
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
