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
            let fits = |(at, pattern): (usize, &Pattern)| {
                Some((pattern.detail(), at, pattern.name_in(&plain)?))
            };
            if let Some((_, at, case)) = patterns.iter().enumerate().filter_map(fits).max() {
                doubled |= found[at].insert(case, file.path.clone()).is_some();
            }
        }
        let labels = found.pop().unwrap_or_default();
        Ok(Matched { images: found, labels, doubled })
    }

    /// The cases that lack an image, or one of its channels.
    pub fn partial(&self) -> BTreeSet<String> {
        let all = self.images.iter().chain([&self.labels]).flat_map(BTreeMap::keys);
        let lacks = |case: &&String| self.images.iter().any(|found| !found.contains_key(*case));
        all.filter(lacks).cloned().collect()
    }

    /// The cases that are left out: those that lack a file, and those without a label that are no
    /// cases: files made from a case's image, label files,
    /// images of another kind than the labelled ones.
    pub fn derived(&self, folder: &Path) -> Vec<String> {
        let channels = |case: &str| {
            let path = self.images[0].get(case)?;
            Some(read_header(&folder.join(path), path).ok()?.channels)
        };
        let usual = self.labels.keys().find_map(|case| channels(case));
        let (labelled, open): (Vec<&String>, Vec<&String>) =
            self.images[0].keys().partition(|case| self.labels.contains_key(*case));
        let mut named: Vec<String> = vec![];
        let mut wild: BTreeMap<String, usize> = BTreeMap::new();
        for case in open {
            let owner =
                labelled.iter().filter(|own| case.len() > own.len() && case.contains(**own));
            let owner = owner.max_by_key(|own| own.len());
            let path = &self.images[0][case];
            let is_label = ImageFile::of(path).is_some_and(|file| says_label(&file, 0));
            let is_other = channels(case).zip(usual).is_some_and(|(own, usual)| own != usual);
            let rest = owner.and_then(|own| case.split_once(own.as_str()));
            let is_part = |text: &str, at_end: bool| {
                let letter = if at_end { text.chars().last() } else { text.chars().next() };
                letter.is_none_or(|letter| !letter.is_alphanumeric())
            };
            match rest {
                Some((before, after)) if is_part(before, true) && is_part(after, false) => {
                    *wild.entry(format!("{before}*{after}")).or_default() += 1;
                }
                _ if is_label || is_other => match last_word(case) {
                    Some(tail) => *wild.entry(format!("*{tail}")).or_default() += 1,
                    None => named.push(case.clone()),
                },
                _ => {}
            }
        }
        let is_safe = |text: &str| !labelled.iter().any(|case| is_like(case, text));
        let mut all: Vec<String> = wild.into_keys().filter(|text| is_safe(text)).collect();
        named.retain(|case| !all.iter().any(|text| is_like(case, text)));
        named.truncate(NAMED);
        let partial = self.partial();
        all.extend(named.into_iter().filter(|case| !partial.contains(case)));
        all.extend(
            partial.iter().filter(|case| !is_excluded(case, &all)).cloned().collect::<Vec<_>>(),
        );
        all
    }

    /// The files that are used.
    pub fn files(&self, exclude: &[String]) -> BTreeSet<&str> {
        let is_out = |case: &str| is_excluded(case, exclude);
        let all = self.images.iter().chain([&self.labels]);
        all.flatten().filter(|(case, _)| !is_out(case)).map(|(_, path)| path.as_str()).collect()
    }
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

/// Where several cases are of one patient (a folder with several, or a shared first word): the
/// pattern that keeps them on one side of the split.
pub(super) fn group(cases: &Matched, exclude: &[String]) -> Option<String> {
    let is_out = |case: &str| is_excluded(case, exclude);
    let names: Vec<(&String, &String)> =
        cases.images[0].iter().filter(|(case, _)| !is_out(case)).collect();
    let owner = |(case, path): (&String, &String)| {
        let mut folders = path.split('/').rev().skip(1);
        let own = folders.find(|folder| case.starts_with(*folder) && case.len() > folder.len())?;
        let next = case[own.len()..].chars().next()?;
        (!next.is_alphanumeric()).then(|| (own.to_string(), next))
    };
    let owners: Vec<(String, char)> =
        names.iter().map(|name| owner(*name)).collect::<Option<_>>()?;
    let distinct: BTreeSet<&str> = owners.iter().map(|(name, _)| name.as_str()).collect();
    let separator = owners.first()?.1;
    let is_plain =
        owners.iter().all(|(name, next)| *next == separator && !name.contains(separator));
    let is_patient = |name: &&str| {
        let word = tokens(name).first().map(|word| word.to_lowercase()).unwrap_or_default();
        !PLACES.iter().any(|place| word == *place)
    };
    // Fewer than three cannot lie on three sides.
    let are_patients = distinct.len() >= 3 && distinct.iter().all(is_patient);
    (distinct.len() < owners.len() && are_patients && is_plain)
        .then(|| format!("{{group}}{separator}*"))
}
