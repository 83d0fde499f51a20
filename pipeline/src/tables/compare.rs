//! Comparing runs: differing parameters, and final metrics against the first run.

use super::column::metric_name;
use super::summary::{Final, MetricKey, Param, RunSummary, metric_key, unequal_test_sets};
use super::table::Tables;
use crate::statistics::Interval;
use crate::text_table::{Cell, TextTable};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use voxflow_stages::stage::Yields;
use voxflow_stages::{Kind, Metric};

/// Metrics beside Dice that people see where they differ.
const MAIN: [&str; 4] = ["hd95_mm", "surface_dice", "missed", "false_positive"];
const ROUNDTRIP: &str = "roundtrip";

/// A run in a per-case comparison.
#[derive(Clone, Debug)]
pub struct Side {
    pub name: String,
    pub tables: Tables,
}

/// A differing parameter with its value per run, if any.
#[derive(Clone, Debug, PartialEq)]
pub struct ParamLine {
    pub stage: String,
    pub key: String,
    pub values: Vec<Option<String>>,
}

/// A final metric with its value per run.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricLine {
    pub stage: String,
    pub kind: String,
    /// Metric with split, label and grid; other fields are ignored.
    pub what: Metric,
    pub values: Vec<Option<f64>>,
}

/// Two or more runs; the first is the baseline.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    pub runs: Vec<String>,
    /// Parameters that are not equal in all runs.
    pub params: Vec<ParamLine>,
    /// Summary metrics, at the last epoch for curves.
    pub metrics: Vec<MetricLine>,
    /// Testing set per run.
    pub test_sets: Vec<Option<String>>,
    /// Note on different testing sets.
    pub note: Option<&'static str>,
}

impl Comparison {
    /// Compares runs under these names; `measured` includes times, speeds and memory.
    pub fn of(names: &[&str], runs: &[RunSummary], measured: bool) -> Comparison {
        Comparison {
            runs: names.iter().map(|name| name.to_string()).collect(),
            params: differing(runs),
            metrics: finals(runs, measured),
            test_sets: runs.iter().map(|run| run.test_set.clone()).collect(),
            note: unequal_test_sets(runs),
        }
    }

    /// Differing parameters, one per row.
    pub fn params_sheet(&self) -> TextTable {
        let columns =
            ["stage", "parameter"].map(String::from).into_iter().chain(self.runs.iter().cloned());
        let mut sheet = TextTable::new("parameters that differ", columns);
        for line in &self.params {
            let place = [Cell::text(&line.stage), Cell::text(&line.key)];
            sheet.push(
                place
                    .into_iter()
                    .chain(line.values.iter().map(|value| value.as_deref().into()))
                    .collect(),
            );
        }
        sheet
    }

    /// Final metrics, with differences from the first run; means with their standard deviations.
    pub fn metrics_sheet(&self, lines: &[MetricLine]) -> TextTable {
        let mut columns = ["stage", "split", "label", "grid", "metric"].map(String::from).to_vec();
        for (at, run) in self.runs.iter().enumerate() {
            columns.push(run.clone());
            if at > 0 {
                columns.push(format!("{run} − {}", self.runs[0]));
            }
        }
        let mut sheet = TextTable::new("final metrics", columns);
        for line in lines {
            let deviations = format!("{}_sd", line.what.metric);
            let deviations = self.metrics.iter().find(|other| {
                other.what.metric == deviations && other.place()[..4] == line.place()[..4]
            });
            sheet.push(line.cells(deviations));
        }
        sheet
    }

    /// Lines for people: mean Dice on validation and testing cases, and differing main scores. For
    /// runs without scored cases, the training's Dice.
    pub fn main_lines(&self) -> Vec<MetricLine> {
        let scores = self.main_lines_of(&[
            Yields::ValidationScores,
            Yields::TestScores,
            Yields::ForeignScores,
        ]);
        if scores.is_empty() { self.main_lines_of(&[Yields::Curves]) } else { scores }
    }

    fn main_lines_of(&self, wanted: &[Yields]) -> Vec<MetricLine> {
        let lines =
            self.metrics.iter().filter(|line| wanted.contains(&Kind::yields_of(&line.kind)));
        lines.filter(|line| self.is_main(line)).cloned().collect()
    }

    fn is_main(&self, line: &MetricLine) -> bool {
        let what = &line.what;
        let is_dice = what.metric == "dice";
        let is_shown = is_dice || MAIN.contains(&what.metric.as_str());
        match &what.label {
            _ if !is_shown || what.grid.as_deref() == Some(ROUNDTRIP) => false,
            None => is_dice || line.differs(),
            Some(_) => is_dice && line.differs() && !self.is_only_label(line),
        }
    }

    /// True if the 95 % intervals of a mean overlap in a run and the first; `None` without
    /// intervals.
    pub fn intervals_overlap(&self, line: &MetricLine, at: usize) -> Option<bool> {
        Some(self.interval(line, 0)?.overlaps(&self.interval(line, at)?))
    }

    /// The 95 % interval of a mean in a run.
    fn interval(&self, line: &MetricLine, at: usize) -> Option<Interval> {
        let low = self.value_beside(line, "_ci_low", at)?;
        Some(Interval { low, high: self.value_beside(line, "_ci_high", at)? })
    }

    /// The value of a metric that is named after another, at the same place.
    fn value_beside(&self, line: &MetricLine, suffix: &str, at: usize) -> Option<f64> {
        let metric = format!("{}{suffix}", line.what.metric);
        let beside = self
            .metrics
            .iter()
            .find(|other| other.what.metric == metric && other.place()[..4] == line.place()[..4]);
        beside?.values[at]
    }

    /// True if the mean over labels is this label's.
    fn is_only_label(&self, line: &MetricLine) -> bool {
        let labels = self.metrics.iter().filter(|other| {
            let (what, other) = (&line.what, &other.what);
            other.label.is_some()
                && (&other.metric, &other.split, &other.grid)
                    == (&what.metric, &what.split, &what.grid)
        });
        labels.filter(|other| other.stage == line.stage).count() == 1
    }

    pub fn json(&self) -> Value {
        json!({
            "runs": self.runs,
            "baseline": self.runs.first(),
            "test_sets": self.by_run(&self.test_sets),
            "note": self.note,
            "params": self.params.iter().map(|line| self.param_json(line)).collect::<Vec<_>>(),
            "metrics": self.metrics.iter().map(|line| self.metric_json(line)).collect::<Vec<_>>(),
        })
    }

    fn param_json(&self, line: &ParamLine) -> Value {
        json!({"stage": line.stage, "key": line.key, "values": self.by_run(&line.values)})
    }

    fn metric_json(&self, line: &MetricLine) -> Value {
        let what = &line.what;
        let differences: Vec<_> = (0..self.runs.len()).map(|at| line.difference(at)).collect();
        json!({
            "stage": line.stage, "split": what.split, "label": what.label, "grid": what.grid,
            "metric": what.metric, "measured": what.measured,
            "values": self.by_run(&line.values), "differences": self.by_run(&differences),
        })
    }

    /// Values by the run's name.
    fn by_run<T: Serialize>(&self, values: &[T]) -> Value {
        let values = values.iter().map(|value| json!(value));
        Value::Object(self.runs.iter().cloned().zip(values).collect())
    }
}

impl MetricLine {
    /// True if any name matches the metric or its column.
    pub fn is_named(&self, names: &[String]) -> bool {
        let column = metric_name(&self.stage, &self.what);
        names.iter().any(|name| *name == self.what.metric || *name == column)
    }

    pub fn differs(&self) -> bool {
        self.values.iter().any(|value| *value != self.values[0])
    }

    /// Difference from the first run; `None` for the first itself.
    pub fn difference(&self, at: usize) -> Option<f64> {
        if at == 0 { None } else { Some(self.values[at]? - self.values[0]?) }
    }

    fn place(&self) -> [Cell; 5] {
        let what = &self.what;
        [
            Cell::text(&self.stage),
            what.split.as_deref().into(),
            what.label.as_deref().into(),
            what.grid.as_deref().into(),
            Cell::text(&what.metric),
        ]
    }

    fn cells(&self, deviations: Option<&MetricLine>) -> Vec<Cell> {
        let mut cells = self.place().to_vec();
        for (at, value) in self.values.iter().enumerate() {
            let sd = deviations.and_then(|line| line.values[at]);
            cells.push(value.map_or(Cell::Empty, |mean| Cell::Spread { mean, sd }));
            if at > 0 {
                cells.push(self.difference(at).map_or(Cell::Empty, Cell::Change));
            }
        }
        cells
    }
}

/// Parameters differing between runs, in the first run's stage order.
fn differing(runs: &[RunSummary]) -> Vec<ParamLine> {
    fn place(param: &Param) -> (&str, &str) {
        (&param.stage, &param.key)
    }
    let lookup: Vec<BTreeMap<(&str, &str), &str>> = runs
        .iter()
        .map(|run| run.params.iter().map(|param| (place(param), &*param.value)).collect())
        .collect();
    let mut lines = vec![];
    for (stage, key) in in_order(runs.iter().flat_map(|run| &run.params).map(place)) {
        let values: Vec<Option<&str>> =
            lookup.iter().map(|params| params.get(&(stage, key)).copied()).collect();
        if values.iter().any(|value| *value != values[0]) {
            let values = values.into_iter().map(|value| value.map(str::to_string)).collect();
            lines.push(ParamLine { stage: stage.into(), key: key.into(), values });
        }
    }
    lines
}

fn finals(runs: &[RunSummary], measured: bool) -> Vec<MetricLine> {
    let of = |run| {
        RunSummary::finals_of(run, measured).map(|one| (metric_key(&one.stage, &one.found), one))
    };
    let lookup: Vec<BTreeMap<MetricKey, &Final>> =
        runs.iter().map(|run| of(run).collect()).collect();
    in_order(runs.iter().flat_map(of).map(|(at, _)| at))
        .into_iter()
        .filter_map(|at| {
            let rows: Vec<Option<&&Final>> = lookup.iter().map(|rows| rows.get(&at)).collect();
            let first = &rows.iter().flatten().next()?.found;
            Some(MetricLine {
                stage: at.0.into(),
                kind: rows.iter().flatten().next()?.kind.clone(),
                what: Metric { value: None, ..first.clone() },
                values: rows.iter().map(|row| row.and_then(|row| row.found.value)).collect(),
            })
        })
        .collect()
}

/// Distinct items in order of appearance.
fn in_order<T: Ord + Copy>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut seen = std::collections::BTreeSet::new();
    items.filter(|item| seen.insert(*item)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs;
    use crate::tables::tests::example;

    fn side(name: &str, dice: f64) -> RunSummary {
        let tables = example(name, dice);
        let mut record = runs::tests::record(name, "demo", 0);
        record.stages[0].params["optimizer"]["learning_rate"] = json!(dice);
        RunSummary::of(&record, &tables.metrics)
    }

    fn two() -> Comparison {
        Comparison::of(&["a1", "b2"], &[side("a1", 0.5), side("b2", 0.75)], false)
    }

    #[test]
    fn only_parameters_that_differ_are_listed() {
        let lines = two().params;
        assert_eq!(lines.len(), 1);
        assert_eq!(
            (lines[0].stage.as_str(), lines[0].key.as_str()),
            ("model", "optimizer.learning_rate")
        );
        assert_eq!(lines[0].values, [Some("0.5".to_string()), Some("0.75".to_string())]);
    }

    #[test]
    fn metrics_are_summaries_with_the_last_epoch_and_the_difference_from_the_first_run() {
        let comparison = two();
        let shown: Vec<(String, Vec<Option<f64>>)> = comparison
            .metrics
            .iter()
            .map(|line| (line.what.metric.clone(), line.values.clone()))
            .collect();
        let dice = |a, b| ("dice".to_string(), vec![Some(a), Some(b)]);
        let expected = vec![
            dice(0.75, 0.75),
            dice(0.5, 0.75),
            ("hd95_mm".to_string(), vec![None, None]),
            ("n".to_string(), vec![Some(6.0), Some(6.0)]),
            dice(0.5, 0.75),
        ];
        assert_eq!(shown, expected);
        assert_eq!(comparison.metrics[1].difference(0), None);
        assert_eq!(comparison.metrics[1].difference(1), Some(0.25));
        assert_eq!(comparison.metrics[2].difference(1), None);
    }

    #[test]
    fn the_text_shows_each_difference_with_its_sign() {
        let comparison = two();
        let text = comparison.metrics_sheet(&comparison.metrics).text(None);
        assert!(text.contains("+0.2500"), "{text}");
        assert_eq!(
            comparison.params_sheet().csv(),
            "stage,parameter,a1,b2\nmodel,optimizer.learning_rate,0.5,0.75\n"
        );
    }

    #[test]
    fn the_json_names_values_by_run() {
        let json = two().json();
        assert_eq!(json["baseline"], "a1");
        assert_eq!(json["metrics"][1]["values"], json!({"a1": 0.5, "b2": 0.75}));
        assert_eq!(json["metrics"][1]["differences"], json!({"a1": null, "b2": 0.25}));
    }

    #[test]
    fn people_see_the_mean_dice_and_of_the_rest_what_differs() {
        let shown = |comparison: &Comparison| -> Vec<String> {
            let lines = comparison.main_lines();
            lines.iter().map(|line| metric_name(&line.stage, &line.what)).collect()
        };
        assert_eq!(shown(&two()), ["final.dice"], "one label says what the mean says");
        let equal = Comparison::of(&["a1", "b2"], &[side("a1", 0.5), side("b2", 0.5)], false);
        assert_eq!(shown(&equal), ["final.dice"], "the score one came for, though equal");
        let mut distances = two();
        let mut line = distances.metrics[2].clone();
        (line.what.label, line.values) = (None, vec![Some(4.0), None]);
        distances.metrics.push(line);
        assert_eq!(shown(&distances), ["final.dice", "final.hd95_mm"]);
    }

    #[test]
    fn a_mean_stands_with_its_deviation() {
        let mut comparison = two();
        let mut line = comparison.metrics[4].clone();
        (line.what.metric, line.values) = ("dice_sd".into(), vec![Some(0.05), Some(0.06)]);
        comparison.metrics.push(line);
        let text = comparison.metrics_sheet(&comparison.main_lines()).text(None);
        assert!(text.contains("0.5000 ± 0.0500") && text.contains("0.7500 ± 0.0600"), "{text}");
    }

    #[test]
    fn intervals_of_a_mean_overlap_or_are_not_known() {
        let mut comparison = two();
        let dice = comparison.metrics[4].clone();
        assert_eq!(comparison.intervals_overlap(&dice, 1), None);
        for (metric, values) in [("dice_ci_low", [0.4, 0.55]), ("dice_ci_high", [0.6, 0.9])] {
            let mut line = dice.clone();
            (line.what.metric, line.values) = (metric.into(), values.map(Some).to_vec());
            comparison.metrics.push(line);
        }
        assert_eq!(comparison.intervals_overlap(&dice, 1), Some(true));
        comparison.metrics[5].values[1] = Some(0.7);
        assert_eq!(comparison.intervals_overlap(&dice, 1), Some(false));
    }

    #[test]
    fn measurements_are_compared_on_demand() {
        let sides = [side("a1", 0.5), side("b2", 0.5)];
        let has = |measured| {
            Comparison::of(&["a1", "b2"], &sides, measured)
                .metrics
                .iter()
                .any(|line| line.what.measured)
        };
        assert!(has(true) && !has(false));
    }
}
