//! The stage graph as SVG: boxes by depth from left to right, lines along needs.
//!
//! A line across several columns has a lane in each column between, clear of all boxes; lines from
//! one stage share their lanes.

use crate::humanize;
use crate::run::{RunRecord, StageRecord};
use maud::{Markup, html};
use std::collections::BTreeMap;

const BOX: (usize, usize) = (128, 42);
const GAP: (usize, usize) = (44, 16);
/// Height of a lane.
const LANE: usize = 14;

/// Larger graphs would be unreadable.
const MOST: usize = 60;

/// The graph; `None` for too many stages.
pub fn graph(record: &RunRecord) -> Option<Markup> {
    if record.stages.len() > MOST {
        return None;
    }
    let grid = GraphLayout::of(record);
    let width = grid.filled.len() * (BOX.0 + GAP.0);
    let height = grid.filled.iter().copied().max().unwrap_or(0) + 4;
    Some(html! {
        svg.graph viewBox=(format!("0 0 {width} {height}")) width=(width) height=(height) role="img"
            aria-label="The stages and what they need" {
            @for line in &grid.lines { path d=(path(line)) {} }
            @for stage in &record.stages { (boxed(stage, grid.boxes[stage.stage.as_str()])) }
        }
    })
}

/// Column, and the height of the middle in pixels; the column is the length of the longest path to
/// a stage.
type GraphCell = (usize, usize);

/// Places of boxes and lines.
#[derive(Default)]
struct GraphLayout<'a> {
    boxes: BTreeMap<&'a str, GraphCell>,
    /// Places along each line: its box, a lane in each column between, the box that needs it.
    lines: Vec<Vec<GraphCell>>,
    /// Pixels taken in each column.
    filled: Vec<usize>,
}

impl<'a> GraphLayout<'a> {
    /// Fills columns from left to right: boxes and lanes are ordered as their sources in the column
    /// before.
    fn of(record: &'a RunRecord) -> GraphLayout<'a> {
        let columns = columns(record);
        let last = columns.values().copied().max().unwrap_or(0);
        let mut grid = GraphLayout { filled: vec![2; last + 1], ..GraphLayout::default() };
        let mut open: Vec<OpenLine> = vec![];
        for column in 0..=last {
            for (_, wanted) in wanted(record, &columns, column, &open) {
                let place = grid.take(column, &wanted);
                match wanted {
                    Wanted::Box(id) => {
                        grid.boxes.insert(id, place);
                    }
                    Wanted::Lane(from) => open
                        .iter_mut()
                        .filter(|line| line.from == from && columns[line.to] > column)
                        .for_each(|line| line.places.push(place)),
                }
            }
            let (ended, rest): (Vec<_>, Vec<_>) =
                open.into_iter().partition(|line| columns[line.to] == column);
            for mut line in ended {
                line.places.push(grid.boxes[line.to]);
                grid.lines.push(line.places);
            }
            open = rest;
            for (from, to) in needs(record).filter(|(from, _)| columns[from] == column) {
                open.push(OpenLine { from, to, places: vec![grid.boxes[from]] });
            }
        }
        grid
    }

    /// Takes the next pixels of a column; the place of their middle.
    fn take(&mut self, column: usize, wanted: &Wanted) -> GraphCell {
        let (height, gap) = match wanted {
            Wanted::Box(_) => (BOX.1, GAP.1),
            Wanted::Lane(_) => (LANE, 0),
        };
        let middle = self.filled[column] + height / 2;
        self.filled[column] += height + gap;
        (column, middle)
    }
}

/// A line under way.
struct OpenLine<'a> {
    from: &'a str,
    to: &'a str,
    places: Vec<GraphCell>,
}

impl OpenLine<'_> {
    fn height(&self) -> usize {
        self.places.last().map_or(0, |place| place.1)
    }
}

/// Boxes and lanes of a column, in the order of the heights that their lines come from.
fn wanted<'a>(
    record: &'a RunRecord,
    columns: &BTreeMap<&str, usize>,
    column: usize,
    open: &[OpenLine<'a>],
) -> Vec<(usize, Wanted<'a>)> {
    let boxes = record.stages.iter().filter(|stage| columns[stage.stage.as_str()] == column);
    let mut wanted: Vec<(usize, Wanted)> =
        boxes.map(|stage| (mean_height(open, &stage.stage), Wanted::Box(&stage.stage))).collect();
    let passing = open.iter().filter(|line| columns[line.to] > column);
    let lanes: BTreeMap<&str, usize> = passing.map(|line| (line.from, line.height())).collect();
    wanted.extend(lanes.into_iter().map(|(from, height)| (height, Wanted::Lane(from))));
    wanted.sort_by_key(|(height, _)| *height);
    wanted
}

/// Something that takes room in a column: a stage, or the lines from one.
enum Wanted<'a> {
    Box(&'a str),
    Lane(&'a str),
}

/// (needed, needing) stages in this run.
fn needs(record: &RunRecord) -> impl Iterator<Item = (&str, &str)> {
    record.stages.iter().flat_map(|stage| {
        let mut needs: Vec<&str> = stage.needs.values().flatten().map(String::as_str).collect();
        needs.sort_unstable();
        needs.dedup();
        needs.retain(|need| record.stage(need).is_some());
        needs.into_iter().map(|need| (need, stage.stage.as_str()))
    })
}

/// Column of each stage.
fn columns(record: &RunRecord) -> BTreeMap<&str, usize> {
    let mut columns: BTreeMap<&str, usize> = BTreeMap::new();
    for stage in &record.stages {
        let needs = stage.needs.values().flatten().filter_map(|need| columns.get(need.as_str()));
        let column = needs.map(|column| column + 1).max().unwrap_or(0);
        columns.insert(&stage.stage, column);
    }
    columns
}

/// Mean height of the lines that lead to a stage.
fn mean_height(open: &[OpenLine], stage: &str) -> usize {
    let heights: Vec<usize> =
        open.iter().filter(|line| line.to == stage).map(OpenLine::height).collect();
    heights.iter().sum::<usize>() / heights.len().max(1)
}

/// Left edge and middle of a box or lane.
fn left(place: GraphCell) -> (usize, usize) {
    (place.0 * (BOX.0 + GAP.0) + 2, place.1)
}

/// From the right edge of the first box through its lanes to the left edge of the last.
fn path(line: &[GraphCell]) -> String {
    let mut text = String::new();
    for pair in line.windows(2) {
        let ((x1, y1), (x2, y2)) = (left(pair[0]), left(pair[1]));
        let x1 = x1 + BOX.0;
        let middle = (x1 + x2) / 2;
        let start = if text.is_empty() { "M" } else { "L" };
        text += &format!("{start}{x1} {y1} C{middle} {y1} {middle} {y2} {x2} {y2} ");
    }
    text
}

fn boxed(stage: &StageRecord, place: (usize, usize)) -> Markup {
    let (x, y) = (left(place).0, place.1 - BOX.1 / 2);
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn record(stages: &[(&str, &[&str])]) -> RunRecord {
        let stages: Vec<serde_json::Value> = stages
            .iter()
            .map(|(id, needs)| {
                serde_json::json!({
                    "stage": id, "kind": "split", "needs": { "x": needs }, "params": {},
                    "recipe": null, "fingerprint": null, "artifact": null, "digest": null,
                    "outcome": null, "reason": null, "seconds": 0.0, "made_in_seconds": null,
                    "maker": null,
                })
            })
            .collect();
        let record = serde_json::json!({
            "format": 1, "run": "r", "workflow": "w", "outcome": "done", "started_at_ms": 0,
            "seconds": 1.0, "seed": 0, "device": "cpu", "threads": 1, "versions": {},
            "machine": {}, "store": "s", "stages": stages,
        });
        serde_json::from_value(record).expect("a record")
    }

    #[test]
    fn a_line_over_several_columns_never_meets_a_box() {
        let record = record(&[
            ("dataset", &[]),
            ("split", &["dataset"]),
            ("volumes", &["dataset"]),
            ("cache", &["dataset", "split", "volumes"]),
            ("model", &["cache"]),
            ("final", &["cache", "model", "dataset"]),
        ]);
        let grid = GraphLayout::of(&record);
        assert_eq!(grid.lines.len(), 9);
        let boxes: Vec<GraphCell> = grid.boxes.values().copied().collect();
        for line in &grid.lines {
            assert!(line.windows(2).all(|pair| pair[1].0 == pair[0].0 + 1), "{line:?}");
            let between = &line[1..line.len() - 1];
            let is_free = |lane: &GraphCell| {
                boxes.iter().all(|place| place.0 != lane.0 || place.1.abs_diff(lane.1) > BOX.1 / 2)
            };
            assert!(between.iter().all(is_free), "{line:?} in {boxes:?}");
        }
        let lanes: BTreeSet<GraphCell> =
            grid.lines.iter().flat_map(|line| line[1..line.len() - 1].to_vec()).collect();
        assert_eq!(lanes.len(), 4, "one from each stage in each column between");
    }
}
