//! The stage graph as SVG: boxes by depth from left to right, lines along needs.

use crate::humanize;
use crate::run::{RunRecord, StageRecord};
use maud::{Markup, html};
use std::collections::BTreeMap;

const BOX: (usize, usize) = (128, 42);
const GAP: (usize, usize) = (44, 16);

/// Larger graphs would be unreadable.
const MOST: usize = 60;

/// The graph; `None` for too many stages.
pub fn graph(record: &RunRecord) -> Option<Markup> {
    if record.stages.len() > MOST {
        return None;
    }
    let places = places(record);
    let (columns, rows) =
        places.values().fold((0, 0), |(x, y), place| (x.max(place.0 + 1), y.max(place.1 + 1)));
    let (width, height) = (columns * (BOX.0 + GAP.0), rows * (BOX.1 + GAP.1) + 4);
    Some(html! {
        svg.graph viewBox=(format!("0 0 {width} {height}")) width=(width) height=(height) role="img"
            aria-label="The stages and what they need" {
            @for stage in &record.stages {
                @for need in stage.needs.values().flatten() {
                    @if let Some(from) = places.get(need.as_str()) {
                        path d=(line(*from, places[stage.stage.as_str()])) {}
                    }
                }
            }
            @for stage in &record.stages { (boxed(stage, places[stage.stage.as_str()])) }
        }
    })
}

/// (column, row) per stage; the column is the longest path's length.
fn places(record: &RunRecord) -> BTreeMap<&str, (usize, usize)> {
    let mut places: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    let mut filled: Vec<usize> = vec![];
    for stage in &record.stages {
        let needs = stage.needs.values().flatten().filter_map(|need| places.get(need.as_str()));
        let column = needs.map(|place| place.0 + 1).max().unwrap_or(0);
        filled.resize(filled.len().max(column + 1), 0);
        places.insert(&stage.stage, (column, filled[column]));
        filled[column] += 1;
    }
    places
}

fn corner(place: (usize, usize)) -> (usize, usize) {
    (place.0 * (BOX.0 + GAP.0) + 2, place.1 * (BOX.1 + GAP.1) + 2)
}

fn line(from: (usize, usize), to: (usize, usize)) -> String {
    let ((x1, y1), (x2, y2)) = (corner(from), corner(to));
    let (x1, y1, y2) = (x1 + BOX.0, y1 + BOX.1 / 2, y2 + BOX.1 / 2);
    let middle = (x1 + x2) / 2;
    format!("M{x1} {y1} C{middle} {y1} {middle} {y2} {x2} {y2}")
}

fn boxed(stage: &StageRecord, place: (usize, usize)) -> Markup {
    let (x, y) = corner(place);
    let word = stage.outcome.map_or("not done", |outcome| outcome.word());
    let took = stage.made_in_seconds.map(humanize::duration).unwrap_or_default();
    html! {
        g class=(word) {
            title { (stage.stage) ", " (stage.kind) ": " (word) }
            rect x=(x) y=(y) width=(BOX.0) height=(BOX.1) rx="5" {}
            text x=(x + 8) y=(y + 18) { (shortened(&stage.stage)) }
            text.under x=(x + 8) y=(y + 34) { (word) @if !took.is_empty() { " · " (took) } }
        }
    }
}

fn shortened(id: &str) -> String {
    const MOST: usize = 16;
    if id.chars().count() <= MOST {
        id.to_string()
    } else {
        id.chars().take(MOST - 1).chain(['…']).collect()
    }
}
