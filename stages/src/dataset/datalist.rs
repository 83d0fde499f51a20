//! Datalists: files naming the cases for training, validation and testing. MONAI's and Clara's
//! forms (lists of files, or `fold` at each case), and nnU-Net's `splits_final.json`.

use crate::dataset::document::{bytes, value};
use crate::dataset::entry::{self, ListEntry};
use crate::dataset::notes::Notes;
use crate::dataset::{Listing, name};
use crate::error::{Error, Result, Trouble};
use serde_json::{Map, Value};
use std::path::Path;

/// The cases of each part.
pub type Parts = [Vec<String>; 3];

/// The parts under each of their names.
const KEYS: [(&str, &[&str]); 3] = [
    ("training", &["training", "train"]),
    ("validation", &["validation", "val", "valid"]),
    ("testing", &["testing", "test"]),
];

/// Reads the datalist at `path` for the cases in `listing`. With `fold` that fold's training cases
/// validate. Unlabelled cases, and those in `exclude`, are in no part.
pub fn read(
    path: &Path,
    listing: &Listing,
    exclude: &[String],
    fold: Option<u32>,
    notes: &mut Notes,
) -> Result<Parts> {
    let parts = match value(&bytes(path)?).trouble_at(path)? {
        Value::Object(json) => lists(&json, listing, fold, notes),
        Value::Array(folds) => of_folds(&folds, listing, fold),
        _ => Err(Error::failed("is JSON, but neither lists of cases nor folds")),
    }
    .trouble_at(path)?;
    let mut unlabelled = vec![];
    let parts = parts.map(|names| {
        let mut kept = vec![];
        for name in names.into_iter().filter(|name| !name::is_excluded(name, exclude)) {
            match listing.case(&name).is_some_and(|case| case.label.is_none()) {
                true => unlabelled.push(name),
                false => kept.push(name),
            }
        }
        kept
    });
    if !unlabelled.is_empty() {
        let (count, names) = (unlabelled.len(), name::shown(&unlabelled));
        notes.info(format!("{count} cases of the datalist have no label: {names}"));
    }
    Ok(parts)
}

/// Lists of files, each an image's path or an object with `image`.
fn lists(
    json: &Map<String, Value>,
    listing: &Listing,
    fold: Option<u32>,
    notes: &mut Notes,
) -> Result<Parts> {
    let mut parts = Parts::default();
    if !KEYS[0].1.iter().any(|key| json.contains_key(*key)) {
        return Err(Error::failed("has no list 'training'"));
    }
    let mut folds = 0;
    for (at, (_, keys)) in KEYS.into_iter().enumerate() {
        for key in keys {
            for entry in entry::list(json, key, Ok)? {
                folds += usize::from(entry.fold.is_some());
                let held = at == 0 && fold.is_some() && entry.fold == fold.map(u64::from);
                parts[if held { 1 } else { at }].push(case_of(&entry, listing));
            }
        }
    }
    match fold {
        Some(fold) if folds == 0 => {
            Err(Error::failed(format!("fold {fold}: its cases have no 'fold'; leave 'fold' out")))
        }
        Some(fold) if parts[1].is_empty() => {
            Err(Error::failed(format!("fold {fold}: no case has this 'fold'")))
        }
        None if folds > 0 => {
            notes.warn(format!(
                "{folds} cases of the datalist have a 'fold': with 'fold: 0' beside 'datalist' \
                 those of fold 0 validate"
            ));
            Ok(parts)
        }
        _ => Ok(parts),
    }
}

/// nnU-Net's `splits_final.json`: for each fold the names to train and to validate on.
fn of_folds(folds: &[Value], listing: &Listing, fold: Option<u32>) -> Result<Parts> {
    let count = folds.len();
    let fold = fold.ok_or_else(|| {
        Error::failed(format!("has {count} folds: say with 'fold' which one validates, from 0"))
    })?;
    let chosen = folds.get(fold as usize);
    let chosen = chosen
        .ok_or_else(|| Error::failed(format!("fold {fold}: there are {count}, the first is 0")))?;
    let [training, validation] = ["train", "val"].map(|key| -> Result<Vec<String>> {
        let items = chosen.get(key).and_then(Value::as_array).ok_or_else(|| {
            Error::failed(format!("fold {fold}: must have lists 'train' and 'val'"))
        })?;
        let entries = items.iter().map(ListEntry::read).collect::<Result<Vec<_>>>()?;
        Ok(entries.iter().map(|entry| case_of(entry, listing)).collect())
    });
    Ok([training?, validation?, vec![]])
}

fn ends_with_path(long: &str, short: &str) -> bool {
    long.strip_suffix(short).is_some_and(|rest| rest.is_empty() || rest.ends_with('/'))
}

/// The dataset's case for an entry: by its image file, wherever its path begins, else by its name.
fn case_of(entry: &ListEntry, listing: &Listing) -> String {
    let image = entry.images.first().map_or("", String::as_str);
    let plain = name::header_of(image.trim_start_matches("./"));
    let mut of_file = listing.cases.iter().filter(|case| {
        let mut files = case.images.iter();
        files.any(|file| {
            ends_with_path(&plain, file) || (plain.contains('/') && ends_with_path(file, &plain))
        })
    });
    if let (Some(case), None) = (of_file.next(), of_file.next()) {
        return case.name.clone();
    }
    let stem = name::case_name(image).unwrap_or_else(|_| image.to_string());
    let shared = entry.name();
    let known = [&stem, &shared].into_iter().find(|name| listing.case(name).is_some());
    known.unwrap_or(&stem).clone()
}
