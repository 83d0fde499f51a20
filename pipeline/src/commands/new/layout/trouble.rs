//! Folders that could not be understood: the search, the files found, and the stage to write.

use super::forms::{CASE, Form};
use super::found::first_paths;
use super::pair::{Pairing, roles_of};
use crate::commands::folder_scan::{ImageFile, Survey, foreign_files};
use crate::error::Error;
use crate::humanize;
use std::cmp::Reverse;
use std::fs;
use std::path::{Path, PathBuf};
use voxflow_stages::dataset::name::split_suffix;

/// So many patterns are suggested.
const SHOWN: usize = 3;
const LOOKED_FOR: &str = "looked for: images and labels in two folders ('images/p1.nii.gz' and \
'labels/p1.nii.gz'), in one folder a case ('p1/image.nii.gz' and 'p1/seg.nii.gz'), side by side \
('p1.nii.gz' and 'p1_seg.nii.gz'), BIDS; label files by their names (seg, mask, label, gt, roi, …) \
or, where names say nothing, by few whole values";

/// No pair of images and labels.
pub(super) fn nothing(folder: &Path, survey: &Survey, refuted: bool) -> Error {
    let shown = folder.display();
    let mut lines = vec![];
    if survey.images.is_empty() {
        lines.push(format!(
            "'{shown}': has no images (.nii, .nii.gz, .hdr with .img) in or below it"
        ));
        lines.extend(foreign_files(folder, &survey.others));
        if !survey.others.is_empty() {
            let few: Vec<String> = survey.others.iter().take(3).map(|o| format!("'{o}'")).collect();
            let count = humanize::count(survey.others.len() as u64, "file");
            lines.push(format!("saw {count}: {}", few.join(", ")));
        }
        return Error::usage(lines.join("\n  "));
    }
    lines.push(match refuted {
        true => {
            format!("'{shown}': the files whose names say label hold other values than a label's")
        }
        false => format!("'{shown}': found no images with labels"),
    });
    lines.push(LOOKED_FOR.into());
    let few: Vec<String> = first_paths(survey).iter().map(|path| format!("'{path}'")).collect();
    let count = humanize::count(survey.images.len() as u64, "image file");
    lines.push(format!("saw {count}: {}", few.join(", ")));
    lines.extend(foreign_files(folder, &survey.others));
    lines.extend(folder_of_cases(folder, survey).map(|above| {
        let above = above.display();
        format!("if it is the folder of a single case, name the one above: 'voxflow new {above}'")
    }));
    lines.push(
        "write the dataset by hand with '{case}' for what differs from case to case \
         ('voxflow kinds folder'), as in one of"
            .into(),
    );
    let all = likely(survey);
    lines.extend(all.iter().map(|(images, labels)| by_hand(folder, images, labels)));
    lines.push(
        "or list the cases in a table with the columns image and label: 'voxflow new cases.csv'"
            .into(),
    );
    Error::usage(lines.join("\n  "))
}

/// The folder above, if another folder in it holds files of the same names.
fn folder_of_cases<'a>(folder: &'a Path, survey: &Survey) -> Option<&'a Path> {
    let above = match folder.parent()? {
        here if here.as_os_str().is_empty() => Path::new("."),
        above => above,
    };
    let others = fs::read_dir(above).ok()?.flatten().map(|entry| entry.path());
    let mut others = others.filter(|other| other.file_name() != folder.file_name());
    let holds_all =
        |other: PathBuf| survey.images.iter().all(|image| other.join(&image.path).is_file());
    others.any(holds_all).then_some(above)
}

/// Several label files of each case, none better than another.
pub(super) fn rivals(folder: &Path, pairing: &Pairing, images: &[ImageFile]) -> Error {
    let all: Vec<&Form> = [&pairing.label].into_iter().chain(&pairing.rivals).collect();
    let mut lines = vec![format!(
        "'{}': each case has {} label files, and one is read; combine them into one file, or \
         choose",
        folder.display(),
        all.len()
    )];
    let image = pairing.images.first().map(|form| written(form, images)).unwrap_or_default();
    let labels = all.iter().take(3).map(|form| written(form, images));
    lines.extend(labels.map(|label| by_hand(folder, &image, &label)));
    if all.len() > 3 {
        lines.push(format!("and {} more", all.len() - 3));
    }
    Error::usage(lines.join("\n  "))
}

/// A form with the ending of its first file.
fn written(form: &Form, images: &[ImageFile]) -> String {
    let ending = form.pairs.first().map_or("", |pair| images[pair.1 as usize].ending.as_str());
    format!("{}{ending}", form.text)
}

/// The stage as it would be written.
fn by_hand(folder: &Path, images: &str, labels: &str) -> String {
    let path = serde_json::Value::from(folder.display().to_string());
    format!(
        "dataset: {{ uses: folder, with: {{ path: {path}, images: \"{images}\", \
         labels: \"{labels}\", modality: [MRI], label_names: [NAME] }} }}"
    )
}

/// The likeliest patterns for images and labels, three at most: each form of a name that several
/// cases have, with each other one for the labels, else with a name to be filled in.
fn likely(survey: &Survey) -> Vec<(String, String)> {
    let roles: Vec<(String, usize)> = roles_of(&survey.images)
        .iter()
        .filter_map(|form| {
            let (_, file) = form.pairs.first()?;
            let ending = &survey.images[*file as usize].ending;
            Some((format!("{}{ending}", form.text), form.pairs.len()))
        })
        .collect();
    let mut pairs: Vec<(usize, &String, &String)> = vec![];
    for (images, count) in &roles {
        let others = roles.iter().filter(|(labels, _)| labels != images);
        pairs.extend(others.map(|(labels, other)| (*count.min(other), images, labels)));
    }
    pairs.sort_by_key(|(count, ..)| Reverse(*count));
    let pairs = pairs.into_iter().map(|(_, images, labels)| (images.clone(), labels.clone()));
    let open = roles.iter().flat_map(|(images, _)| to_fill_in(images));
    let all: Vec<(String, String)> = pairs.chain(open).take(SHOWN).collect();
    match all.is_empty() {
        true => vec![("IMAGES/{case}.nii.gz".into(), "LABELS/{case}.nii.gz".into())],
        false => all,
    }
}

/// A pattern of images with places where its labels may lie.
fn to_fill_in(images: &str) -> Vec<(String, String)> {
    let (folders, file) = images.rsplit_once('/').unwrap_or(("", images));
    let ending = split_suffix(file).map_or(".nii.gz", |(_, ending)| ending);
    let stem = file.strip_suffix(ending).unwrap_or(file);
    let beside = match folders.is_empty() {
        true => format!("{stem}_LABEL{ending}"),
        false if stem.contains(CASE) => format!("{folders}/{stem}_LABEL{ending}"),
        false => format!("{folders}/LABEL{ending}"),
    };
    let elsewhere = format!("LABELS/{CASE}{ending}");
    [beside, elsewhere].map(|labels| (images.to_string(), labels)).into()
}
