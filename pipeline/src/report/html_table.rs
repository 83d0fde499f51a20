//! Tables of the page, sortable by clicking.

use crate::text_table::{Cell, TextTable};
use maud::{Markup, html};

/// A table sortable by clicking.
pub fn table(sheet: &TextTable) -> Markup {
    rows(sheet, &|_| None)
}

/// A table whose first cells lead to the address that `link` has for their row.
pub fn rows(sheet: &TextTable, link: &dyn Fn(&[Cell]) -> Option<String>) -> Markup {
    html! {
        div.scroll {
            table.sortable {
                thead { tr { @for (at, name) in sheet.columns.iter().enumerate() {
                    th class=[heading_class(sheet, at)] { (breakable(name)) }
                } } }
                tbody { @for row in &sheet.rows { tr { @for (at, cell) in row.iter().enumerate() {
                    td class=[class(sheet, at, cell)] data-value=(cell.in_full()) {
                        @match link(row).filter(|_| at == 0) {
                            Some(address) => a href=(address) { (cell.for_people()) },
                            None => (cell.for_people()),
                        }
                    }
                } } } }
            }
        }
    }
}

/// Columns that a narrow page leaves out: the stage tells as much.
const ASIDE: [&str; 3] = ["split", "cases", "grid"];
/// Texts with more characters may run over several lines.
const LONG: usize = 28;

/// A heading that may be broken within its dotted path.
fn breakable(name: &str) -> Markup {
    html! { @for (at, part) in name.split_inclusive(['.', '_']).enumerate() {
        @if at > 0 { wbr; }
        (part)
    } }
}

fn heading_class(sheet: &TextTable, at: usize) -> Option<&'static str> {
    match sheet.columns[at].as_str() {
        name if ASIDE.contains(&name) => Some("aside"),
        _ => sheet.is_numeric(at).then_some("number"),
    }
}

/// CSS class: alignment for numbers, colour for outcomes, width for reasons.
fn class<'a>(sheet: &'a TextTable, at: usize, cell: &'a Cell) -> Option<&'a str> {
    match (sheet.columns[at].as_str(), cell) {
        ("why", _) => Some("why"),
        ("outcome", Cell::Text(word)) => Some(word),
        (_, Cell::Text(words)) if words.chars().count() > LONG => Some("long"),
        _ => heading_class(sheet, at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_on_one_line_long_texts_do_not_and_headings_break_within_their_paths() {
        let mut sheet = TextTable::new("", ["stage", "grid", "model.learning_rate", "note"]);
        let note = Cell::text("a sentence of more than twenty-eight characters");
        sheet.push(vec![Cell::text("final"), Cell::text("original"), Cell::Number(0.5), note]);
        let html = table(&sheet).into_string();
        for part in [
            "<th>stage</th><th class=\"aside\">grid</th>",
            "<th class=\"number\">model.<wbr>learning_<wbr>rate</th>",
            "<td data-value=\"final\">",
            "<td class=\"aside\" data-value=\"original\">",
            "<td class=\"number\" data-value=\"0.5\">",
            "<td class=\"long\" data-value=\"a sentence",
        ] {
            assert!(html.contains(part), "{part} in\n{html}");
        }
    }
}
