//! How a folder was read, for people: the patterns, three cases, and what is not used.

use super::layout::Found;
use crate::commands::tell;
use crate::sheet::{Cell, Sheet};
use crate::words;
use std::path::Path;
use voxflow_stages::dataset::{Case, Listing};
use voxflow_stages::image::affine::spacing_mm;
use voxflow_stages::image::nifti::read_header;

/// The patterns, and the files that they leave.
pub(super) fn layout(found: &Found) {
    tell(&format!("images: {}\nlabels: {}", found.images.join(", "), found.labels));
    for (reason, names) in &found.unused {
        let few: Vec<&str> = names.iter().take(3).map(String::as_str).collect();
        let more = match names.len().saturating_sub(3) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let count = words::count(names.len() as u64, "file");
        tell(&format!("not used: {count} ({reason}): {}{more}", few.join(", ")));
    }
    if !found.exclude.is_empty() {
        tell(&format!("exclude: {}", found.exclude.join(", ")));
    }
}

/// Three cases, and how many there are.
pub(super) fn cases(folder: &Path, listing: &Listing) {
    let head = ["case", "image", "label", "channels", "shape", "spacing (mm)"];
    let mut sheet = Sheet::new("", head);
    let count = listing.cases.len();
    let places: Vec<usize> = match count {
        0..=3 => (0..count).collect(),
        _ => vec![0, count / 2, count - 1],
    };
    places.into_iter().for_each(|at| sheet.push(row(folder, &listing.cases[at])));
    tell(sheet.text(crate::console::terminal_width()).trim_end());
    let (labelled, without) = (listing.labelled().count(), listing.unlabelled().count());
    let without = if without > 0 { format!(", {without} without a label") } else { String::new() };
    tell(&format!("{}: {labelled} labelled{without}", words::count(count as u64, "case")));
}

fn row(folder: &Path, case: &Case) -> Vec<Cell> {
    let headers: Vec<_> =
        case.images.iter().filter_map(|name| read_header(&folder.join(name), name).ok()).collect();
    let first = headers.first();
    let numbers = |all: Vec<String>| Cell::text(all.join(" x "));
    vec![
        Cell::text(&case.name),
        Cell::text(case.images.join(", ")),
        Cell::text(case.label.clone().unwrap_or_default()),
        Cell::Count(headers.iter().map(|header| header.channels as u64).sum()),
        numbers(first.map_or(vec![], |h| h.shape.iter().map(usize::to_string).collect())),
        numbers(first.map_or(vec![], |header| {
            let mm = spacing_mm(&header.affine);
            mm.iter().map(|mm| format!("{:.3}", mm)).map(plain).collect()
        })),
    ]
}

/// "1.200" → "1.2".
fn plain(number: String) -> String {
    number.trim_end_matches('0').trim_end_matches('.').to_string()
}
