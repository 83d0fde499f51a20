//! Pairs by patterns: a folder without any `dataset.json`, in which images and labels are found by
//! their names ("images/{case}_*.nii.gz", "labels/{case}.nii.gz").

use crate::dataset::pattern::Pattern;
use crate::dataset::{Case, Label, Listing, name};
use crate::error::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// What to look for, and what the files do not say of themselves.
#[derive(Clone, Debug, Default)]
pub struct Pairs<'a> {
    /// A pattern with `{case}` for each image channel.
    pub images: &'a [String],
    /// The pattern of the label files.
    pub labels: Option<&'a str>,
    /// The name of each channel.
    pub modality: &'a [String],
    /// The names of the labels 1, 2, …
    pub label_names: &'a [String],
    /// The dataset's name.
    pub name: &'a str,
}

/// Finds the cases in `folder`: sorted as text, labelled ones first.
pub fn read(folder: &Path, pairs: &Pairs) -> Result<Listing> {
    let mut files = BTreeSet::new();
    list(folder, "", &mut vec![], &mut files)?;
    let channels =
        pairs.images.iter().map(|pattern| matches(&files, pattern)).collect::<Result<Vec<_>>>()?;
    let mut labels =
        pairs.labels.map(|pattern| matches(&files, pattern)).transpose()?.unwrap_or_default();
    let mut cases = vec![];
    let mut partial = vec![];
    for case in channels.iter().flat_map(BTreeMap::keys).collect::<BTreeSet<_>>() {
        let images: Vec<String> =
            channels.iter().filter_map(|channel| channel.get(case).cloned()).collect();
        if images.len() < channels.len() {
            partial.push(case.as_str());
        }
        cases.push(Case { name: case.clone(), images, label: labels.remove(case) });
    }
    if !partial.is_empty() {
        return Err(Error::failed(format!(
            "not every channel has a file for {}",
            name::shown(&partial)
        )));
    }
    if !labels.is_empty() {
        let labels: Vec<&String> = labels.values().collect();
        return Err(Error::failed(format!("labels without an image: {}", name::shown(&labels))));
    }
    cases.sort_by_key(|case| case.label.is_none());
    let label =
        |(index, name): (usize, &String)| Label { value: index as u8 + 1, name: name.clone() };
    let listing = Listing {
        name: pairs.name.to_string(),
        modality: pairs.modality.to_vec(),
        labels: pairs.label_names.iter().enumerate().map(label).collect(),
        cases,
        ..Listing::default()
    };
    listing.checked()
}

/// The file of each case. Two files for one case are an error.
fn matches(files: &BTreeSet<String>, text: &str) -> Result<BTreeMap<String, String>> {
    let pattern = Pattern::new(text.trim_start_matches("./"), "case")?;
    let mut found = BTreeMap::new();
    for file in files {
        let Some(case) = pattern.find(file) else { continue };
        if let Some(other) = found.insert(case.to_string(), file.clone()) {
            return Err(Error::failed(format!(
                "pattern '{text}' finds both '{other}' and '{file}' for case '{case}'"
            )));
        }
    }
    match found.is_empty() {
        true => Err(Error::failed(format!("pattern '{text}' finds no file"))),
        false => Ok(found),
    }
}

/// Every file under `folder` by its name, hidden ones left out. A link to a folder `above` is not
/// followed: all in it is there already, and again without end.
fn list(
    folder: &Path,
    prefix: &str,
    above: &mut Vec<PathBuf>,
    files: &mut BTreeSet<String>,
) -> Result<()> {
    let place = folder.canonicalize().map_err(Error::io("list", folder))?;
    if above.contains(&place) {
        return Ok(());
    }
    above.push(place);
    for entry in std::fs::read_dir(folder).map_err(Error::io("list", folder))? {
        let entry = entry.map_err(Error::io("list", folder))?;
        let Some(file) = entry.file_name().to_str().map(str::to_string) else { continue };
        let name = format!("{prefix}{file}");
        match entry.path().is_dir() {
            _ if name::is_hidden(&file) => {}
            true => list(&entry.path(), &format!("{name}/"), above, files)?,
            false => drop(files.insert(name)),
        }
    }
    above.pop();
    Ok(())
}
