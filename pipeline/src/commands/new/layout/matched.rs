//! Files matched by patterns, and matches that are not cases.

use crate::commands::folder_scan::{ImageFile, Survey, says_label, tokens};
use crate::error::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use voxflow_stages::dataset::name::{is_excluded, is_like, split_suffix};
use voxflow_stages::dataset::pattern::Pattern;
use voxflow_stages::image::nifti::read_header;

/// So many derived cases are left out by name; more need a wildcard.
const NAMED: usize = 20;
/// Folders that hold several patients begin with these words.
const PLACES: [&str; 10] = [
    "site", "center", "centre", "hospital", "scanner", "vendor", "batch", "fold", "cohort", "group",
];

/// Files matched by patterns, as the kind `folder` matches them.
pub(super) struct Matched {
    /// For each channel: case → path.
    pub images: Vec<BTreeMap<String, String>>,
    pub labels: BTreeMap<String, String>,
    /// True if a pattern finds two files for one case.
    pub doubled: bool,
}

impl Matched {
    /// A file belongs to the pattern that says most of its name, as the kind `folder` has it.
    pub fn new(images: &[String], labels: &str, survey: &Survey) -> Result<Matched> {
        let texts = images.iter().map(String::as_str).chain([labels]);
        let patterns = texts
            .map(|text| Pattern::new(&small_ending(text), "case"))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| Error::Failed(error.to_string()))?;
        let mut found = vec![BTreeMap::new(); patterns.len()];
        let mut doubled = false;
        for file in &survey.images {
            let plain = format!("{}{}", file.name(), file.ending.to_ascii_lowercase());
            let fitting = patterns
                .iter()
                .enumerate()
                .filter_map(|(at, pattern)| Some((pattern.detail(), at, pattern.name_in(&plain)?)));
            if let Some((_, at, case)) = fitting.max() {
                doubled |= found[at].insert(case, file.path.clone()).is_some();
            }
        }
        let labels = found.pop().unwrap_or_default();
        Ok(Matched { images: found, labels, doubled })
    }

    /// The cases that lack an image, or one of its channels.
    pub fn partial(&self) -> BTreeSet<String> {
        let all = self.images.iter().chain([&self.labels]).flat_map(BTreeMap::keys);
        all.filter(|case| self.images.iter().any(|found| !found.contains_key(*case)))
            .cloned()
            .collect()
    }

    /// The cases that are left out: those that lack a file, and those without a label that are no
    /// cases: files made from a case's image, label files, images of another kind than the labelled
    /// ones.
    pub fn derived(&self, folder: &Path) -> Vec<String> {
        let usual = self.labels.keys().find_map(|case| self.channels(folder, case));
        let (labelled, open): (Vec<&String>, Vec<&String>) =
            self.images[0].keys().partition(|case| self.labels.contains_key(*case));
        let mut named: Vec<String> = vec![];
        let mut wild: BTreeSet<String> = BTreeSet::new();
        for case in open {
            if let Some((before, after)) = around_longest(case, &labelled) {
                wild.insert(format!("{before}*{after}"));
            } else if self.is_named_label(case) || self.has_other_channels(folder, case, usual) {
                match last_word(case) {
                    Some(tail) => drop(wild.insert(format!("*{tail}"))),
                    None => named.push(case.clone()),
                }
            }
        }
        // A wildcard must not leave out a labelled case.
        wild.retain(|text| !labelled.iter().any(|case| is_like(case, text)));
        let mut all: Vec<String> = wild.into_iter().collect();
        named.retain(|case| !all.iter().any(|text| is_like(case, text)));
        named.truncate(NAMED);
        let partial = self.partial();
        all.extend(named.into_iter().filter(|case| !partial.contains(case)));
        all.extend(
            partial.iter().filter(|case| !is_excluded(case, &all)).cloned().collect::<Vec<_>>(),
        );
        all
    }

    fn is_named_label(&self, case: &str) -> bool {
        ImageFile::of(&self.images[0][case]).is_some_and(|file| says_label(&file, 0))
    }

    fn has_other_channels(&self, folder: &Path, case: &str, usual: Option<usize>) -> bool {
        usual.is_some_and(|usual| self.channels(folder, case).is_some_and(|own| own != usual))
    }

    /// Channels of the case's first image; `None` if it cannot be read.
    fn channels(&self, folder: &Path, case: &str) -> Option<usize> {
        let path = self.images[0].get(case)?;
        Some(read_header(&folder.join(path), path).ok()?.channels)
    }

    /// The files that are used.
    pub fn files(&self, exclude: &[String]) -> BTreeSet<&str> {
        let all = self.images.iter().chain([&self.labels]).flatten();
        all.filter(|(case, _)| !is_excluded(case, exclude)).map(|(_, path)| path.as_str()).collect()
    }
}

/// The text before and after the longest labelled name in a case's name, where that name stands as
/// a word.
fn around_longest<'a>(case: &'a str, labelled: &[&String]) -> Option<(&'a str, &'a str)> {
    let owners =
        labelled.iter().filter(|own| case.len() > own.len() && case.contains(own.as_str()));
    let (before, after) = case.split_once(owners.max_by_key(|own| own.len())?.as_str())?;
    let is_word = ends_word(before.chars().last()) && ends_word(after.chars().next());
    is_word.then_some((before, after))
}

fn ends_word(letter: Option<char>) -> bool {
    letter.is_none_or(|letter| !letter.is_alphanumeric())
}

/// "_4d" of "patient001_4d".
fn last_word(case: &str) -> Option<&str> {
    case.rfind(['_', '-', '.']).map(|at| &case[at..])
}

/// A pattern with its ending in small letters, as files are compared.
fn small_ending(text: &str) -> String {
    match split_suffix(text) {
        Some((stem, ending)) => format!("{stem}{}", ending.to_ascii_lowercase()),
        None => text.to_string(),
    }
}

/// For patients with several cases (a folder with several, or a shared first word): the pattern
/// that keeps them on one side of the split.
pub(super) fn group(cases: &Matched, exclude: &[String]) -> Option<String> {
    let kept = cases.images[0].iter().filter(|(case, _)| !is_excluded(case, exclude));
    let owners: Vec<(&str, char)> =
        kept.map(|(case, path)| owner_in(case, path)).collect::<Option<_>>()?;
    let distinct: BTreeSet<&str> = owners.iter().map(|(name, _)| *name).collect();
    let separator = owners.first()?.1;
    let is_plain =
        owners.iter().all(|(name, next)| *next == separator && !name.contains(separator));
    // Fewer than three cannot lie on three sides.
    let are_patients = distinct.len() >= 3 && distinct.iter().all(|name| !names_place(name));
    (distinct.len() < owners.len() && are_patients && is_plain)
        .then(|| format!("{{group}}{separator}*"))
}

/// The folder with whose name the case's name begins, and the separator after it.
fn owner_in<'a>(case: &str, path: &'a str) -> Option<(&'a str, char)> {
    let mut folders = path.split('/').rev().skip(1);
    let own = folders.find(|folder| case.starts_with(*folder) && case.len() > folder.len())?;
    let next = case[own.len()..].chars().next()?;
    (!next.is_alphanumeric()).then_some((own, next))
}

/// True for "site_3": a place with several patients.
fn names_place(name: &str) -> bool {
    let word = tokens(name).first().map(|word| word.to_lowercase()).unwrap_or_default();
    PLACES.contains(&word.as_str())
}
