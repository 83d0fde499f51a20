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
                    th class=[sheet.is_numeric(at).then_some("number")] { (name) }
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

/// CSS class: alignment for numbers, colour for outcomes, width for reasons.
fn class<'a>(sheet: &'a TextTable, at: usize, cell: &'a Cell) -> Option<&'a str> {
    match (sheet.columns[at].as_str(), cell) {
        _ if sheet.is_numeric(at) => Some("number"),
        ("outcome", Cell::Text(word)) => Some(word),
        ("why", _) => Some("why"),
        _ => None,
    }
}
