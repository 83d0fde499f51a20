//! `voxflow check --data`: reads every image and label of a dataset before any work and prints a
//! table of its contents, all unusable cases, and a line to exclude them.

use super::new::shown;
use super::tell;
use crate::console::Meter;
use crate::error::{Error, Result};
use crate::{humanize, machine};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use voxflow_stages::case_errors;
use voxflow_stages::dataset::numbering::{LabelsFound, renumbered};
use voxflow_stages::dataset::{Case, Label, Listing, Numbering};
use voxflow_stages::image::CaseFiles;
use voxflow_stages::image::inspection::{CaseFacts, inspect};
use voxflow_stages::image::nifti::{LabelValues, Scratch};
use voxflow_stages::image::prepared::Files;

/// A dataset to be read.
pub struct DatasetFiles<'a> {
    /// The stage's id, if a workflow names one.
    pub stage: Option<&'a str>,
    pub folder: &'a Path,
    pub listing: &'a Listing,
}

/// Facts of each readable case, and the trouble of the others.
struct Inspected<'a> {
    good: Vec<(&'a Case, CaseFacts)>,
    bad: Vec<(String, String)>,
}

/// Reads the dataset and tells what it holds; the error names all troubles.
pub fn check(dataset: &DatasetFiles, quiet: bool) -> Result<()> {
    if !quiet {
        // Without a workflow, the cases were shown where the folder was understood.
        if let Some(stage) = dataset.stage {
            tell(&format!("stage '{stage}': {}", dataset.folder.display()));
            shown::cases(dataset.folder, dataset.listing);
        }
    }
    let Inspected { good, bad } = inspected(dataset, quiet);
    let labels = renumbered_labels(dataset.listing, &good);
    let named = labels.as_deref().unwrap_or(&dataset.listing.labels);
    if !quiet && !good.is_empty() {
        tell(&summary(&good, named, dataset.listing.ignore));
    }
    let mut troubles = vec![];
    if !bad.is_empty() {
        let all = dataset.listing.cases.len();
        let lines = case_errors::lines(&bad);
        troubles.push(format!("{} of {all} cases cannot be used:{lines}", bad.len()));
    }
    troubles.extend(labels.err());
    match troubles.is_empty() {
        true => Ok(()),
        false => Err(Error::Usage(troubles.join("\n"))),
    }
}

/// All cases, on all cores.
fn inspected<'a>(dataset: &DatasetFiles<'a>, quiet: bool) -> Inspected<'a> {
    let (folder, listing) = (dataset.folder, dataset.listing);
    let sizes: Vec<u64> = listing.cases.iter().map(|case| bytes(folder, case)).collect();
    let all: u64 = sizes.iter().sum();
    let meter = Meter::stderr(quiet);
    let (next, done) = (AtomicUsize::new(0), AtomicU64::new(0));
    let results = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..machine::cores().min(listing.cases.len()) {
            scope.spawn(|| {
                let mut scratch = Scratch::default();
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(case) = listing.cases.get(at) else { break };
                    let result = facts(&mut scratch, folder, listing, case);
                    results.lock().unwrap_or_else(PoisonError::into_inner).insert(at, result);
                    let read = done.fetch_add(sizes[at], Ordering::Relaxed) + sizes[at];
                    meter.at(read, all);
                }
            });
        }
    });
    let mut out = Inspected { good: vec![], bad: vec![] };
    let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    for (case, result) in listing.cases.iter().zip(results.into_values()) {
        match result {
            Ok(facts) => out.good.push((case, facts)),
            Err(error) => {
                let trouble = error.to_string();
                let stage = dataset.stage.unwrap_or("dataset");
                let reason = case_errors::with_way_out(&trouble, &case.name, stage);
                out.bad.push((case.name.clone(), reason));
            }
        }
    }
    out
}

fn bytes(folder: &Path, case: &Case) -> u64 {
    let files = case.images.iter().chain(&case.label);
    files.filter_map(|name| Some(fs::metadata(folder.join(name)).ok()?.len())).sum()
}

fn facts(
    scratch: &mut Scratch,
    folder: &Path,
    listing: &Listing,
    case: &Case,
) -> Result<CaseFacts, voxflow_stages::Error> {
    let images: Vec<_> = case.images.iter().map(|name| folder.join(name)).collect();
    let label = case.label.as_ref().map(|name| folder.join(name));
    let files = CaseFiles::at(&images, label.as_deref());
    // Names in a list may stand for other values than 1, 2, …: those found decide.
    let declared = match listing.numbering {
        Numbering::Given => listing.declared(),
        _ => (1..=u8::MAX).collect(),
    };
    let values = LabelValues { declared: &declared, mapping: &listing.map_labels };
    let files =
        Files { case: &files, modality: &listing.modality, named_by: "the dataset", values };
    inspect(scratch, files)
}

/// The labels by the values found; the error in words.
fn renumbered_labels(
    listing: &Listing,
    good: &[(&Case, CaseFacts)],
) -> std::result::Result<Vec<Label>, String> {
    let mut found = LabelsFound::new();
    for (case, facts) in good {
        for value in facts.labels.iter().flatten() {
            found.entry(*value).or_default().push(&case.name);
        }
    }
    if found.is_empty() {
        return Ok(listing.labels.clone());
    }
    let labels = renumbered(listing.numbering, &listing.labels, &found);
    labels
        .map(|new| new.unwrap_or_else(|| listing.labels.clone()))
        .map_err(|error| error.to_string())
}

/// Ranges of sizes and spacings, and the cases of each label.
fn summary(good: &[(&Case, CaseFacts)], labels: &[Label], ignore: Option<u8>) -> String {
    let shapes: Vec<[f64; 3]> =
        good.iter().map(|(_, facts)| facts.shape.map(|length| length as f64)).collect();
    let spacings: Vec<[f64; 3]> = good.iter().map(|(_, facts)| facts.spacing_mm).collect();
    let mut lines = vec![
        format!("voxels (R, A, S): {}", range(&shapes)),
        format!("spacing (mm):     {}", range(&spacings)),
    ];
    let labelled = good.iter().filter(|(_, facts)| facts.labels.is_some()).count();
    let names = labels.iter().map(|label| (label.value, label.name.as_str()));
    for (value, name) in names.chain(ignore.map(|value| (value, "ignore"))) {
        let count = good.iter().filter(|(_, facts)| has_label(facts, value)).count();
        lines.push(format!("label {value} '{name}': in {count} of {labelled} cases"));
    }
    let warnings = good.iter().flat_map(|(case, facts)| {
        facts.warnings.iter().map(move |words| format!("warning: {}: {words}", case.name))
    });
    lines.extend(warnings);
    lines.join("\n")
}

fn has_label(facts: &CaseFacts, value: u8) -> bool {
    facts.labels.iter().flatten().any(|own| *own == value)
}

/// "24 x 26 x 22 in all", or "24 x 26 x 20 to 30 x 26 x 22, median 25 x 26 x 22".
fn range(all: &[[f64; 3]]) -> String {
    let axes = [0, 1, 2].map(|axis| {
        let mut values: Vec<f64> = all.iter().map(|one| one[axis]).collect();
        values.sort_by(f64::total_cmp);
        [values.first(), values.last(), values.get(values.len() / 2)]
            .map(|v| v.copied().unwrap_or(0.0))
    });
    let [least, most, median] =
        [0, 1, 2].map(|which| axes.map(|axis| plain(axis[which])).join(" x "));
    match least == most {
        true => format!("{least} in all"),
        false => format!("{least} to {most}, median {median}"),
    }
}

/// Up to three decimals.
fn plain(number: f64) -> String {
    let text = format!("{number:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

/// "12 cases can be used"
pub fn verdict(dataset: &Listing) -> String {
    format!("{} can be used", humanize::count(dataset.cases.len() as u64, "case"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_told_from_least_to_most_or_once() {
        assert_eq!(range(&[[1.0, 2.0, 3.5]; 2]), "1 x 2 x 3.5 in all");
        let all = [[1.0, 2.0, 3.0], [2.0, 2.0, 1.0], [4.0, 2.0, 2.0]];
        assert_eq!(range(&all), "1 x 2 x 1 to 4 x 2 x 3, median 2 x 2 x 2");
    }
}
