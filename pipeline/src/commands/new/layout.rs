//! How a folder without a listing is understood: images and labels in two folders, or side by side.

use crate::exit::{Error, Result};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Words in the names of folders and files that hold labels.
const LABEL_WORDS: [&str; 6] = ["label", "mask", "seg", "annotation", "truth", "gt"];

/// Patterns for the kind `folder`.
#[derive(Debug, PartialEq)]
pub(super) struct Patterns {
    /// "images/{case}.nii.gz"
    pub images: String,
    /// "labels/{case}_mask.nii.gz"
    pub labels: Option<String>,
}

/// Finds the patterns of a folder's NIfTI files.
pub(super) fn patterns(folder: &Path) -> Result<Patterns> {
    let names = files(folder)?;
    let (labels, images): (Vec<&Name>, Vec<&Name>) = names.iter().partition(|name| name.is_label());
    let Some(place) = images.first() else {
        return Err(Error::usage(format!(
            "'{}': has no images (.nii, .nii.gz) itself or in a folder below",
            folder.display()
        )));
    };
    let images: Vec<&&Name> = images.iter().filter(|name| name.folder == place.folder).collect();
    let stems: Vec<&str> = images.iter().map(|name| name.stem.as_str()).collect();
    let ending = shared_ending(&stems);
    let (label_folder, label_suffix) =
        labels.first().map_or(("", ""), |name| (&name.folder, &name.suffix));
    let label_stems: BTreeSet<&str> = labels
        .iter()
        .filter(|name| name.folder == label_folder)
        .map(|name| name.stem.as_str())
        .collect();
    for ending in [ending, ""] {
        let cases: Vec<&str> = stems.iter().filter_map(|stem| stem.strip_suffix(ending)).collect();
        if let Some((before, after)) = around(&cases, &label_stems) {
            return Ok(Patterns {
                images: format!("{}{{case}}{ending}{}", place.folder, place.suffix),
                labels: Some(format!("{label_folder}{before}{{case}}{after}{label_suffix}")),
            });
        }
    }
    if !labels.is_empty() {
        return Err(Error::usage(format!(
            "'{}': the names of images ('{}{}') and labels ('{}{}') do not say which belong together: write the workflow with 'layout: patterns' ('voxflow kinds folder')",
            folder.display(),
            place.folder,
            place.stem,
            label_folder,
            labels.first().map_or("", |name| &name.stem),
        )));
    }
    Ok(Patterns { images: format!("{}{{case}}{}", place.folder, place.suffix), labels: None })
}

/// What stands before and after the case in the labels' names, such that most cases have a label.
fn around(cases: &[&str], labels: &BTreeSet<&str>) -> Option<(String, String)> {
    let candidates =
        cases.iter().flat_map(|case| labels.iter().filter_map(move |label| label.split_once(case)));
    let all: BTreeSet<(&str, &str)> = candidates.collect();
    let fitting = |(before, after): &(&str, &str)| {
        cases
            .iter()
            .filter(|case| labels.contains(format!("{before}{case}{after}").as_str()))
            .count()
    };
    let best = all
        .into_iter()
        .max_by_key(|pair| (fitting(pair), std::cmp::Reverse(pair.0.len() + pair.1.len())))?;
    (fitting(&best) * 2 >= labels.len()).then(|| (best.0.to_string(), best.1.to_string()))
}

/// The last part of the names where all have the same: "_ct" of "a_ct" and "b_ct".
fn shared_ending<'a>(stems: &[&'a str]) -> &'a str {
    let ending = |stem: &'a str| stem.rfind('_').map_or("", |at| &stem[at..]);
    let first = stems.first().map_or("", |stem| ending(stem));
    if stems.iter().all(|stem| ending(stem) == first && stem.len() > first.len()) {
        first
    } else {
        ""
    }
}

/// A NIfTI file of the folder, or of a folder directly below.
struct Name {
    /// "" or "images/".
    folder: String,
    stem: String,
    /// ".nii" or ".nii.gz".
    suffix: String,
}

impl Name {
    fn is_label(&self) -> bool {
        let says = |text: &str| {
            let text = text.to_lowercase();
            LABEL_WORDS.iter().any(|word| {
                text.split(['_', '-', '.', '/', ' ']).any(|part| part.starts_with(word))
            })
        };
        says(&self.folder) || (self.folder.is_empty() && says(&self.stem))
    }
}

fn files(folder: &Path) -> Result<Vec<Name>> {
    let mut found = vec![];
    let mut folders = vec![];
    for entry in listed(folder)? {
        if entry.1 { folders.push(entry.0) } else { found.extend(name("", &entry.0)) }
    }
    for below in folders {
        for (file, is_folder) in listed(&folder.join(&below))? {
            found.extend(name(&format!("{below}/"), &file).filter(|_| !is_folder));
        }
    }
    Ok(found)
}

fn name(folder: &str, file: &str) -> Option<Name> {
    let suffix = [".nii.gz", ".nii"].into_iter().find(|suffix| file.ends_with(suffix))?;
    let stem = file.strip_suffix(suffix)?;
    // Files that some systems leave beside the true ones.
    (!stem.starts_with('.')).then(|| Name {
        folder: folder.into(),
        stem: stem.into(),
        suffix: suffix.into(),
    })
}

/// (name, whether it is a folder), in order.
fn listed(folder: &Path) -> Result<Vec<(String, bool)>> {
    let entries = fs::read_dir(folder).map_err(Error::io("list", folder))?;
    let mut names = vec![];
    for entry in entries {
        let entry = entry.map_err(Error::io("list", folder))?;
        names.push((entry.file_name().to_string_lossy().into_owned(), entry.path().is_dir()));
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[&str]) -> Result<(String, Option<String>)> {
        let base = tempfile::tempdir().expect("a folder");
        for file in files {
            let path = base.path().join(file);
            fs::create_dir_all(path.parent().expect("a parent")).expect("makes");
            fs::write(path, "").expect("writes");
        }
        patterns(base.path()).map(|found| (found.images, found.labels))
    }

    #[test]
    fn images_and_labels_are_told_apart_by_folder_or_by_name() {
        for (files, images, labels) in [
            (
                &["images/a.nii.gz", "images/b.nii.gz", "labels/a.nii.gz", "labels/b.nii.gz"][..],
                "images/{case}.nii.gz",
                "labels/{case}.nii.gz",
            ),
            (
                &["imagesTr/p1_0000.nii.gz", "imagesTr/p2_0000.nii.gz", "labelsTr/p1.nii.gz"],
                "imagesTr/{case}_0000.nii.gz",
                "labelsTr/{case}.nii.gz",
            ),
            (
                &["CT/p1.nii", "CT/p2.nii", "Masks/p1_mask.nii", "Masks/p2_mask.nii"],
                "CT/{case}.nii",
                "Masks/{case}_mask.nii",
            ),
            (
                &["a_image.nii.gz", "a_label.nii.gz", "b_image.nii.gz", "b_label.nii.gz"],
                "{case}_image.nii.gz",
                "{case}_label.nii.gz",
            ),
            (
                &[
                    "x/volume_1.nii",
                    "x/volume_12.nii",
                    "segmentations/segmentation_1.nii",
                    "segmentations/segmentation_12.nii",
                ],
                "",
                "",
            ),
        ] {
            let found = found(files);
            if images.is_empty() {
                let words = found.expect_err("nothing is shared").to_string();
                assert!(words.contains("do not say which belong together"), "{words}");
                continue;
            }
            assert_eq!(found.expect("patterns"), (images.to_string(), Some(labels.to_string())));
        }
        assert_eq!(
            found(&["a.nii", ".b.nii"]).expect("images alone"),
            ("{case}.nii".to_string(), None)
        );
        assert!(found(&["readme.txt"]).is_err());
    }
}
