//! Datalists: files naming the cases for training, validation and testing. MONAI's and Clara's
//! forms (lists of files, or `fold` at each case), and nnU-Net's `splits_final.json`.

use crate::dataset::document::{bytes, value};
use crate::dataset::entry::{self, ListEntry};
use crate::dataset::notes::Notes;
use crate::dataset::{Listing, name};
use crate::error::{Error, Result, Trouble};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
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

/// Reasons why the datalist's folds are no cross-validation with `count` folds: another number of
/// them, or cases that validate in several. A file that cannot be read is left to its reader.
pub fn trouble_with_folds(path: &Path, count: u32) -> Vec<String> {
    let read = bytes(path).and_then(|bytes| value(&bytes)).and_then(|json| validated(&json));
    let Ok(folds) = read else { return vec![] };
    let mut troubles = vec![];
    let numbers: Vec<u64> = folds.keys().copied().collect();
    if !numbers.is_empty() && !numbers.iter().copied().eq(0..u64::from(count)) {
        let words: Vec<String> = numbers.iter().map(u64::to_string).collect();
        let (own, shown) = (numbers.len(), name::shown(&words));
        troubles.push(match numbers.iter().copied().eq(0..own as u64) {
            true => format!("has {own} folds, and 'folds' is {count}: write 'folds: {own}'"),
            false => format!("its folds are {shown}; they must count from 0"),
        });
    }
    let mut of: BTreeMap<&String, Vec<u64>> = BTreeMap::new();
    for (fold, images) in &folds {
        images.iter().for_each(|image| of.entry(image).or_default().push(*fold));
    }
    let several: Vec<&String> =
        of.iter().filter(|(_, folds)| folds.len() > 1).map(|(image, _)| *image).collect();
    if !several.is_empty() {
        let names = name::shown(&several);
        troubles.push(format!(
            "cases that validate in several folds: {names}; with 'folds' each case is predicted \
             by one fold"
        ));
    }
    troubles.into_iter().map(|words| format!("{}: {words}", path.display())).collect()
}

/// The images that validate in each fold, as written.
fn validated(json: &Value) -> Result<BTreeMap<u64, BTreeSet<String>>> {
    let mut folds: BTreeMap<u64, BTreeSet<String>> = BTreeMap::new();
    match json {
        Value::Array(each) => {
            for (number, fold) in (0..).zip(each) {
                let items = fold.get("val").and_then(Value::as_array).into_iter().flatten();
                let entries = items.map(ListEntry::read).collect::<Result<Vec<_>>>()?;
                folds.insert(number, entries.iter().map(first_image).collect());
            }
        }
        Value::Object(json) => {
            let all = |keys: &[&str]| -> Result<Vec<ListEntry>> {
                Ok(keys
                    .iter()
                    .map(|key| entry::list(json, key, Ok))
                    .collect::<Result<Vec<_>>>()?
                    .concat())
            };
            for entry in all(KEYS[0].1)? {
                let Some(fold) = entry.fold else { continue };
                folds.entry(fold).or_default().insert(first_image(&entry));
            }
            let always: Vec<String> = all(KEYS[1].1)?.iter().map(first_image).collect();
            folds.values_mut().for_each(|fold| fold.extend(always.clone()));
        }
        _ => {}
    }
    Ok(folds)
}

fn first_image(entry: &ListEntry) -> String {
    entry.images.first().cloned().unwrap_or_default()
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn trouble(json: Value, count: u32) -> String {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("list.json");
        std::fs::write(&path, json.to_string()).expect("writes");
        trouble_with_folds(&path, count).join("; ")
    }

    #[test]
    fn the_folds_of_a_datalist_are_all_made_and_hold_each_case_once() {
        let splits = json!([{ "train": ["b"], "val": ["a"] }, { "train": ["a"], "val": ["b"] }]);
        assert_eq!(trouble(splits.clone(), 2), "");
        assert!(trouble(splits, 3).ends_with("has 2 folds, and 'folds' is 3: write 'folds: 2'"));
        let same = json!([{ "train": ["b"], "val": ["a"] }, { "train": ["c"], "val": ["a"] }]);
        assert!(trouble(same, 2).contains("validate in several folds: a;"));
        let at = |folds: [u64; 3]| {
            folds.map(|fold| json!({ "image": format!("{fold}.nii"), "fold": fold }))
        };
        assert_eq!(trouble(json!({ "training": at([0, 2, 1]) }), 3), "");
        assert!(trouble(json!({ "training": at([1, 2, 3]) }), 3).contains("must count from 0"));
        let always = json!({ "training": at([0, 2, 1]), "validation": ["x.nii"] });
        assert!(trouble(always, 3).contains("several folds: x.nii"));
        assert_eq!(trouble(json!({ "training": ["a.nii"] }), 3), "", "told by the split itself");
    }
}
