//! The layout of a folder for people: patterns, three cases, unused files.

use super::layout::{Found, OTHER_LABELS};
use crate::commands::tell;
use crate::humanize;
use crate::text_table::{Cell, TextTable};
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
        let count = humanize::count(names.len() as u64, "file");
        tell(&format!("not used: {count} ({reason}): {}{more}", few.join(", ")));
    }
    if !found.exclude.is_empty() {
        tell(&format!("exclude: {}", found.exclude.join(", ")));
    }
}

/// Says what to do where as many labels are left out as there are cases: a folder of datasets.
pub(super) fn other_datasets(folder: &Path, found: &Found, cases: usize) {
    let left = found.unused.get(OTHER_LABELS).map_or(0, Vec::len);
    if cases > 0 && left >= cases {
        tell(&format!(
            "labels of other cases are left out: if '{}' holds several datasets, name the folder \
             of one",
            folder.display()
        ));
    }
}

/// Three cases, and how many there are.
pub(in crate::commands) fn cases(folder: &Path, listing: &Listing) {
    let head = ["case", "image", "label", "channels", "shape", "spacing (mm)"];
    let mut sheet = TextTable::new("", head);
    let count = listing.cases.len();
    let places: Vec<usize> = match count {
        0..=3 => (0..count).collect(),
        _ => vec![0, count / 2, count - 1],
    };
    places.into_iter().for_each(|at| sheet.push(row(folder, &listing.cases[at])));
    tell(sheet.text(crate::console::terminal_width()).trim_end());
    tell(&format!("{}: {}", humanize::count(count as u64, "case"), listing.amount()));
}

fn row(folder: &Path, case: &Case) -> Vec<Cell> {
    let headers: Vec<_> =
        case.images.iter().filter_map(|name| read_header(&folder.join(name), name).ok()).collect();
    let first = headers.first();
    vec![
        Cell::text(&case.name),
        Cell::text(together(&case.images)),
        Cell::text(case.label.clone().unwrap_or_default()),
        Cell::Count(headers.iter().map(|header| header.channels as u64).sum()),
        Cell::text(first.map_or_else(String::new, |header| {
            header.shape.map(|length| length.to_string()).join(" x ")
        })),
        Cell::text(first.map_or_else(String::new, |header| {
            spacing_mm(&header.affine).map(|mm| plain(format!("{mm:.3}"))).join(" x ")
        })),
    ]
}

/// "p1/{t1,t2}.nii" for p1/t1.nii and p1/t2.nii.
fn together(names: &[String]) -> String {
    let first = match names {
        [] => return String::new(),
        [only] => return only.clone(),
        [first, ..] => first,
    };
    let forwards: Vec<Vec<char>> = names.iter().map(|name| name.chars().collect()).collect();
    let backwards: Vec<Vec<char>> = names.iter().map(|name| name.chars().rev().collect()).collect();
    let (start, end) = (shared_words(&forwards), shared_words(&backwards));
    let middles = forwards.iter().map(|letters| {
        letters[start..letters.len().saturating_sub(end).max(start)].iter().collect::<String>()
    });
    let middles = middles.collect::<Vec<_>>().join(",");
    let before: String = first.chars().take(start).collect();
    let after: String = first.chars().skip(first.chars().count() - end).collect();
    format!("{before}{{{middles}}}{after}")
}

/// Number of letters with which all names begin, whole words only.
fn shared_words(names: &[Vec<char>]) -> usize {
    let own = &names[0];
    let count = (0..own.len())
        .take_while(|&at| names.iter().all(|letters| letters.get(at) == own.get(at)))
        .count();
    (0..=count).rev().find(|at| *at == 0 || !own[at - 1].is_alphanumeric()).unwrap_or(0)
}

/// "1.200" → "1.2".
fn plain(number: String) -> String {
    number.trim_end_matches('0').trim_end_matches('.').to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_a_case_are_named_together() {
        let shown =
            |names: &[&str]| together(&names.iter().map(|n| n.to_string()).collect::<Vec<_>>());
        assert_eq!(shown(&["a/p1_t1.nii.gz", "a/p1_t2.nii.gz"]), "a/p1_{t1,t2}.nii.gz");
        assert_eq!(shown(&["CT/p1.nii", "PET/p1.nii"]), "{CT,PET}/p1.nii");
        assert_eq!(shown(&["p1.nii"]), "p1.nii");
    }
}
