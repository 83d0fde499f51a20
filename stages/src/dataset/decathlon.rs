//! The Medical Segmentation Decathlon's `dataset.json`, in whatever spacing and variety it comes,
//! and MONAI's datalists, which have the same form: numbers as strings, "./" before paths, test
//! cases as plain strings, one file for each channel, keys in any order.

use crate::dataset::document::object;
use crate::dataset::entry::{self, ListEntry};
use crate::dataset::fields::{self, Said};
use crate::dataset::notes::Notes;
use crate::dataset::{Case, Listing};
use crate::error::{Error, Result};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::path::Path;

/// Names for lists of labelled cases.
const TRAINING: [&str; 2] = ["training", "train"];
const VALIDATION: [&str; 3] = ["validation", "val", "valid"];
/// Names for lists of possibly unlabelled cases.
const TEST: [&str; 2] = ["test", "testing"];

/// Reads the text of a `dataset.json`. Paths become names relative to its folder; whether the files
/// are there is left to the caller.
pub fn read(text: &[u8], folder: &Path, said: &Said, notes: &mut Notes) -> Result<Listing> {
    let json = object(text)?;
    if !TRAINING.iter().any(|key| json.contains_key(*key)) {
        return Err(Error::failed("has no list 'training'"));
    }
    let head = fields::head(&json, said, ["modality", "channel_names"], notes)?;
    let lists = [
        list(&json, &TRAINING, folder)?,
        list(&json, &VALIDATION, folder)?,
        list(&json, &TEST, folder)?,
    ];
    let used = ["labels"];
    let read: Vec<&str> = used.into_iter().chain(TRAINING).chain(VALIDATION).chain(TEST).collect();
    fields::rest(&json, &read, notes)?;
    tell(&json, &lists, notes);
    let names = entry::names(&[&lists[0], &lists[1], &lists[2]]);
    let tests: BTreeSet<&String> = names[lists[0].len() + lists[1].len()..].iter().collect();
    let entries = lists.iter().flatten().cloned();
    let mut cases: Vec<Case> = entries
        .zip(&names)
        .map(|(ListEntry { images, label, .. }, name)| Case {
            name: name.clone(),
            images,
            label,
            ..Case::default()
        })
        .collect();
    cases.sort_by_key(|case| case.label.is_none());
    let listing = Listing { cases, ..head };
    if listing.cases.is_empty() {
        return Err(Error::failed("no cases: its lists 'training' and 'test' are empty"));
    }
    let listing = listing.checked()?.without(said.exclude)?;
    listing.with_labels(
        said.unlabelled,
        |name| !tests.contains(&name.to_string()),
        |_| "no 'label' in dataset.json".to_string(),
        notes,
    )
}

/// A list's entries, under any of its names.
fn list(json: &Map<String, Value>, keys: &[&str], folder: &Path) -> Result<Vec<ListEntry>> {
    let mut entries = vec![];
    for key in keys {
        entries.extend(entry::list(json, key, |entry| entry.inside(folder))?);
    }
    Ok(entries)
}

/// Messages about the lists.
fn tell(json: &Map<String, Value>, lists: &[Vec<ListEntry>; 3], notes: &mut Notes) {
    let [training, validation, test] = lists;
    fields::count(json, "numTraining", training.len(), "training cases", notes);
    fields::count(json, "numValidation", validation.len(), "validation cases", notes);
    fields::count(json, "numTest", test.len(), "test cases", notes);
    let labelled = test.iter().filter(|entry| entry.label.is_some()).count();
    if labelled > 0 {
        notes.warn(format!(
            "{labelled} cases of the list 'test' have labels, and are labelled cases like all \
             others: give them to 'testing' of 'split', or give it this file as 'datalist'"
        ));
    }
    if !validation.is_empty() {
        let count = validation.len();
        notes.info(format!(
            "{count} cases of the list 'validation' are labelled cases like all others; 'split' \
             keeps the lists apart with this file as its 'datalist'"
        ));
    }
    let others: BTreeSet<&String> =
        lists.iter().flatten().flat_map(|entry| &entry.others).collect();
    if !others.is_empty() {
        let names: Vec<&str> = others.into_iter().map(String::as_str).collect();
        let names = names.join(", ");
        notes.info(format!("fields of the cases in dataset.json that are not used: {names}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::Label;

    const ODD: &str = r#"{ 
"name": "BRATS", "licence":"CC-BY-SA 4.0" , "tensorImageSize": "4D",
"modality": { "1": "T1w", "0": "FLAIR",
  "3": "T2w", "2": "t1gd" },
 "labels": { "2": "non-enhancing tumor", "0": "background", "1": "edema" },
 "numTraining": "1", "numTest": 2,
 "training":[{"image":"./imagesTr/BRATS_457.nii.gz","label":"./labelsTr/BRATS_457.nii.gz"}],
 "test":["./imagesTs/BRATS_485.nii.gz", {"image": "imagesTs/BRATS_486.nii.gz"}]
 }


"#;

    fn listing(text: &str) -> Result<Listing> {
        read(text.as_bytes(), Path::new("data"), &Said::default(), &mut Notes::default())
    }

    #[test]
    fn the_odd_formatting_of_the_official_files_is_understood() {
        let listing = listing(&format!("\u{feff}{ODD}")).unwrap();
        assert_eq!(listing.modality, ["FLAIR", "T1w", "t1gd", "T2w"]);
        assert_eq!(listing.labels[0], Label { value: 1, name: "edema".into() });
        assert_eq!(listing.labels[1].value, 2);
        let names: Vec<_> = listing.cases.iter().map(|case| case.name.as_str()).collect();
        assert_eq!(names, ["BRATS_457", "BRATS_485", "BRATS_486"]);
        assert_eq!(listing.cases[0].images, ["imagesTr/BRATS_457.nii.gz"]);
        assert_eq!(listing.cases[0].label.as_deref(), Some("labelsTr/BRATS_457.nii.gz"));
        assert_eq!(listing.cases[1].label, None);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let wrong = |from: &str, to: &str| listing(&ODD.replace(from, to)).unwrap_err().to_string();
        assert!(wrong("\"training\"", "\"trainings\"").contains("has no list 'training'"));
        assert!(wrong("\"image\":\"./imagesTr", "\"image\":\"../imagesTr").contains("training[0]"));
        assert!(wrong("\"label\":\"./labelsTr", "\"label\":\"/labelsTr").contains("absolute"));
        assert!(wrong("BRATS_485", "BRATS_457").contains("case listed twice: BRATS_457"));
        assert!(wrong("\"2\": \"non", "\"256\": \"non").contains("above 255"));
        assert!(wrong("\"3\": \"T2w\"", "\"4\": \"T2w\"").contains("'modality'"));
        assert!(wrong("\"labels\": {", "\"labels\": [").contains("is no JSON"));
    }
}
