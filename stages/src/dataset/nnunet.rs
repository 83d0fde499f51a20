//! nnU-Net's layout: `dataset.json` with `channel_names`, `labels` by name and `file_ending`, and
//! one file for each channel (`imagesTr/<case>_0000.nii.gz`). Version 1's `modality` is understood
//! too.

use crate::dataset::decathlon::{channels, labels, object, text_of};
use crate::dataset::{Case, Listing, name};
use crate::error::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Reads the text of an nnU-Net `dataset.json` and the folders beside it. Cases come sorted as
/// text, those of `imagesTr` (with their labels) before those of `imagesTs`.
pub fn read(text: &[u8], folder: &Path) -> Result<Listing> {
    let json = object(text)?;
    let key = if json.contains_key("channel_names") { "channel_names" } else { "modality" };
    let modality = channels(json.get(key), key)?;
    let ending = text_of(&json, "file_ending").unwrap_or_else(|| ".nii.gz".into());
    if !name::SUFFIXES.contains(&ending.as_str()) {
        return Err(Error::failed(format!(
            "file_ending '{ending}': those that can be read are .nii.gz and .nii"
        )));
    }
    let mut cases = cases(folder, "imagesTr", &ending, modality.len())?;
    for case in &mut cases {
        case.label = Some(format!("labelsTr/{}{ending}", case.name));
    }
    cases.extend(self::cases(folder, "imagesTs", &ending, modality.len())?);
    let listing = Listing {
        name: text_of(&json, "name").unwrap_or_else(|| "dataset".into()),
        licence: text_of(&json, "licence").or_else(|| text_of(&json, "license")),
        reference: text_of(&json, "reference"),
        modality,
        labels: labels(json.get("labels"))?,
        cases,
    };
    listing.checked()
}

/// Whether a `dataset.json` is nnU-Net's rather than the Decathlon's: by its own words, or for
/// version 1, which keeps the Decathlon's, by the channel number in the files' names.
pub fn is_nnunet(text: &[u8], folder: &Path) -> bool {
    let Ok(json) = object(text) else { return false };
    let first = || json.get("training")?.get(0)?.get("image")?.as_str();
    match first() {
        _ if json.contains_key("channel_names") => true,
        None => json.contains_key("file_ending"),
        Some(path) => {
            let channel = name::SUFFIXES
                .iter()
                .find_map(|end| Some(format!("{}_0000{end}", path.strip_suffix(end)?)));
            !folder.join(path).exists() && channel.is_some_and(|path| folder.join(path).exists())
        }
    }
}

/// The cases of one folder, each with all its channels.
fn cases(folder: &Path, part: &str, ending: &str, channels: usize) -> Result<Vec<Case>> {
    let mut found: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
    let path = folder.join(part);
    if !path.exists() {
        return Ok(vec![]);
    }
    for entry in std::fs::read_dir(&path).map_err(Error::io("list", &path))? {
        let file = entry.map_err(Error::io("list", &path))?.file_name();
        if let Some((case, channel)) = file.to_str().and_then(|file| channel(file, ending)) {
            found.entry(case.to_string()).or_default().insert(channel);
        }
    }
    let wrong: Vec<&str> = found
        .iter()
        .filter(|(_, has)| !has.iter().copied().eq(0..channels))
        .map(|(case, _)| case.as_str())
        .collect();
    if !wrong.is_empty() {
        let last = channels.saturating_sub(1);
        let wrong = name::shown(&wrong);
        return Err(Error::failed(format!(
            "{part}: the files of channels _0000 to _{last:04} are not those of {wrong}"
        )));
    }
    let images = |case: &str| {
        (0..channels).map(|channel| format!("{part}/{case}_{channel:04}{ending}")).collect()
    };
    Ok(found
        .into_keys()
        .map(|case| Case { images: images(&case), name: case, label: None })
        .collect())
}

/// "la_003_0000.nii.gz" is channel 0 of "la_003".
fn channel<'a>(file: &'a str, ending: &str) -> Option<(&'a str, usize)> {
    let (case, channel) = file.strip_suffix(ending)?.rsplit_once('_')?;
    let digits = channel.len() == 4 && channel.bytes().all(|byte| byte.is_ascii_digit());
    (digits && !case.is_empty() && !case.starts_with('.'))
        .then(|| Some((case, channel.parse().ok()?)))?
}
