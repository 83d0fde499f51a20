//! The page: curves, sections and the data that the script draws, in one document.

use super::charts::{self, Chart, figures};
use super::document::document;
use super::sections;
use super::subject::RunSubject;
use maud::{PreEscaped, html};

const UPLOT_SCRIPT: &str = include_str!("assets/uPlot.iife.min.js");
const UPLOT_STYLE: &str = include_str!("assets/uPlot.min.css");
const SCRIPT: &str = include_str!("assets/report.js");
const STYLE: &str = include_str!("assets/report.css");

/// The report of one run, or of several side by side, the first being the baseline.
pub fn page(subjects: &[RunSubject]) -> String {
    let mut drawn = charts::curves(subjects);
    let curves = figures(&drawn);
    let body = match subjects {
        [one] => sections::alone(one, curves, &mut drawn),
        several => sections::side_by_side(several, curves, &mut drawn),
    };
    let title = match subjects {
        [one] => format!("{} · voxflow", one.past.record.run),
        several => format!("{} runs · voxflow", several.len()),
    };
    let content = html! {
        (body)
        script type="application/json" id="charts" { (PreEscaped(data(&drawn))) }
        script { (PreEscaped(UPLOT_SCRIPT)) }
        script { (PreEscaped(SCRIPT)) }
    };
    document(&title, &[UPLOT_STYLE, STYLE], &content)
}

/// JSON that cannot end the element it stands in.
fn data(charts: &[Chart]) -> String {
    serde_json::to_string(charts).unwrap_or_else(|_| "[]".into()).replace('<', "\\u003c")
}
