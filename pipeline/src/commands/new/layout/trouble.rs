//! Folders that could not be understood: what was looked for, what is there, what to write.

use super::forms::Form;
use super::found::first_paths;
use super::pair::Pairing;
use crate::commands::folder_scan::{ImageFile, Survey, foreign_files};
use crate::error::Error;
use crate::humanize;
use std::path::Path;

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
    lines.push(
        "write the dataset by hand with '{case}' for what differs from case to case \
         ('voxflow kinds folder'), as in"
            .into(),
    );
    let (images, labels) = likely(survey);
    lines.push(by_hand(folder, &images, &labels));
    Error::usage(lines.join("\n  "))
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
    let ending = |form: &Form| {
        form.pairs.first().map_or("", |pair| images[pair.1 as usize].ending.as_str()).to_string()
    };
    let written = |form: &Form| format!("{}{}", form.text, ending(form));
    let image = pairing.images.first().map(written).unwrap_or_default();
    lines.extend(all.iter().take(3).map(|form| by_hand(folder, &image, &written(form))));
    if all.len() > 3 {
        lines.push(format!("and {} more", all.len() - 3));
    }
    Error::usage(lines.join("\n  "))
}

/// The stage as it would be written.
fn by_hand(folder: &Path, images: &str, labels: &str) -> String {
    let path = serde_json::Value::from(folder.display().to_string());
    format!(
        "dataset: {{ uses: folder, with: {{ path: {path}, images: \"{images}\", \
         labels: \"{labels}\", modality: [MRI], label_names: [NAME] }} }}"
    )
}

/// Patterns for images and labels, to be filled in: the case is a folder where several have files
/// of one name, else the file.
fn likely(survey: &Survey) -> (String, String) {
    let images = &survey.images;
    let is_shared =
        |file: &&ImageFile| images.iter().filter(|own| own.stem == file.stem).count() > 2;
    let by_folder = images.iter().find(|file| !file.folders.is_empty() && is_shared(file));
    let Some(file) = by_folder.or(images.first()) else {
        return ("IMAGES/{case}.nii.gz".into(), "LABELS/{case}.nii.gz".into());
    };
    let mut folders = file.folders.clone();
    let ending = &file.ending;
    let differs = |at: &usize| {
        images.iter().any(|own| own.stem == file.stem && own.folders.get(*at) != folders.get(*at))
    };
    match (0..folders.len()).find(differs) {
        Some(at) => {
            folders[at] = "{case}".into();
            let folders = folders.join("/");
            (format!("{folders}/{}{ending}", file.stem), format!("{folders}/LABEL{ending}"))
        }
        None => {
            let folders: String = folders.iter().map(|folder| format!("{folder}/")).collect();
            (format!("{folders}{{case}}{ending}"), format!("LABELS/{{case}}{ending}"))
        }
    }
}
