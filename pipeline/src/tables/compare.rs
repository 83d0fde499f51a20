//! A comparison of runs: the parameters that differ, and the final metrics against the first run.

use super::{MetricRow, ParamRow, Tables};
use crate::sheet::{Cell, Sheet};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use voxflow_stages::Metric;

/// One of the runs that are compared.
#[derive(Clone, Debug)]
pub struct Side {
    /// How it is called in the comparison.
    pub name: String,
    /// Its tables.
    pub tables: Tables,
}

/// A parameter that differs: its place, and its value in each run (none where it is not there).
#[derive(Clone, Debug, PartialEq)]
pub struct ParamLine {
    /// The stage's id.
    pub stage: String,
    /// The dotted path.
    pub key: String,
    /// One for each run.
    pub values: Vec<Option<String>>,
}

/// A final metric: its place, and its value in each run.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricLine {
    /// The stage's id.
    pub stage: String,
    /// The metric, with split, label and grid; nothing else of it counts.
    pub what: Metric,
    /// One for each run.
    pub values: Vec<Option<f64>>,
}

/// Two or more runs side by side. The first is the baseline.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// The names of the runs.
    pub runs: Vec<String>,
    /// Parameters that are not equal in all of them.
    pub params: Vec<ParamLine>,
    /// Final metrics: summaries, the last epoch where there are epochs.
    pub metrics: Vec<MetricLine>,
}

impl Comparison {
    /// Compares runs. With `measured`, times, speeds and memory too.
    pub fn of(sides: &[Side], measured: bool) -> Comparison {
        Comparison {
            runs: sides.iter().map(|side| side.name.clone()).collect(),
            params: differing(sides),
            metrics: finals(sides, measured),
        }
    }

    /// The parameters that differ, one row each.
    pub fn params_sheet(&self) -> Sheet {
        let columns = ["stage", "parameter"].map(String::from).into_iter().chain(self.runs.iter().cloned());
        let mut sheet = Sheet::new("parameters that differ", columns);
        for line in &self.params {
            let place = [Cell::text(&line.stage), Cell::text(&line.key)];
            sheet.push(place.into_iter().chain(line.values.iter().map(|value| value.as_deref().into())).collect());
        }
        sheet
    }

    /// The final metrics, each further run with its difference from the first.
    pub fn metrics_sheet(&self) -> Sheet {
        let mut columns = ["stage", "split", "label", "grid", "metric"].map(String::from).to_vec();
        for (at, run) in self.runs.iter().enumerate() {
            columns.push(run.clone());
            if at > 0 {
                columns.push(format!("{run} − {}", self.runs[0]));
            }
        }
        let mut sheet = Sheet::new("final metrics", columns);
        for line in &self.metrics {
            sheet.push(line.cells());
        }
        sheet
    }

    /// Everything in long form for CSV: one row a value.
    pub fn long_sheet(&self) -> Sheet {
        let columns = ["run", "what", "stage", "split", "label", "grid", "name", "value", "difference"];
        let mut sheet = Sheet::new("", columns);
        for (at, run) in self.runs.iter().enumerate() {
            for line in &self.params {
                let place = [Cell::text(run), Cell::text("parameter"), Cell::text(&line.stage)];
                let value = line.values[at].as_deref().into();
                let rest = [Cell::Empty, Cell::Empty, Cell::Empty, Cell::text(&line.key), value, Cell::Empty];
                sheet.push(place.into_iter().chain(rest).collect());
            }
            for line in &self.metrics {
                let mut cells = vec![Cell::text(run), Cell::text("metric")];
                cells.extend(line.place());
                cells.extend([line.values[at].into(), line.difference(at).into()]);
                sheet.push(cells);
            }
        }
        sheet
    }

    /// The comparison as one object.
    pub fn json(&self) -> Value {
        let by_run = |values: Vec<Value>| -> Value { Value::Object(self.runs.iter().cloned().zip(values).collect()) };
        let param = |line: &ParamLine| {
            let values = by_run(line.values.iter().map(|value| json!(value)).collect());
            json!({"stage": line.stage, "key": line.key, "values": values})
        };
        let metric = |line: &MetricLine| {
            let values = by_run(line.values.iter().map(|value| json!(value)).collect());
            let differences = by_run((0..self.runs.len()).map(|at| json!(line.difference(at))).collect());
            json!({
                "stage": line.stage, "split": line.what.split, "label": line.what.label, "grid": line.what.grid,
                "metric": line.what.metric, "measured": line.what.measured,
                "values": values, "differences": differences,
            })
        };
        json!({
            "runs": self.runs,
            "baseline": self.runs.first(),
            "params": self.params.iter().map(param).collect::<Vec<_>>(),
            "metrics": self.metrics.iter().map(metric).collect::<Vec<_>>(),
        })
    }
}

impl MetricLine {
    /// The value of a run less that of the first; none for the first itself.
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

    fn cells(&self) -> Vec<Cell> {
        let mut cells = self.place().to_vec();
        for (at, value) in self.values.iter().enumerate() {
            cells.push((*value).into());
            if at > 0 {
                cells.push(self.difference(at).map_or(Cell::Empty, Cell::Change));
            }
        }
        cells
    }
}

/// The parameters whose values are not the same in all runs, stages in the order of the first run.
fn differing(sides: &[Side]) -> Vec<ParamLine> {
    let all = sides.iter().flat_map(|side| &side.tables.params);
    let lookup: Vec<BTreeMap<(&str, &str), &str>> = sides.iter().map(|side| by_place(&side.tables.params)).collect();
    let mut lines = vec![];
    for (stage, key) in in_order(all.map(|row| (row.stage.as_str(), row.key.as_str()))) {
        let values: Vec<Option<&str>> = lookup.iter().map(|params| params.get(&(stage, key)).copied()).collect();
        if values.iter().any(|value| *value != values[0]) {
            let values = values.into_iter().map(|value| value.map(str::to_string)).collect();
            lines.push(ParamLine { stage: stage.into(), key: key.into(), values });
        }
    }
    lines
}

fn by_place(rows: &[ParamRow]) -> BTreeMap<(&str, &str), &str> {
    rows.iter().map(|row| ((row.stage.as_str(), row.key.as_str()), row.value.as_str())).collect()
}

/// What makes two rows the same metric: stage, split, label, grid, name.
type Place<'a> = (&'a str, Option<&'a str>, Option<&'a str>, Option<&'a str>, &'a str);

fn place(row: &MetricRow) -> Place<'_> {
    let found = &row.found;
    (&row.stage, found.split.as_deref(), found.label.as_deref(), found.grid.as_deref(), &found.metric)
}

fn finals(sides: &[Side], measured: bool) -> Vec<MetricLine> {
    let counts = |row: &&MetricRow| row.is_summary() && (measured || !row.found.measured);
    let all = sides.iter().flat_map(|side| &side.tables.metrics).filter(counts);
    let lookup: Vec<BTreeMap<Place, &MetricRow>> =
        sides.iter().map(|side| last_of_each(side.tables.metrics.iter().filter(counts))).collect();
    let line = |at: Place| {
        let rows: Vec<Option<&&MetricRow>> = lookup.iter().map(|rows| rows.get(&at)).collect();
        let first = &rows.iter().flatten().next()?.found;
        Some(MetricLine {
            stage: at.0.into(),
            what: Metric { epoch: None, step: None, value: None, ..first.clone() },
            values: rows.iter().map(|row| row.and_then(|row| row.found.value)).collect(),
        })
    };
    in_order(all.map(place)).into_iter().filter_map(line).collect()
}

/// The row without an epoch, or else that of the last epoch.
fn last_of_each<'a>(rows: impl Iterator<Item = &'a MetricRow>) -> BTreeMap<Place<'a>, &'a MetricRow> {
    let mut last: BTreeMap<Place, &MetricRow> = BTreeMap::new();
    let rank = |row: &MetricRow| row.found.epoch.map_or(u64::MAX, u64::from);
    for row in rows {
        let kept = last.entry(place(row)).or_insert(row);
        if rank(row) >= rank(kept) {
            *kept = row;
        }
    }
    last
}

/// Each once, in the order in which they came first.
fn in_order<T: Ord + Copy>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut seen = std::collections::BTreeSet::new();
    items.filter(|item| seen.insert(*item)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::tests::example;

    fn two() -> Comparison {
        let side = |name: &str, dice| Side { name: name.into(), tables: example(name, dice) };
        Comparison::of(&[side("a1", 0.5), side("b2", 0.75)], false)
    }

    #[test]
    fn only_parameters_that_differ_are_listed() {
        let lines = two().params;
        assert_eq!(lines.len(), 1);
        assert_eq!((lines[0].stage.as_str(), lines[0].key.as_str()), ("model", "optimizer.learning_rate"));
        assert_eq!(lines[0].values, [Some("0.5".to_string()), Some("0.75".to_string())]);
    }

    #[test]
    fn metrics_are_summaries_with_the_last_epoch_and_the_difference_from_the_first_run() {
        let comparison = two();
        let shown: Vec<(String, Vec<Option<f64>>)> =
            comparison.metrics.iter().map(|line| (line.what.metric.clone(), line.values.clone())).collect();
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
        let text = comparison.metrics_sheet().text(None);
        assert!(text.contains("+0.2500"), "{text}");
        assert_eq!(comparison.params_sheet().csv(), "stage,parameter,a1,b2\nmodel,optimizer.learning_rate,0.5,0.75\n");
    }

    #[test]
    fn the_long_form_has_a_row_for_each_value() {
        let csv = two().long_sheet().csv();
        assert!(csv.starts_with("run,what,stage,split,label,grid,name,value,difference\n"));
        assert!(csv.contains("b2,metric,final,testing,spleen,original,dice,0.75,0.25\n"), "{csv}");
        assert!(csv.contains("a1,parameter,model,,,,optimizer.learning_rate,0.5,\n"), "{csv}");
    }

    #[test]
    fn the_json_names_values_by_run() {
        let json = two().json();
        assert_eq!(json["baseline"], "a1");
        assert_eq!(json["metrics"][1]["values"], json!({"a1": 0.5, "b2": 0.75}));
        assert_eq!(json["metrics"][1]["differences"], json!({"a1": null, "b2": 0.25}));
    }

    #[test]
    fn measurements_are_compared_on_demand() {
        let side = |name: &str| Side { name: name.into(), tables: example(name, 0.5) };
        let sides = [side("a1"), side("b2")];
        let has = |measured| Comparison::of(&sides, measured).metrics.iter().any(|line| line.what.measured);
        assert!(has(true) && !has(false));
    }
}
