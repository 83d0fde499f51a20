//! Parts of the report page.

use super::charts::{self, Chart, figures};
use super::html_table::{self, table};
use super::subject::{RunSubject, Scored};
use super::{headline, jobs, pictures, stages};
use crate::humanize;
use crate::outcome::Outcome;
use crate::run::RunRecord;
use crate::tables::{
    self, Comparison, MetricLine, MetricRow, PairedScores, RunSummary, RunTable, Side,
};
use crate::text_table::{Cell, TextTable};
use maud::{Markup, html};
use std::collections::BTreeMap;
use voxflow_stages::Kind;
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
        (tiles(subject))
        p.outcome { (outcome(subject)) }
        p.soft { (record.run) " · began " (humanize::minute(record.started_at_ms)) }
        (warnings(record))
        @if !drawn.is_empty() { (training(&curves)) }
        (scores(subject))
        (pictures::pictures(subject))
        @for (at, place) in scored.iter().enumerate() { (cases(subject, place, at, drawn)) }
        (stages::stages(subject))
        @if let Some(jobs) = jobs::table(record) { h2 { "Jobs" } (table(&jobs)) }
        (workflow(subject))
        (environment(record))
    }
}

pub(super) fn training(curves: &Markup) -> Markup {
    html! {
        h2 { "Training" }
        div.tools id="axes" {
            span id="views" role="group" aria-label="Horizontal axis" {}
            label { input type="checkbox" id="log"; "log scale" }
        }
        (curves)
        p.soft { "Drag to zoom, double-click to zoom out; a ring marks the best epoch." }
    }
}

/// Main scores in large type: mean Dice with its spread and interval.
fn tiles(subject: &RunSubject) -> Markup {
    let tiles = headline::tiles(subject);
    html! { @if !tiles.is_empty() {
        div.tiles { @for tile in &tiles {
            div.tile {
                span.soft { (tile.name) }
                b { (tile.value) }
                @for note in &tile.notes { span.soft { (note) } }
            }
        } }
    } }
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
    let mut sheet = tables::scores(&subject.tables.metrics);
    // The test's first, then those of the validation, then baselines.
    sheet.rows.sort_by_key(|row| row.first().map(|stage| rank(subject, &stage.in_full())));
    html! { @if !sheet.rows.is_empty() {
        h2 { "Scores" }
        p.soft {
            "sd: standard deviation over cases; 95 % CI: bootstrap interval of the mean; IQR: from "
            "the lower to the upper quartile; n: cases."
        }
        (table(&sheet))
    } }
}

/// Place of a stage's scores among those of other stages.
fn rank(subject: &RunSubject, stage: &str) -> usize {
    let kind = subject.past.record.stage(stage).map_or("", |stage| stage.kind.as_str());
    let yields = Kind::yields_of(kind);
    let known = Yields::HEADLINE.iter().position(|known| *known == yields);
    known.unwrap_or(Yields::HEADLINE.len())
}

/// Per-case scores for one stage and grid.
fn cases(subject: &RunSubject, place: &Scored, at: usize, drawn: &mut Vec<Chart>) -> Markup {
    let chart = charts::by_case(std::slice::from_ref(subject), place, &format!("cases-{at}"));
    let figure = figures(std::slice::from_ref(&chart));
    drawn.push(chart);
    let rows: Vec<&MetricRow> = subject.per_case(place).collect();
    let order = charts::dice_of_cases(subject, place);
    html! {
        h2 { "Cases of " (place.stage) }
        p.soft {
            (place.split) " cases, on the " (place.grid.as_deref().unwrap_or("own")) " grid, from "
            "the lowest mean Dice to the highest. A click on a heading sorts; a click on a point "
            "shows its case."
        }
        (figure)
        (case_table(subject, place, &by_case(&rows, &order)))
    }
}

/// A row per case and label, the lowest mean Dice first; a column per metric.
fn by_case(rows: &[&MetricRow], dice: &BTreeMap<String, f64>) -> TextTable {
    let (mut columns, mut lines) = (OrderedSet::default(), OrderedSet::default());
    let mut values = BTreeMap::new();
    for found in rows.iter().map(|row| &row.found) {
        let column = columns.number(found.metric.as_str());
        let line = lines.number((found.case.as_deref(), found.label.as_deref()));
        values.insert((line, column), found.value);
    }
    let named = columns.items.iter().map(|metric| metric.replace('_', " "));
    let mut sheet =
        TextTable::new("", ["case", "label"].into_iter().map(String::from).chain(named));
    let mut order: Vec<_> = lines.items.iter().copied().enumerate().collect();
    let dice = |case: Option<&str>| case.and_then(|case| dice.get(case)).copied();
    // A case without a Dice goes last.
    order.sort_by(|(_, one), (_, other)| {
        let [a, b] = [one.0, other.0].map(|case| dice(case).unwrap_or(f64::INFINITY));
        a.total_cmp(&b)
    });
    for (line, (case, label)) in order {
        let of_line = (0..columns.items.len())
            .map(|column| values.get(&(line, column)).copied().flatten().into());
        sheet.push([Cell::from(case), Cell::from(label)].into_iter().chain(of_line).collect());
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
                dt { (name) } dd { (in_units(value)) }
            }
        }
    }
}

/// A size as the kernel tells it, "24684084 kB", in units for people; other words as they are.
fn in_units(words: &str) -> String {
    let kibibytes = words.strip_suffix(" kB").and_then(|number| number.parse::<u64>().ok());
    let bytes = kibibytes.and_then(|number| number.checked_mul(1024));
    bytes.map_or_else(|| words.to_string(), humanize::bytes)
}

/// A table of cases, whose names lead to their pages where there are any.
fn case_table(subject: &RunSubject, place: &Scored, sheet: &TextTable) -> Markup {
    html_table::rows(sheet, &|row| match row.first() {
        Some(Cell::Text(case)) => subject.case_page(&place.stage, case),
        _ => None,
    })
}
