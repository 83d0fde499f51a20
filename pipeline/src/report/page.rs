//! The report page: curves, sections and chart data in one document.

use super::charts::{Chart, figures};
use super::curves::curves;
use super::document::document;
use super::subject::RunSubject;
use super::{VOXELS_SCRIPT, sections, sweep};
use crate::tables::Variants;
use maud::{Markup, PreEscaped, html};

const UPLOT_SCRIPT: &str = include_str!("assets/uPlot.iife.min.js");
const UPLOT_STYLE: &str = include_str!("assets/uPlot.min.css");
const SCRIPT: &str = include_str!("assets/report.js");
const STYLE: &str = include_str!("assets/report.css");

/// Report on one run, or several side by side with the first as baseline.
pub fn page(subjects: &[RunSubject]) -> String {
    let mut drawn = curves(subjects);
    let training = figures(&drawn);
    let body = match subjects {
        [one] => sections::alone(one, training, &mut drawn),
        several => sections::side_by_side(several, training, &mut drawn),
    };
    let title = match subjects {
        [one] => format!("{} · voxflow", one.past.record.run),
        several => format!("{} runs · voxflow", several.len()),
    };
    whole(&title, &body, &drawn)
}

/// Page of a sweep.
pub fn sweep_page(variants: &Variants, subjects: Vec<RunSubject>) -> String {
    let (body, drawn) = sweep::body(variants, subjects);
    whole(&format!("{} · voxflow", variants.sweep), &body, &drawn)
}

fn whole(title: &str, body: &Markup, drawn: &[Chart]) -> String {
    let content = html! {
        (body)
        script type="application/json" id="charts" { (PreEscaped(data(drawn))) }
        script { (PreEscaped(UPLOT_SCRIPT)) }
        script { (PreEscaped(VOXELS_SCRIPT)) }
        script { (PreEscaped(SCRIPT)) }
    };
    document(title, &[UPLOT_STYLE, STYLE], &content)
}

/// JSON escaped for embedding in a script element.
fn data(charts: &[Chart]) -> String {
    serde_json::to_string(charts).unwrap_or_else(|_| "[]".into()).replace('<', "\\u003c")
}
