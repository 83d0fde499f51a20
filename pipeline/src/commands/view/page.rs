//! Self-contained HTML viewer: three planes with one crosshair, and the whole volume inside.

use super::subject::ViewSubject;
use crate::error::Result;
use crate::report::address::page_of;
use crate::report::pictures::{CT_WINDOWS, ends};
use crate::report::{VOXELS_SCRIPT, document};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use maud::{Markup, PreEscaped, html};
use serde_json::json;
use std::path::Path;
use voxflow_cache::disk;
use voxflow_stages::image::picture::{Colour, Plane, Scale, Slab, range};

const SCRIPT: &str = include_str!("view.js");
const STYLE: &str = include_str!("view.css");
/// Of the pointer, with their names on the buttons.
const TOOLS: [(&str, &str); 3] = [("cross", "Crosshair"), ("window", "Window"), ("pan", "Pan")];

/// A case's pages before and after it, and all of them, by name.
#[derive(Debug, Default)]
pub(super) struct Neighbours<'a> {
    /// All cases, in the order of leafing.
    pub cases: &'a [String],
    /// Place of the shown one.
    pub at: usize,
}

/// Writes a case's page.
pub(super) fn save(
    subject: &ViewSubject,
    planes: &[Plane],
    neighbours: &Neighbours,
    path: &Path,
) -> Result<()> {
    Ok(disk::write(path, page(subject, planes, neighbours)?.as_bytes())?)
}

fn page(subject: &ViewSubject, planes: &[Plane], neighbours: &Neighbours) -> Result<String> {
    let scale = Scale::of(subject.scene.values());
    let slabs = subject.scene.slabs(scale)?;
    let body = html! {
        header {
            h1 { (subject.name) }
            (leafing(neighbours))
        }
        p { (subject.facts) " " span #loading {} }
        (tools(subject))
        main { @for plane in planes { (figure(*plane)) } }
        p.values id="value" {}
        p.hint {
            "Wheel or arrow keys: slices. Left button: the chosen tool; right button: window and "
            "level; Shift or middle button: pan; Ctrl and wheel: zoom. Keys: w next window, 1 to 9 "
            "labels, l all labels, r reference, s prediction, d differences, x crosshair, 0 reset"
            @if neighbours.cases.len() > 1 { ", n next case, p previous case" }
            ". Radiological convention: the patient's right is on the left."
        }
        script type="application/json" id="volume" { (PreEscaped(facts(subject, scale))) }
        @for slab in &slabs { (packed(slab)) }
        script { (PreEscaped(VOXELS_SCRIPT)) }
        script { (PreEscaped(SCRIPT)) }
    };
    Ok(document(&format!("{} · voxflow", subject.name), &[STYLE], &body))
}

/// Links to the pages beside this one, and a list of all.
fn leafing(neighbours: &Neighbours) -> Markup {
    let Neighbours { cases, at } = neighbours;
    let [previous, next] = [at.checked_sub(1), at.checked_add(1)]
        .map(|at| at.and_then(|at| cases.get(at)).map(|case| address(case)));
    html! {
        @if cases.len() > 1 {
            nav aria-label="Cases" {
                a id="previous" href=[previous] { "◀ previous" }
                select id="case" aria-label="Case" {
                    @for (place, case) in cases.iter().enumerate() {
                        option value=(address(case)) selected[place == *at] { (case) }
                    }
                }
                a id="next" href=[next] { "next ▶" }
                span { (at + 1) " of " (cases.len()) }
            }
        }
    }
}

fn address(case: &str) -> String {
    format!("./{}", page_of(case))
}

fn tools(subject: &ViewSubject) -> Markup {
    html! {
        div.tools role="toolbar" aria-label="Tools" {
            span {
                @for (tool, name) in TOOLS {
                    button type="button" data-tool=(tool) { (name) }
                }
            }
            span {
                @for (name, [low, high]) in windows(subject) {
                    button type="button" data-window=(format!("{low},{high}")) { (name) }
                }
            }
            span {
                button type="button" id="closer" aria-label="Zoom in" { "+" }
                button type="button" id="wider" aria-label="Zoom out" { "−" }
                button type="button" id="reset" { "Reset" }
            }
            span.values id="window" {}
        }
        div.tools { (labels(subject)) }
    }
}

/// Named windows: those of CT, or the suggested one; and all values.
fn windows(subject: &ViewSubject) -> Vec<(&'static str, [f32; 2])> {
    let all = range(subject.scene.values());
    let mut windows: Vec<(&str, [f32; 2])> = match subject.is_ct {
        true => {
            CT_WINDOWS.iter().map(|(name, level, width)| (*name, ends(*level, *width))).collect()
        }
        false => vec![("1–99 %", subject.suggested_window)],
    };
    windows.push(("Full range", all));
    windows
}

/// Switches for labels, maps and crosshair.
fn labels(subject: &ViewSubject) -> Markup {
    let maps = subject.maps();
    html! {
        ul.legend {
            @for (value, name, colour) in subject.labels() {
                li { label {
                    input type="checkbox" data-label=(value) checked;
                    @if maps.len() < 2 || subject.has_label_colours() {
                        span.colour style=(background(colour)) {}
                    }
                    (name)
                } }
            }
        }
        ul.legend {
            @if maps.len() > 1 {
                @for (at, map) in maps.iter().enumerate() {
                    li { label {
                        input type="checkbox" data-map=(at) checked;
                        @if let Some(colour) = map.colour {
                            span.colour style=(background(colour)) {}
                        }
                        (map.name) @if map.colour.is_none() { " (" (map.style()) ")" }
                    } }
                }
                li { label { input type="checkbox" id="differences"; "differences" } }
            }
            li { label { input type="checkbox" id="crosshair" checked; "crosshair" } }
            @if maps.iter().any(|map| map.fill) {
                li {
                    label {
                        "opacity "
                        input type="range" id="opacity" min="0" max="100" value="30";
                    }
                }
            }
        }
    }
}

/// Facts for the script, as JSON.
fn facts(subject: &ViewSubject, scale: Scale) -> String {
    let scene = &subject.scene;
    let [low, high] = range(scene.values());
    let start = Plane::ALL.map(|plane| (plane.axes()[2], scene.fullest(plane)));
    let mut at = [0; 3];
    start.into_iter().for_each(|(axis, slice)| at[axis] = slice);
    let labels = subject.labels();
    let value = json!({
        "shape": scene.shape(),
        "spacing": scene.spacing_mm(),
        "affine": scene.affine(),
        "window": scene.window(),
        "range": high - low,
        "scale": { "slope": scale.slope, "offset": scale.offset },
        "empty": scale.stored(low),
        "unit": if subject.is_ct { " HU" } else { "" },
        "start": at,
        "labels": labels.iter().map(|(value, name, colour)| {
            json!({ "value": value, "name": name, "colour": colour })
        }).collect::<Vec<_>>(),
        "maps": subject.maps().iter().map(|map| {
            let fill = if map.fill { 0.3 } else { 0.0 };
            json!({ "name": map.name, "fill": fill, "edge": map.edge, "colour": map.colour })
        }).collect::<Vec<_>>(),
    });
    value.to_string().replace('<', "\\u003c")
}

/// A slab's values and maps, parted by blanks.
fn packed(slab: &Slab) -> Markup {
    let parts: Vec<String> = [&slab.values]
        .into_iter()
        .chain(&slab.maps)
        .map(|bytes| BASE64_STANDARD.encode(bytes))
        .collect();
    html! {
        script.slab type="application/octet-stream" data-first=(slab.first)
            data-slices=(slab.slices) { (PreEscaped(parts.join(" "))) }
    }
}

/// A plane's canvas with its slider.
fn figure(plane: Plane) -> Markup {
    let [left, right, above, below] = plane.marks();
    let axes = format!("{:?}", plane.axes());
    html! {
        figure data-plane=(plane.word()) data-axes=(axes) {
            div.frame {
                canvas aria-label=(plane.word()) {}
                span.left { (left) } span.right { (right) }
                span.above { (above) } span.below { (below) }
            }
            input type="range" min="0" value="0" aria-label={ (plane.word()) " slice" };
            figcaption {}
        }
    }
}

fn background([red, green, blue]: Colour) -> String {
    format!("background:rgb({red},{green},{blue})")
}
