//! Self-contained HTML documents: opened from disk, with network access forbidden by their own
//! policy.

use maud::{DOCTYPE, Markup, PreEscaped, html};

/// Content security policy: no external resources.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:";

/// Assembles a document from title, styles and body (including scripts).
pub fn document(title: &str, styles: &[&str], body: &Markup) -> String {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                title { (title) }
                style { @for style in styles { (PreEscaped(style)) } }
            }
            body { (body) }
        }
    }
    .into_string()
}
