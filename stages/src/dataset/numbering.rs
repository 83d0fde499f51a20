//! The voxel values of labels named in a list: 1, 2 and so on, or, if the label files hold as many
//! other values, these values in order (BraTS has 1, 2 and 4).

use crate::context::Context;
use crate::dataset::listing::{Case, Label, Listing, Numbering};
use crate::dataset::name;
use crate::error::{Error, Result};
use crate::image::nifti::{ImageFile, LabelMapping, LabelValues, Scratch, load_label};
use std::collections::BTreeMap;
use std::path::Path;

/// Label values, each with its cases.
pub type LabelsFound<'a> = BTreeMap<u8, Vec<&'a str>>;

/// The labels with the values found in the files, if a list named them. `None` if they are right
/// already.
pub fn renumbered(
    numbering: Numbering,
    labels: &[Label],
    found: &LabelsFound,
) -> Result<Option<Vec<Label>>> {
    let is_counted = found.keys().all(|value| usize::from(*value) <= labels.len());
    if numbering == Numbering::Given || (numbering == Numbering::Counted && is_counted) {
        return Ok(None);
    }
    if labels.len() != found.len() {
        return Err(mismatch(labels, found));
    }
    let named = found.keys().zip(labels);
    let named = named.map(|(value, label)| Label { value: *value, name: label.name.clone() });
    Ok(Some(named.collect()))
}

fn mismatch(labels: &[Label], found: &LabelsFound) -> Error {
    let names: Vec<&str> = labels.iter().map(|label| label.name.as_str()).collect();
    let values = found.iter().map(|(value, cases)| {
        let few = if cases.len() < 4 { format!(": {}", cases.join(", ")) } else { String::new() };
        let noun = if cases.len() == 1 { "case" } else { "cases" };
        format!("{value} (in {} {noun}{few})", cases.len())
    });
    let values: Vec<String> = values.collect();
    let values = if values.is_empty() { "nothing".into() } else { name::shown(&values) };
    Error::failed(format!(
        "labels: a list of {} names ({}) for label files that hold {values} besides 0; give each \
         value its name, as 'label_names: {{1: edema, 4: enhancing}}'",
        names.len(),
        name::shown(&names)
    ))
}

/// Compares a list of label names with the label files in `folder`, and gives the names to the
/// values found, with a warning, where the list does not count from 1. Files that cannot be read
/// are left to those who read them for their own sake.
pub fn settle(cx: &Context, listing: Listing, folder: &Path) -> Result<Listing> {
    if listing.numbering == Numbering::Given || listing.labelled().next().is_none() {
        return Ok(listing);
    }
    let cases: Vec<&Case> = listing.labelled().collect();
    let mapping = &listing.map_labels;
    let held = cx.each_case(&cases, |case| &case.name, |case| Ok(values(case, folder, mapping)))?;
    let mut found = LabelsFound::new();
    for (case, values) in cases.iter().zip(&held) {
        let Some(values) = values else { return Ok(listing) };
        values.iter().for_each(|value| found.entry(*value).or_default().push(&case.name));
    }
    let Some(labels) = renumbered(listing.numbering, &listing.labels, &found)? else {
        return Ok(listing);
    };
    let values: Vec<String> = found.keys().map(u8::to_string).collect();
    let pairs: Vec<String> =
        labels.iter().map(|label| format!("{}: {}", label.value, label.name)).collect();
    let (values, pairs) = (values.join(", "), pairs.join(", "));
    cx.warn(format!(
        "the label files hold the values {values}, which the names are given to in order: \
         {pairs}; 'label_names: {{{pairs}}}' says it without a warning"
    ));
    Ok(Listing { labels, ..listing })
}

/// The values besides 0 in a case's label file; `None` if unreadable.
fn values(case: &Case, folder: &Path, mapping: &LabelMapping) -> Option<Vec<u8>> {
    let every: Vec<u8> = (1..=255).collect();
    let file = ImageFile::at(&folder.join(case.label.as_ref()?));
    let values = LabelValues { declared: &every, mapping };
    let mut scratch = Scratch::default();
    let map = load_label(&file, "label", values, &mut scratch).ok()?;
    Some(every.into_iter().filter(|value| map.counts[usize::from(*value)] > 0).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(numbering: Numbering, names: usize, values: &[u8]) -> Result<Vec<u8>, String> {
        let label = |value: usize| Label { value: value as u8, name: format!("name{value}") };
        let labels: Vec<Label> = (1..=names).map(label).collect();
        let found = values.iter().map(|value| (*value, vec!["a", "b"])).collect();
        let told = renumbered(numbering, &labels, &found).map_err(|error| error.to_string())?;
        let told = told.unwrap_or(labels);
        Ok(told.iter().map(|label| label.value).collect())
    }

    #[test]
    fn names_in_a_list_are_those_of_the_values_found_where_there_are_as_many() {
        use Numbering::{Counted, Given, Unclear};
        assert_eq!(named(Counted, 3, &[1, 2, 4]), Ok(vec![1, 2, 4]));
        assert_eq!(named(Counted, 1, &[255]), Ok(vec![255]));
        assert_eq!(named(Counted, 3, &[1, 3]), Ok(vec![1, 2, 3]), "2 occurs nowhere");
        assert_eq!(named(Counted, 3, &[]), Ok(vec![1, 2, 3]));
        assert_eq!(named(Given, 3, &[1, 2, 4]), Ok(vec![1, 2, 3]));
        assert_eq!(named(Unclear, 2, &[1, 2]), Ok(vec![1, 2]));
        for (numbering, names, values) in
            [(Counted, 3, &[1, 4][..]), (Counted, 2, &[1, 2, 4]), (Unclear, 2, &[1])]
        {
            let words = named(numbering, names, values).unwrap_err();
            assert!(words.contains("label files that hold 1 (in 2 cases: a, b)"), "{words}");
        }
    }
}
