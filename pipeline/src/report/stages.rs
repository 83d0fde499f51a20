//! Stages on the page: graph, timeline, cost and reasons.

use super::graph;
use super::html_table::table;
use super::subject::RunSubject;
use crate::humanize;
use crate::run::{RunRecord, StageRecord};
use crate::text_table::{Cell, TextTable};
use maud::{Markup, html};

/// Stage graph, timeline, and reasons.
pub fn stages(subject: &RunSubject) -> Markup {
    let record = &subject.past.record;
    let columns = [
        "stage",
        "kind",
        "outcome",
        "made in",
        "precision",
        "CPU",
        "memory",
        "input",
        "output",
        "why",
    ];
    let mut sheet = TextTable::new("", columns);
    for stage in &record.stages {
        sheet.push(row(record, stage));
    }
    let sheet = sheet.without_empty_columns(3);
    html! {
        h2 { "Stages" }
        @if let Some(picture) = graph::graph(record) { div.scroll { (picture) } }
        (timeline(subject))
        (table(&sheet))
        p.soft {
            "Precision: the numbers that networks computed in; CPU: processor time over wall time, "
            "when it was made; memory: the most at once; input "
            "and output: bytes of the artifacts that were read and written."
        }
    }
}

fn size(stage: &StageRecord) -> Option<u64> {
    stage.artifact.as_ref().map(|artifact| artifact.bytes())
}

fn bytes(bytes: Option<u64>) -> Cell {
    bytes.map_or(Cell::Empty, Cell::Bytes)
}

/// Outcome and cost of a stage when its artifact was made.
fn row(record: &RunRecord, stage: &StageRecord) -> Vec<Cell> {
    let needs = stage.needs.values().flatten().filter_map(|need| record.stage(need));
    let input: Option<u64> = needs.map(size).sum();
    let seconds = stage.made_in_seconds.filter(|seconds| *seconds > 0.0);
    let cpu = stage.maker["cpu_seconds"].as_f64().zip(seconds).map(|(cpu, wall)| cpu / wall);
    vec![
        Cell::text(&stage.stage),
        Cell::text(&stage.kind),
        stage.outcome.map(|outcome| outcome.word()).into(),
        stage
            .made_in_seconds
            .map_or(Cell::Empty, |seconds| Cell::text(humanize::duration(seconds))),
        stage.maker["precision"].as_str().into(),
        cpu.map_or(Cell::Empty, |share| Cell::text(format!("{:.0} %", share * 100.0))),
        bytes(stage.maker["peak_rss_bytes"].as_u64().filter(|peak| *peak > 0)),
        bytes(input.filter(|_| !stage.needs.is_empty())),
        bytes(size(stage)),
        stage.error.as_deref().or(stage.reason.as_deref()).into(),
    ]
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
