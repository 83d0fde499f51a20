//! Self-contained HTML page with a slider per plane.

use super::subject::ViewSubject;
use crate::error::Result;
use crate::report::document;
use base64::Engine;
use maud::{Markup, PreEscaped, html};
use std::path::Path;
use voxflow_cache::disk;
use voxflow_stages::image::picture::{Colour, Plane};

const SCRIPT: &str = include_str!("view.js");
const STYLE: &str = include_str!("view.css");

/// Writes the page with at most `slices` slices per plane, `side` pixels on the longer side.
pub(super) fn save(
    subject: &ViewSubject,
    planes: &[Plane],
    slices: usize,
    side: usize,
    path: &Path,
) -> Result<()> {
    let figures = planes
        .iter()
        .map(|plane| figure(subject, *plane, slices, side))
        .collect::<Result<Vec<Markup>>>()?;
    Ok(disk::write(path, page(subject, &figures).as_bytes())?)
}

fn page(subject: &ViewSubject, figures: &[Markup]) -> String {
    let body = html! {
        h1 { (subject.name) }
        p { (subject.facts) }
        ul.legend {
            @for (name, colour) in subject.legend() {
                li { span style=(background(colour)) {} (name) }
            }
        }
        main { @for figure in figures { (figure) } }
        p.hint {
            "Drag a slider, turn the wheel over a picture, or use the arrow keys. "
            "Radiological convention: the patient's right is on the left."
        }
        script { (PreEscaped(SCRIPT)) }
    };
    document(&format!("{} · voxflow", subject.name), &[STYLE], &body)
}

/// A plane's slider and slices; the script shows one slice at a time.
fn figure(subject: &ViewSubject, plane: Plane, slices: usize, side: usize) -> Result<Markup> {
    let scene = &subject.scene;
    let slices = scene.sample(plane, slices);
    let fullest = scene.fullest(plane);
    let start = slices.iter().position(|slice| *slice >= fullest).unwrap_or(0);
    let pictures = slices
        .iter()
        .map(|slice| {
            let (raster, bar_mm) = scene.slice(plane, *slice, side);
            let words = format!(
                "{} {slice}, {:.1} mm; the bar is {bar_mm} mm",
                plane.word(),
                scene.position_mm(plane, *slice)
            );
            Ok((words, base64::engine::general_purpose::STANDARD.encode(raster.png()?)))
        })
        .collect::<Result<Vec<(String, String)>>>()?;
    let [left, right, above, below] = plane.marks();
    Ok(html! {
        figure {
            div.frame {
                @for (at, (words, png)) in pictures.iter().enumerate() {
                    img alt=(words) src={ "data:image/png;base64," (png) } hidden[at != start];
                }
                span.left { (left) } span.right { (right) }
                span.above { (above) } span.below { (below) }
            }
            input type="range" min="0" max=(pictures.len().saturating_sub(1)) value=(start)
                aria-label=(plane.word());
            figcaption { (pictures.get(start).map_or("", |(words, _)| words)) }
        }
    })
}

fn background([red, green, blue]: Colour) -> String {
    format!("background:rgb({red},{green},{blue})")
}
