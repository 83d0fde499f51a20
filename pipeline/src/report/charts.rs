//! Chart data for the report's script: curves over steps and epochs, scores per case.

use super::subject::{RunSubject, Scored};
use maud::{Markup, html};
use serde::Serialize;
use std::collections::BTreeMap;
use voxflow_stages::stage::Yields;

/// A chart; the script draws it into element `id`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Chart {
    pub id: String,
    #[serde(skip)]
    pub title: String,
    pub x: String,
    /// X values, ascending.
    pub at: Vec<f64>,
    /// Names for x values used as indices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub names: Option<Vec<String>>,
    /// Draw points instead of lines.
    pub points: bool,
    pub series: Vec<Series>,
}

/// A line with a value, or gap, per x.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Series {
    pub name: String,
    pub values: Vec<Option<f64>>,
    /// True for sparse lines: every value gets a marker.
    pub few: bool,
}

/// Training curves: loss, validation Dice, learning rate.
pub fn curves(subjects: &[RunSubject]) -> Vec<Chart> {
    let charts = [
        curve(
            subjects,
            "loss",
            "Training loss by iteration",
            ("loss", "training"),
            "iteration",
            step_of,
        ),
        curve(
            subjects,
            "dice",
            "Validation mean Dice by epoch",
            ("dice", "validation"),
            "epoch",
            |row| row.epoch.map(f64::from),
        ),
        curve(
            subjects,
            "rate",
            "Learning rate by iteration",
            ("learning_rate", "training"),
            "iteration",
            step_of,
        ),
    ];
    charts.into_iter().filter(|chart| !chart.at.is_empty()).collect()
}

fn step_of(row: &voxflow_stages::Metric) -> Option<f64> {
    row.step.map(|step| step as f64)
}

fn curve(
    subjects: &[RunSubject],
    id: &str,
    title: &str,
    (metric, split): (&str, &str),
    x: &str,
    place: fn(&voxflow_stages::Metric) -> Option<f64>,
) -> Chart {
    let mut lines: Vec<(String, BTreeMap<u64, f64>)> = vec![];
    for subject in subjects {
        for row in subject.curve(metric, split) {
            let name = line_name(subjects, subject, &row.stage);
            let at = lines.iter().position(|(known, _)| *known == name).unwrap_or_else(|| {
                lines.push((name, BTreeMap::new()));
                lines.len() - 1
            });
            if let (Some(place), Some(value)) = (place(&row.found), row.found.value) {
                lines[at].1.insert(place as u64, value);
            }
        }
    }
    let mut all: Vec<u64> = lines.iter().flat_map(|(_, line)| line.keys().copied()).collect();
    all.sort_unstable();
    all.dedup();
    let series = lines.into_iter().map(|(name, line)| Series {
        name,
        few: line.len() <= 40,
        values: all.iter().map(|at| line.get(at).copied()).collect(),
    });
    Chart {
        id: id.to_string(),
        title: title.to_string(),
        x: x.to_string(),
        series: series.collect(),
        at: all.iter().map(|at| *at as f64).collect(),
        names: None,
        points: false,
    }
}

/// Legend name: stage for a single run, run for several, both if both vary.
fn line_name(subjects: &[RunSubject], subject: &RunSubject, stage: &str) -> String {
    match (subjects.len(), subject.stages_with(Yields::Curves).count()) {
        (1, _) => stage.to_string(),
        (_, 0 | 1) => subject.name().to_string(),
        _ => format!("{} {stage}", subject.name()),
    }
}

/// Dice per case, worst to best by the first line: a line per label for one run, per run for
/// several.
pub fn by_case(subjects: &[RunSubject], place: &Scored, id: &str) -> Chart {
    let mut lines: Vec<(String, BTreeMap<String, f64>)> = vec![];
    for subject in subjects {
        let dice = scores(subject, place);
        if subjects.len() > 1 {
            lines.push((subject.name().to_string(), mean_of_labels(&dice)));
        } else {
            lines.extend(by_label(&dice));
        }
    }
    let order =
        subjects.first().map(|subject| mean_of_labels(&scores(subject, place))).unwrap_or_default();
    let mut cases: Vec<(String, f64)> = order.into_iter().collect();
    cases.sort_by(|a, b| a.1.total_cmp(&b.1));
    let series = lines.into_iter().map(|(name, line)| Series {
        name,
        few: true,
        values: cases.iter().map(|(case, _)| line.get(case).copied()).collect(),
    });
    Chart {
        id: id.to_string(),
        title: format!("Dice of each {} case, from the worst to the best", place.split),
        x: "case".to_string(),
        series: series.collect(),
        at: (1..=cases.len()).map(|rank| rank as f64).collect(),
        names: Some(cases.into_iter().map(|(case, _)| case).collect()),
        points: true,
    }
}

/// Dice by case for each label, labels in order of appearance.
fn by_label(dice: &[(String, String, f64)]) -> Vec<(String, BTreeMap<String, f64>)> {
    let mut lines: Vec<(String, BTreeMap<String, f64>)> = vec![];
    for (label, case, value) in dice {
        let known = lines.iter().position(|(name, _)| name == label);
        let at = known.unwrap_or_else(|| {
            lines.push((label.clone(), BTreeMap::new()));
            lines.len() - 1
        });
        lines[at].1.insert(case.clone(), *value);
    }
    lines
}

/// (label, case, Dice) for cases with a value.
fn scores(subject: &RunSubject, place: &Scored) -> Vec<(String, String, f64)> {
    let rows = subject.per_case(place).filter(|row| row.found.metric == "dice");
    rows.filter_map(|row| {
        let found = &row.found;
        Some((found.label.clone().unwrap_or_default(), found.case.clone()?, found.value?))
    })
    .collect()
}

/// Mean over labels per case.
pub fn mean_of_labels(scores: &[(String, String, f64)]) -> BTreeMap<String, f64> {
    let mut sums: BTreeMap<String, (f64, f64)> = BTreeMap::new();
    for (_, case, value) in scores {
        let sum = sums.entry(case.clone()).or_default();
        *sum = (sum.0 + value, sum.1 + 1.0);
    }
    sums.into_iter().map(|(case, (sum, count))| (case, sum / count)).collect()
}

/// Mean Dice over labels per case, for one stage and grid.
pub fn dice_of_cases(subject: &RunSubject, place: &Scored) -> BTreeMap<String, f64> {
    mean_of_labels(&scores(subject, place))
}

/// Empty figures; the script draws into them.
pub fn figures(charts: &[Chart]) -> Markup {
    html! {
        div.charts {
            @for chart in charts {
                figure { figcaption { (chart.title) } div.chart id=(chart.id) {} }
            }
        }
    }
}
