//! Chart data for the report's script: lines over an axis, scores per case.

use super::subject::{RunSubject, Scored};
use maud::{Markup, html};
use serde::Serialize;
use std::collections::BTreeMap;

/// A chart; the script draws it into element `id`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Chart {
    pub id: String,
    #[serde(skip)]
    pub title: String,
    #[serde(flatten)]
    pub view: ChartView,
    /// The same lines on other axes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<ChartView>,
    /// The largest value of each line is marked.
    pub has_best: bool,
    /// Names for x values used as indices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub names: Option<Vec<String>>,
    /// Addresses that a click on an x value opens, where there are pages.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<Option<String>>,
    /// Draw points instead of lines.
    pub points: bool,
}

/// Lines on one axis.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ChartView {
    pub x: String,
    /// X values, ascending.
    pub at: Vec<f64>,
    pub series: Vec<Series>,
}

/// A line with a value, or gap, per x.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Series {
    pub name: String,
    pub values: Vec<Option<f64>>,
    /// True for sparse lines: every value gets a marker.
    pub few: bool,
    /// Number of its colour; lines of a group share one.
    pub colour: usize,
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
    let series = lines.into_iter().enumerate().map(|(colour, (name, line))| Series {
        name,
        few: true,
        colour,
        values: cases.iter().map(|(case, _)| line.get(case).copied()).collect(),
    });
    let links = cases.iter().map(|(case, _)| subjects.first()?.case_page(&place.stage, case));
    Chart {
        id: id.to_string(),
        title: format!("Dice of each {} case, from the worst to the best", place.split),
        view: ChartView {
            x: "case".to_string(),
            series: series.collect(),
            at: (1..=cases.len()).map(|rank| rank as f64).collect(),
        },
        links: links.collect(),
        names: Some(cases.into_iter().map(|(case, _)| case).collect()),
        points: true,
        ..Chart::default()
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

/// (rank, case, mean Dice) of the worst, median and best case by mean Dice over labels.
pub fn ranked(subject: &RunSubject, place: &Scored) -> Vec<(&'static str, String, f64)> {
    let mut cases: Vec<(String, f64)> = dice_of_cases(subject, place).into_iter().collect();
    cases.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
    let places = match cases.len() {
        0 => vec![],
        1 => vec![("best", 0)],
        2 => vec![("worst", 0), ("best", 1)],
        count => vec![("worst", 0), ("median", count / 2), ("best", count - 1)],
    };
    places.into_iter().map(|(rank, at)| (rank, cases[at].0.clone(), cases[at].1)).collect()
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
