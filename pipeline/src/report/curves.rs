//! Training curves, by epoch, by iteration and by training time.

use super::charts::{Chart, ChartView, Series};
use super::subject::RunSubject;
use std::collections::{BTreeMap, BTreeSet};
use voxflow_stages::stage::Yields;
use voxflow_stages::{Kind, Metric};

/// A chart's metrics, and its place on the page.
struct TrainingCurve {
    id: &'static str,
    title: &'static str,
    /// Each with its name in the legend, where there are several. Of several trainings, the first.
    metrics: &'static [(&'static str, &'static str)],
    /// The split of its rows; `None` for what belongs to no cases.
    split: Option<&'static str>,
    /// The divisor of values.
    unit: f64,
    /// A line for each label instead of their mean.
    by_label: bool,
    /// The largest value is marked.
    has_best: bool,
}

const TRAINING: Option<&str> = Some("training");
const VALIDATION: Option<&str> = Some("validation");
const MEGABYTE: f64 = 1e6;

const LOSS: &[(&str, &str)] = &[("loss", "")];
const DICE: &[(&str, &str)] = &[("dice", "")];
const MEMORY: &[(&str, &str)] = &[
    ("memory_bytes", "at the end of the epoch"),
    ("peak_memory_bytes", "peak"),
    ("peak_device_memory_bytes", "peak of the device"),
];

const CURVES: [TrainingCurve; 8] = [
    TrainingCurve::new("loss", "Training loss", LOSS, TRAINING),
    TrainingCurve {
        has_best: true,
        ..TrainingCurve::new("dice", "Validation mean Dice", DICE, VALIDATION)
    },
    TrainingCurve {
        by_label: true,
        ..TrainingCurve::new("labels", "Validation Dice by label", DICE, VALIDATION)
    },
    TrainingCurve::new("validation-loss", "Validation loss", LOSS, VALIDATION),
    TrainingCurve::new("rate", "Learning rate", &[("learning_rate", "")], TRAINING),
    TrainingCurve::new("norm", "Gradient norm", &[("gradient_norm", "")], TRAINING),
    TrainingCurve::new("speed", "Patches per second", &[("patches_per_second", "")], TRAINING),
    TrainingCurve { unit: MEGABYTE, ..TrainingCurve::new("memory", "Memory in MB", MEMORY, None) },
];

impl TrainingCurve {
    const fn new(
        id: &'static str,
        title: &'static str,
        metrics: &'static [(&'static str, &'static str)],
        split: Option<&'static str>,
    ) -> TrainingCurve {
        TrainingCurve { id, title, metrics, split, unit: 1.0, by_label: false, has_best: false }
    }

    /// The legend's name of a row's metric, if the row is one of this chart.
    fn line_of(&self, found: &Metric, is_alone: bool) -> Option<&'static str> {
        let fits = found.split.as_deref() == self.split
            && found.epoch.is_some()
            && found.case.is_none()
            && found.label.is_some() == self.by_label;
        let known = if is_alone { self.metrics } else { &self.metrics[..1] };
        let line = known.iter().find(|(metric, _)| fits && found.metric == *metric);
        line.map(|(_, name)| if is_alone { *name } else { "" })
    }
}

/// A value during training.
struct CurvePoint {
    epoch: f64,
    step: Option<f64>,
    /// Minutes of training and validation up to it.
    minutes: Option<f64>,
    value: f64,
}

/// A curve of one training.
struct CurveLine {
    name: String,
    colour: usize,
    points: Vec<CurvePoint>,
}

/// Names of the axes.
pub const EPOCH: &str = "epoch";
const ITERATION: &str = "iteration";
const MINUTES: &str = "training time in minutes";

/// Curves with at least one point. Dice by label is left out with one label, and beside other runs.
pub fn curves(subjects: &[RunSubject]) -> Vec<Chart> {
    let charts = CURVES.iter().map(|curve| chart(curve, &lines(curve, subjects)));
    charts
        .filter(|chart| !chart.view.at.is_empty())
        .filter(|chart| {
            chart.id != "labels" || (subjects.len() == 1 && chart.view.series.len() > 1)
        })
        .collect()
}

fn chart(curve: &TrainingCurve, lines: &[CurveLine]) -> Chart {
    let views = [
        view(lines, EPOCH, |point| Some(point.epoch)),
        view(lines, ITERATION, |point| point.step),
        view(lines, MINUTES, |point| point.minutes),
    ];
    let [view, others @ ..] = views;
    Chart {
        id: curve.id.to_string(),
        title: curve.title.to_string(),
        view,
        others: others.into_iter().filter(|view| !view.at.is_empty()).collect(),
        has_best: curve.has_best,
        ..Chart::default()
    }
}

/// All lines on one axis: a value, or a gap, at each place of any line.
fn view(lines: &[CurveLine], x: &str, place: fn(&CurvePoint) -> Option<f64>) -> ChartView {
    let placed = |line: &CurveLine| -> Vec<(f64, f64)> {
        line.points.iter().filter_map(|point| Some((place(point)?, point.value))).collect()
    };
    let lines: Vec<(&CurveLine, Vec<(f64, f64)>)> =
        lines.iter().map(|line| (line, placed(line))).collect();
    let mut at: Vec<f64> =
        lines.iter().flat_map(|(_, points)| points.iter().map(|(at, _)| *at)).collect();
    at.sort_by(f64::total_cmp);
    at.dedup();
    let series = lines.iter().map(|(line, points)| {
        let known: BTreeMap<u64, f64> =
            points.iter().map(|(at, value)| (at.to_bits(), *value)).collect();
        Series {
            name: line.name.clone(),
            few: points.len() <= FEW,
            colour: line.colour,
            values: at.iter().map(|at| known.get(&at.to_bits()).copied()).collect(),
        }
    });
    ChartView { x: x.to_string(), series: series.collect(), at }
}

/// Lines with up to so many points get a marker at each.
const FEW: usize = 60;

fn lines(curve: &TrainingCurve, subjects: &[RunSubject]) -> Vec<CurveLine> {
    let groups: BTreeSet<&str> = subjects.iter().map(RunSubject::group).collect();
    let trainings = |one: &RunSubject| one.stages_with(Yields::Curves).count();
    let is_alone = subjects.iter().map(trainings).sum::<usize>() <= 1;
    let mut lines: Vec<CurveLine> = vec![];
    for subject in subjects {
        let minutes = minutes(subject);
        let rows = subject.tables.metrics.iter();
        for row in rows.filter(|row| Kind::yields_of(&row.kind) == Yields::Curves) {
            let found = &row.found;
            let Some(line) = curve.line_of(found, is_alone) else { continue };
            let (Some(epoch), Some(value)) = (found.epoch, found.value) else { continue };
            let part = found.label.as_deref().or((!line.is_empty()).then_some(line));
            let name = name(subjects, subject, &row.stage, part);
            let known = lines.iter().position(|line| line.name == name);
            let at = known.unwrap_or_else(|| {
                let group = groups.iter().position(|group| *group == subject.group());
                let several = subjects.len() > 1 && groups.len() > 1;
                let colour = group.filter(|_| several).unwrap_or(lines.len());
                lines.push(CurveLine { name, colour, points: vec![] });
                lines.len() - 1
            });
            lines[at].points.push(CurvePoint {
                epoch: f64::from(epoch),
                step: found.step.map(|step| step as f64),
                minutes: minutes.get(&(row.stage.as_str(), epoch)).copied(),
                value: value / curve.unit,
            });
        }
    }
    lines
}

/// Minutes of training and validation at the end of each epoch, by stage.
fn minutes(subject: &RunSubject) -> BTreeMap<(&str, u32), f64> {
    let mut seconds: BTreeMap<(&str, u32), f64> = BTreeMap::new();
    for row in &subject.tables.metrics {
        let is_time = ["epoch_seconds", "validate_seconds"].contains(&row.found.metric.as_str());
        if let (true, Some(epoch), Some(value)) = (is_time, row.found.epoch, row.found.value) {
            *seconds.entry((row.stage.as_str(), epoch)).or_default() += value;
        }
    }
    let mut sums: BTreeMap<&str, f64> = BTreeMap::new();
    let summed = seconds.into_iter().map(|((stage, epoch), seconds)| {
        let sum = sums.entry(stage).or_default();
        *sum += seconds;
        ((stage, epoch), *sum / 60.0)
    });
    summed.collect()
}

/// Legend name: label (or quantity) or stage for a single run, run for several, both if both vary.
fn name(subjects: &[RunSubject], subject: &RunSubject, stage: &str, part: Option<&str>) -> String {
    let trainings = subject.stages_with(Yields::Curves).count();
    match (subjects.len(), trainings, part) {
        (1, 0 | 1, Some(part)) => part.to_string(),
        (1, _, Some(part)) => format!("{stage} {part}"),
        (1, _, None) => stage.to_string(),
        (_, 0 | 1, _) => subject.name().to_string(),
        _ => format!("{} {stage}", subject.name()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_belongs_to_the_chart_of_its_metric_and_split() {
        let row = |metric: &str| Metric::new(metric, 1.0).epoch(3);
        let charts = |found: &Metric, is_alone| -> Vec<(&str, &str)> {
            let lines = CURVES
                .iter()
                .filter_map(|curve| curve.line_of(found, is_alone).map(|line| (curve.id, line)));
            lines.collect()
        };
        assert_eq!(charts(&row("loss").split("training"), true), [("loss", "")]);
        assert_eq!(charts(&row("loss").split("validation"), true), [("validation-loss", "")]);
        assert_eq!(charts(&row("dice").split("validation").label("liver"), true), [("labels", "")]);
        assert_eq!(charts(&row("peak_memory_bytes"), true), [("memory", "peak")]);
        assert_eq!(charts(&row("peak_memory_bytes"), false), []);
        assert_eq!(charts(&row("memory_bytes"), false), [("memory", "")]);
        assert_eq!(charts(&Metric::new("peak_memory_bytes", 1.0), true), []);
    }
}
