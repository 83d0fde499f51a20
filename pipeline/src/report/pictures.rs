//! Pictures of tested cases: slices painted by the page in a window chosen by the reader; or,
//! without the case's files, the pictures drawn by the test.

use super::charts;
use super::subject::{CaseSlices, NamedSlice, RunSubject, Scored};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use maud::{Markup, html};
use serde_json::{Value, json};
use voxflow_stages::image::picture::{Colour, PAIR, PictureOf, Plane};
use voxflow_stages::stage::Yields;

/// Windows for CT, as (name, level, width) in Hounsfield units.
pub const CT_WINDOWS: [(&str, f32, f32); 5] = [
    ("Abdomen", 40.0, 400.0),
    ("Lung", -600.0, 1500.0),
    ("Bone", 400.0, 1800.0),
    ("Brain", 40.0, 80.0),
    ("Liver", 60.0, 160.0),
];

/// Lower and upper value of a level and width.
pub fn ends(level: f32, width: f32) -> [f32; 2] {
    [level - width / 2.0, level + width / 2.0]
}

/// Pictures of every test.
pub fn pictures(subject: &RunSubject) -> Markup {
    let mut tests = subject.scored();
    tests.retain(|place| place.yields == Yields::TestScores);
    tests.dedup_by(|one, other| one.stage == other.stage);
    html! { @for place in tests {
        @let slices: Vec<&CaseSlices> =
            subject.slices.iter().filter(|case| case.stage == place.stage).collect();
        @if slices.is_empty() { (drawn(subject, &place)) }
        @else { (painted(subject, &place, &slices)) }
    } }
}

/// Cases painted by the page's script.
fn painted(subject: &RunSubject, place: &Scored, cases: &[&CaseSlices]) -> Markup {
    let ranked = charts::ranked(subject, place);
    let mut labels: Vec<&(u8, String, Colour)> =
        cases.iter().flat_map(|case| &case.labels).collect();
    labels.sort();
    labels.dedup();
    html! {
        h2 { "Pictures of " (place.stage) }
        section.painted data-pictures=(data(cases, labels.len())) {
            div.tools {
                (windows(cases))
                @if labels.len() > 1 {
                    @for (value, name, colour) in &labels {
                        label {
                            input type="checkbox" data-label=(value) checked;
                            span.colour style=(background(*colour)) {}
                            (name)
                        }
                    }
                    span.soft { "outline: reference, filled: prediction" }
                } @else {
                    span.soft {
                        "Outlines: " span.reference { "reference" } ", "
                        span.prediction { "prediction" } ", " span.both { "both" }
                    }
                }
            }
            @for case in cases {
                @if let Some((rank, _, dice)) = ranked.iter().find(|(_, name, _)| *name == case.case) {
                    (heading(subject, place, (rank, &case.case, Some(*dice))))
                }
                div.pictures {
                    @for slice in &case.slices { (canvas(&case.case, slice)) }
                }
            }
            p.soft { "A click on a picture enlarges it." }
        }
    }
}

fn windows(cases: &[&CaseSlices]) -> Markup {
    let own = cases.first().map_or([0.0, 1.0], |case| case.window);
    let named: Vec<(&str, [f32; 2])> = match cases.iter().all(|case| case.is_ct) {
        true => {
            CT_WINDOWS.iter().map(|(name, level, width)| (*name, ends(*level, *width))).collect()
        }
        false => vec![("1–99 %", own)],
    };
    html! { span {
        @for (name, [low, high]) in named {
            button type="button" data-window=(format!("{low},{high}")) { (name) }
        }
        button type="button" data-window="all" { "Full range" }
    } }
}

/// Rank, case and Dice, with the way to all slices.
fn heading(
    subject: &RunSubject,
    place: &Scored,
    (rank, case, dice): (&str, &str, Option<f64>),
) -> Markup {
    let run = crate::runs::short(&subject.past.record.run);
    html! {
        h3 {
            (rank) ": " (case)
            @if let Some(dice) = dice { " (mean Dice " (format!("{dice:.4}")) ")" }
            " "
            @match subject.case_page(&place.stage, case) {
                Some(address) => a.soft href=(address) { "all slices" },
                None => code.soft { "voxflow view " (run) "/" (place.stage) "/" (case) " -o case.html" },
            }
        }
    }
}

fn canvas(case: &str, slice: &NamedSlice) -> Markup {
    let [left, right, above, below] = slice.plane.marks();
    let words = format!("{case}, {} plane, {}", slice.plane.word(), slice.why);
    let bar_mm = bar_mm(slice.size_mm[0]);
    let share = format!("width:{:.2}%", bar_mm / slice.size_mm[0] * 100.0);
    let ratio = slice.slice.width as f64 / slice.slice.height.max(1) as f64;
    // Axial slices come first, and fill a row.
    let across = (slice.plane != Plane::Axial).then_some("across");
    html! {
        figure class=[across] style=(format!("--ratio:{ratio:.3}")) {
            div.framed {
                canvas width=(slice.slice.width) height=(slice.slice.height) role="img"
                    aria-label=(words) {}
                span.left { (left) } span.right { (right) }
                span.above { (above) } span.below { (below) }
                i.bar style=(share) {}
            }
            figcaption {
                (slice.plane.word()) " " (slice.index) ", " (slice.why) ", bar " (bar_mm) " mm"
            }
        }
    }
}

/// Length of a scale bar: at most a third of the picture.
fn bar_mm(width_mm: f64) -> f64 {
    const LENGTHS_MM: [f64; 7] = [100.0, 50.0, 20.0, 10.0, 5.0, 2.0, 1.0];
    LENGTHS_MM.into_iter().find(|length| *length <= width_mm / 3.0).unwrap_or(1.0)
}

/// Slices for the script, in the order of the canvases.
fn data(cases: &[&CaseSlices], labels: usize) -> String {
    let all: Vec<Value> = cases
        .iter()
        .flat_map(|case| case.slices.iter().map(move |slice| of_slice(case, slice, labels)))
        .collect();
    Value::from(all).to_string()
}

fn of_slice(case: &CaseSlices, NamedSlice { slice, .. }: &NamedSlice, labels: usize) -> Value {
    let encoded = |bytes: &Vec<u8>| BASE64_STANDARD.encode(bytes);
    let maps: Vec<Value> = slice
        .maps
        .iter()
        .enumerate()
        .map(|(at, bytes)| {
            let (fill, colour) = match labels > 1 {
                true => (if at == 0 { 0.0 } else { 0.35 }, None),
                false => (0.0, Some(PAIR[at.min(1)])),
            };
            let edge = labels < 2 || at == 0;
            json!({ "data": encoded(bytes), "fill": fill, "edge": edge, "colour": colour })
        })
        .collect();
    let colours: serde_json::Map<String, Value> =
        case.labels.iter().map(|(value, _, colour)| (value.to_string(), json!(colour))).collect();
    json!({
        "values": encoded(&slice.values),
        "window": case.window,
        "scale": { "slope": case.scale.slope, "offset": case.scale.offset },
        "maps": maps,
        "colours": colours,
    })
}

/// Pictures drawn by the test, which show the slice with most of the labels.
fn drawn(subject: &RunSubject, place: &Scored) -> Markup {
    let stage = subject.past.record.stage(&place.stage);
    let pictures = stage.map(|stage| subject.pictures(stage)).unwrap_or_default();
    html! { @if !pictures.is_empty() {
        h2 { "Pictures of " (place.stage) }
        p.soft {
            "The slice with most of the labels. Outlines: " span.reference { "reference" } ", "
            span.prediction { "prediction" } ", " span.both { "both" } "."
        }
        @for row in pictures.chunk_by(|(one, _), (other, _)| one.case == other.case) {
            (heading(subject, place, (&row[0].0.rank, &row[0].0.case, row[0].0.dice)))
            div.pictures { @for (picture, source) in row { (picture_of(picture, source)) } }
        }
    } }
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

fn background([red, green, blue]: Colour) -> String {
    format!("background:rgb({red},{green},{blue})")
}
