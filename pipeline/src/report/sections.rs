//! Parts of the report page.

use super::charts::{self, Chart, figures};
use super::subject::{RunSubject, Scored};
use super::{graph, headline, jobs};
use crate::humanize;
use crate::outcome::Outcome;
use crate::run::RunRecord;
use crate::tables::{
    self, Comparison, MetricLine, MetricRow, PairedScores, RunSummary, RunTable, Side,
};
use crate::text_table::{Cell, TextTable};
use maud::{Markup, html};
use std::collections::BTreeMap;
use voxflow_stages::image::picture::PictureOf;
use voxflow_stages::stage::Yields;

/// With more runs, a table with one run per row precedes those with one per column.
const FEW: usize = 4;

/// Body for a single run.
pub fn alone(subject: &RunSubject, curves: Markup, drawn: &mut Vec<Chart>) -> Markup {
    let record = &subject.past.record;
    let mut scored = subject.scored();
    scored.retain(|place| place.yields != Yields::OtherScores);
    html! {
        h1 { (record.workflow) }
        p.outcome { (outcome(subject)) }
        p.soft { (record.run) " · began " (humanize::moment(record.started_at_ms)) }
        (warnings(record))
        @if !drawn.is_empty() { (training(&curves)) }
        (scores(subject))
        (pictures(subject))
        @for (at, place) in scored.iter().enumerate() { (cases(subject, place, at, drawn)) }
        (stages(subject))
        @if let Some(jobs) = jobs::table(record) { h2 { "Jobs" } (table(&jobs)) }
        (workflow(subject))
        (environment(record))
    }
}

pub(super) fn training(curves: &Markup) -> Markup {
    html! {
        h2 { "Training" }
        (curves)
        p.soft { "Drag to zoom, double-click to zoom out." }
    }
}

/// Body for several runs.
pub fn side_by_side(subjects: &[RunSubject], curves: Markup, drawn: &mut Vec<Chart>) -> Markup {
    let sides: Vec<Side> = subjects
        .iter()
        .map(|subject| Side { name: subject.name().to_string(), tables: subject.tables.clone() })
        .collect();
    let names: Vec<&str> = subjects.iter().map(RunSubject::name).collect();
    let runs: Vec<RunSummary> = subjects.iter().map(RunSubject::summary).collect();
    let comparison = Comparison::of(&names, &runs, false);
    let place = shared_place(subjects);
    html! {
        h1 { (subjects.len()) " runs side by side" }
        p.soft { "Differences are against the first, " (subjects[0].name()) "." }
        @if let Some(note) = comparison.note { p { b { "Note: " } (note) "." } }
        ul {
            @for subject in subjects {
                li {
                    b { (subject.name()) } " " (subject.past.record.workflow) ": "
                    (outcome(subject))
                }
            }
        }
        @if !drawn.is_empty() { (training(&curves)) }
        @if subjects.len() > FEW { h2 { "Runs" } (table(&RunTable::in_short(&runs))) }
        h2 { "Parameters that differ" }
        @if comparison.params.is_empty() { p { "None." } }
        @else { (table(&comparison.params_sheet())) }
        h2 { "Final metrics" }
        (final_metrics(&comparison))
        @if let Some(place) = place { (cases_of_several(subjects, &sides, &place, drawn)) }
    }
}

/// Main scores, and all metrics on demand.
fn final_metrics(comparison: &Comparison) -> Markup {
    let sheet = |lines: &[MetricLine]| comparison.metrics_sheet(lines).without_empty_columns(1);
    html! {
        (table(&sheet(&comparison.main_lines())))
        details {
            summary { "All " (comparison.metrics.len()) " metrics" }
            (table(&sheet(&comparison.metrics)))
        }
    }
}

/// One sentence: outcome, headline score, stages made and reused.
fn outcome(subject: &RunSubject) -> String {
    let record = &subject.past.record;
    let took = record
        .seconds
        .map(|seconds| format!(" in {}", humanize::duration(seconds)))
        .unwrap_or_default();
    let counts: Vec<String> = Outcome::ALL
        .into_iter()
        .map(|outcome| (record.count(outcome), outcome.word()))
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    let found = headline::words(subject).map(|words| format!("; {words}")).unwrap_or_default();
    format!("{}{took}{found}; stages: {}.", record.outcome_words(), counts.join(", "))
}

fn warnings(record: &RunRecord) -> Markup {
    html! { @if record.warnings().next().is_some() {
        h2 { "Warnings" }
        ul { @for (stage, words) in record.warnings() { li { b { (stage) } ": " (words) } } }
    } }
}

fn scores(subject: &RunSubject) -> Markup {
    let sheet = tables::scores(&subject.tables.metrics);
    html! { @if !sheet.rows.is_empty() {
        h2 { "Scores" }
        p.soft {
            "sd: standard deviation over cases; 95 % CI: bootstrap interval of the mean; IQR: from "
            "the lower to the upper quartile; n: cases."
        }
        (table(&sheet))
    } }
}

/// Per-case scores for one stage and grid.
fn cases(subject: &RunSubject, place: &Scored, at: usize, drawn: &mut Vec<Chart>) -> Markup {
    let chart = charts::by_case(std::slice::from_ref(subject), place, &format!("cases-{at}"));
    let figure = figures(std::slice::from_ref(&chart));
    drawn.push(chart);
    let rows: Vec<&MetricRow> = subject.per_case(place).collect();
    html! {
        h2 { "Cases of " (place.stage) }
        p.soft {
            (place.split) " cases, on the " (place.grid.as_deref().unwrap_or("own")) " grid. "
            "A click on a heading sorts."
        }
        (figure)
        (table(&by_case(&rows)))
    }
}

/// Worst, median and best case per test in three planes, as drawn by the test.
fn pictures(subject: &RunSubject) -> Markup {
    let tests: Vec<_> = subject
        .stages_with(Yields::TestScores)
        .map(|stage| (stage, subject.pictures(stage)))
        .collect();
    html! {
        @for (stage, pictures) in tests.iter().filter(|(_, pictures)| !pictures.is_empty()) {
            h2 { "Pictures of " (stage.stage) }
            p.soft {
                "The slice with most of the labels. Outlines: " span.reference { "reference" } ", "
                span.prediction { "prediction" } ", " span.both { "both" } "."
            }
            @for row in pictures.chunk_by(|(one, _), (other, _)| one.case == other.case) {
                h3 {
                    (row[0].0.rank) ": " (row[0].0.case)
                    @if let Some(dice) = row[0].0.dice {
                        " (mean Dice " (format!("{dice:.4}")) ")"
                    }
                }
                div.pictures { @for (picture, source) in row { (picture_of(picture, source)) } }
            }
        }
    }
}

/// A picture with orientation marks and its scale bar's length.
fn picture_of(picture: &PictureOf, source: &str) -> Markup {
    let [left, right, above, below] = picture.plane.marks();
    let what = format!("{}, {} plane", picture.case, picture.plane.word());
    html! {
        figure {
            div.framed {
                img src=(source) alt=(what) loading="lazy";
                span.left { (left) } span.right { (right) }
                span.above { (above) } span.below { (below) }
            }
            figcaption { (picture.plane.word()) ", bar " (picture.bar_mm) " mm" }
        }
    }
}

/// A row per case and label, a column per metric, in order of appearance.
fn by_case(rows: &[&MetricRow]) -> TextTable {
    let (mut columns, mut lines) = (OrderedSet::default(), OrderedSet::default());
    let mut values = BTreeMap::new();
    for found in rows.iter().map(|row| &row.found) {
        let column = columns.number(found.metric.as_str());
        let line = lines.number((found.case.as_deref(), found.label.as_deref()));
        values.insert((line, column), found.value);
    }
    let mut sheet =
        TextTable::new("", ["case", "label"].into_iter().chain(columns.items.iter().copied()));
    for (line, (case, label)) in lines.items.iter().enumerate() {
        let of_line = (0..columns.items.len())
            .map(|column| values.get(&(line, column)).copied().flatten().into());
        sheet.push([Cell::from(*case), Cell::from(*label)].into_iter().chain(of_line).collect());
    }
    sheet
}

/// Distinct items numbered in order of appearance.
#[derive(Default)]
struct OrderedSet<T> {
    items: Vec<T>,
    numbers: BTreeMap<T, usize>,
}

impl<T: Ord + Copy> OrderedSet<T> {
    fn number(&mut self, item: T) -> usize {
        *self.numbers.entry(item).or_insert_with(|| {
            self.items.push(item);
            self.items.len() - 1
        })
    }
}

/// First stage and grid with per-case scores in all runs.
fn shared_place(subjects: &[RunSubject]) -> Option<Scored> {
    let mut places = subjects.first()?.scored();
    places.retain(|place| subjects.iter().all(|subject| subject.scored().contains(place)));
    places.into_iter().next()
}

fn cases_of_several(
    subjects: &[RunSubject],
    sides: &[Side],
    place: &Scored,
    drawn: &mut Vec<Chart>,
) -> Markup {
    let chart = charts::by_case(subjects, place, "cases");
    let figure = figures(std::slice::from_ref(&chart));
    let columns = std::iter::once("case").chain(subjects.iter().map(RunSubject::name));
    let mut sheet = TextTable::new("", columns);
    let dice: Vec<_> =
        subjects.iter().map(|subject| charts::dice_of_cases(subject, place)).collect();
    for case in chart.names.iter().flatten() {
        let values = dice.iter().map(|of_run| Cell::from(of_run.get(case).copied()));
        sheet.push(std::iter::once(Cell::text(case)).chain(values).collect());
    }
    drawn.push(chart);
    let pairs = sides[1..].iter().flat_map(|other| PairedScores::of(&sides[0], other));
    let sentences = pairs.filter(|pair| pair.stage == place.stage).map(|pair| pair.sentence());
    html! {
        h2 { "Dice of single cases" }
        p.soft {
            (place.stage) ": " (place.split) " cases, mean over labels. A click on a heading sorts."
        }
        (figure)
        @for sentence in sentences { p { (sentence) "." } }
        (table(&sheet))
    }
}

/// Stage graph, timeline, and reasons.
fn stages(subject: &RunSubject) -> Markup {
    let record = &subject.past.record;
    let mut sheet = TextTable::new("", ["stage", "kind", "outcome", "made in", "size", "why"]);
    for stage in &record.stages {
        let size = stage
            .artifact
            .as_ref()
            .map_or(Cell::Empty, |artifact| Cell::text(humanize::bytes(artifact.bytes())));
        sheet.push(vec![
            Cell::text(&stage.stage),
            Cell::text(&stage.kind),
            stage.outcome.map(|outcome| outcome.word()).into(),
            stage
                .made_in_seconds
                .map_or(Cell::Empty, |seconds| Cell::text(humanize::duration(seconds))),
            size,
            stage.error.as_deref().or(stage.reason.as_deref()).into(),
        ]);
    }
    html! {
        h2 { "Stages" }
        @if let Some(picture) = graph::graph(record) { div.scroll { (picture) } }
        (timeline(subject))
        (table(&sheet))
    }
}

fn percent(share: f64) -> String {
    format!("{:.3}%", (share * 100.0).clamp(0.0, 100.0))
}

/// Working times of stages made in this run.
fn timeline(subject: &RunSubject) -> Markup {
    let record = &subject.past.record;
    let bars: Vec<_> = subject
        .tables
        .stages
        .iter()
        .filter(|row| ["made", "failed", "interrupted"].contains(&row.outcome.as_str()))
        .filter_map(|row| {
            let began = row.started_at?.unix_timestamp_nanos() as f64 / 1e9
                - record.started_at_ms as f64 / 1e3;
            Some((row, began.max(0.0), row.seconds?))
        })
        .collect();
    // A run of a sweep counts its own stages' time, and spans more.
    let ends = bars.iter().map(|(_, began, seconds)| began + seconds);
    let all = ends.chain(record.seconds).fold(0.0, f64::max);
    if bars.is_empty() || all <= 0.0 {
        return html! {};
    }
    html! {
        h3 { "Timeline" }
        div.timeline {
            @for (row, began, seconds) in &bars {
                span { (row.stage) }
                div.track {
                    div class={ "bar " (row.outcome) }
                        style={
                            "left:" (percent(began / all))
                            ";width:" (percent(seconds / all))
                        } {}
                }
                span.soft { (humanize::duration(*seconds)) }
            }
        }
    }
}

fn workflow(subject: &RunSubject) -> Markup {
    html! {
        @if !subject.resolved.is_empty() {
            h2 { "Workflow" }
            details {
                summary { "As resolved: with defaults and overrides filled in; itself runnable" }
                pre { (subject.resolved) }
            }
        }
    }
}

fn environment(record: &RunRecord) -> Markup {
    let threads = humanize::count(record.threads as u64, "thread");
    html! {
        h2 { "Environment" }
        dl {
            @if let Some(seed) = record.seed { dt { "seed" } dd { (seed) } }
            dt { "device" }
            dd { (record.device) ", " (threads) " a stage" }
            @if !record.overrides.is_empty() { dt { "with" } dd { (record.overrides.join(" ")) } }
            @if let Some(commit) = &record.git_commit { dt { "commit" } dd { (commit) } }
            @for (name, value) in record.versions.iter().chain(&record.machine) {
                dt { (name) } dd { (value) }
            }
        }
    }
}

/// A table sortable by clicking.
pub(super) fn table(sheet: &TextTable) -> Markup {
    html! {
        div.scroll {
            table.sortable {
                thead { tr { @for (at, name) in sheet.columns.iter().enumerate() {
                    th class=[sheet.is_numeric(at).then_some("number")] { (name) }
                } } }
                tbody { @for row in &sheet.rows { tr { @for (at, cell) in row.iter().enumerate() {
                    td class=[class(sheet, at, cell)] data-value=(cell.in_full()) {
                        (cell.for_people())
                    }
                } } } }
            }
        }
    }
}

/// CSS class: alignment for numbers, colour for outcomes, width for reasons.
fn class<'a>(sheet: &'a TextTable, at: usize, cell: &'a Cell) -> Option<&'a str> {
    match (sheet.columns[at].as_str(), cell) {
        _ if sheet.is_numeric(at) => Some("number"),
        ("outcome", Cell::Text(word)) => Some(word),
        ("why", _) => Some("why"),
        _ => None,
    }
}
