//! The page: one self-contained file. It opens from disk, asks no server for anything (its own
//! policy forbids it), and holds styles, script and data.

use super::charts::{self, Chart};
use super::sections;
use super::subject::Subject;
use maud::{DOCTYPE, Markup, PreEscaped, html};

const UPLOT_SCRIPT: &str = include_str!("assets/uPlot.iife.min.js");
const UPLOT_STYLE: &str = include_str!("assets/uPlot.min.css");
const SCRIPT: &str = include_str!("assets/report.js");
const STYLE: &str = include_str!("assets/report.css");

/// Nothing is fetched from anywhere.
pub const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:";

/// The report of one run, or of several side by side, the first being the baseline.
pub fn page(subjects: &[Subject]) -> String {
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
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                title { (title) }
                style { (PreEscaped(UPLOT_STYLE)) (PreEscaped(STYLE)) }
            }
            body {
                (body)
                script type="application/json" id="charts" { (PreEscaped(data(&drawn))) }
                script { (PreEscaped(UPLOT_SCRIPT)) }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    }
    .into_string()
}

/// A figure for each chart; the script draws into it.
pub fn figures(charts: &[Chart]) -> Markup {
    html! {
        div.charts {
            @for chart in charts {
                figure { figcaption { (chart.title) } div.chart id=(chart.id) {} }
            }
        }
    }
}

/// JSON that cannot end the element it stands in.
fn data(charts: &[Chart]) -> String {
    serde_json::to_string(charts).unwrap_or_else(|_| "[]".into()).replace('<', "\\u003c")
}
